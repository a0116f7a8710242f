"""What may pass by itself is tried again, after a while and only so often; what was made is not made twice."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cli.composition import make_data_directory, storage
from jobs.borg.environment import Question, environment
from jobs.borg.options import REPORTING
from jobs.clock import now
from jobs.job_type import RetryPolicy
from jobs.models import Archive, Job
from jobs.queue import wake_host
from jobs.submit import JobRequest, submit
from jobs.types import backup
from jobs.types.backup import Backup
from tests.conftest import wait_until
from tests.fakes.instance import ADMIN, instance, repository_row, settings_for, until
from tests.fakes.slack import FakeSlack
from worker.run_directory import RunDirectory

CHANNEL = "C1"
SOON = RetryPolicy(retries=2, first_s=1.0, factor=1.0, jitter=0.0)
LATE = replace(SOON, first_s=3600.0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Backup, "retry", SOON)
    monkeypatch.setattr(backup, "REPORTING", (*REPORTING[:-1], "1"))


@pytest.fixture
async def slack():
    async with FakeSlack(channels=(CHANNEL,)) as fake:
        yield fake


@pytest.fixture
def settings(tmp_path, sqlite_url, redis_url, slack):
    return settings_for(tmp_path, sqlite_url, redis_url, slack_bot_token=slack.token, slack_api_url=slack.base_url)


@pytest.fixture
async def photos(tmp_path, settings):
    """A repository with two files to back up."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("first", "second"):
        (sources / name).write_text(name)
    await asyncio.to_thread(borg, "init", "--encryption", "none", str(tmp_path / "repo"))
    make_data_directory(settings)
    async with storage(settings):
        await repository_row("photos", tmp_path / "repo", [sources])
    return tmp_path / "repo"


async def asked(running, **fields):
    body = {"repository": "photos", "channel": f"slack:{running.team}:{CHANNEL}", **fields}
    status, started = await running.call("POST", "/api/backup/run", json=body)
    assert status == 202, started
    return started["job_id"]


@contextlib.asynccontextmanager
async def up(settings, slack):
    async with instance(settings) as running:
        running.team = slack.team
        yield running


async def log_of(running, job_id):
    async with running.http.get(f"/api/jobs/{job_id}/logs") as answer:
        return (await answer.text()).splitlines()


def borg_environment():
    return environment(os.environ, base_dir=None, passphrase_given=False, accepted=Question)


def borg(*arguments):
    return subprocess.run(["borg", *arguments], env=borg_environment(), check=True, capture_output=True).stdout


def archives(repository: Path):
    listed = json.loads(borg("list", "--json", "--lock-wait", "20", str(repository)))
    return [archive["name"] for archive in listed["archives"]]


@contextlib.contextmanager
def locked(repository: Path):
    """Another borg that holds the repository's lock."""
    argv = ["borg", "with-lock", str(repository), "sleep", "600"]
    with subprocess.Popen(argv, env=borg_environment(), start_new_session=True) as holder:
        try:
            wait_until((repository / "lock.exclusive").exists)
            yield
        finally:
            os.killpg(holder.pid, signal.SIGTERM)
    wait_until(lambda: not (repository / "lock.exclusive").exists())


def program(directory: Path, name: str, body: str) -> Path:
    """A shell script."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def borg_that(directory: Path, cases: str) -> str:
    """The real borg behind a script that notes each command, and does something else for some of them."""
    body = f'echo "$1" >>{directory}/calls\ncase "$1" in\n{cases}\nesac\nexec borg "$@"'
    return str(program(directory, "borg", body))


def called(directory: Path) -> list[str]:
    return [line for line in (directory / "calls").read_text().splitlines() if line != "--version"]


async def waiting_again(running, job_id, attempt=2):
    return await running.until(job_id, lambda job: (job.status, job.attempt) == ("pending", attempt))


async def test_locked_repository_is_waited_for_and_backed_up_once(settings, slack, photos, monkeypatch):
    monkeypatch.setattr(Backup, "retry", LATE)
    async with up(settings, slack) as running:
        with locked(photos):
            before = now()
            job_id = await asked(running)
            job = await waiting_again(running, job_id)
            assert (job.retries, job.running_lock, job.data_directory_id) == (1, None, None)
            assert timedelta(seconds=LATE.first_s) <= job.not_before - before
            assert job.error_message.startswith("Attempt 1 of 3 failed: photos is locked by another backup")
            await until(lambda: not RunDirectory.of(settings.runs, job_id, 1).path.exists())
            await until(lambda: any("tried again at" in message.text for message in slack.messages[CHANNEL]))
        sooner = now() + timedelta(seconds=1)
        await Job.filter(id=job_id).update(not_before=sooner)
        await wake_host(job.host, sooner)
        ended = await running.ended(job_id)
        log = await log_of(running, job_id)
    assert (ended.status, ended.attempt, ended.retries, ended.error_message) == ("completed", 2, 1, None)
    assert ended.started_at >= sooner
    assert archives(photos) == [ended.archive_name]
    moment = f"{job.not_before:%Y-%m-%d %H:%M:%S} UTC"
    assert [line for line in log if line.endswith(f"; tried again at {moment}, attempt 2 of 3")]
    assert log[-1].startswith("Locutus: exited, exit status 0 after ")


async def far_row(photos):
    """The same repository behind ssh, which a person has said is the same."""
    location = f"ssh://backup{photos}"
    await repository_row("far", location, [photos.parent / "sources"], accepted_location=location)


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """A way to other hosts that breaks as often as the file `broken` has lines, then leads here. borg is there."""
    broken = tmp_path / "bin" / "broken"
    body = (
        'case "$*" in *--version) exit;; esac\n'
        f'if [ -s {broken} ]; then sed -i 1d {broken}; echo "$REASON" >&2; exit 255; fi\n'
        'while [ "$1" != borg ]; do shift; done\nexec "$@"'
    )
    reason = "ssh: connect to host backup port 22: No route to host"
    program(tmp_path / "bin", "ssh", body.replace("$REASON", reason))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return broken


@pytest.mark.parametrize("breaks", [1, 2], ids=["in the run", "in the run and when asked"])
async def test_lost_connection_is_tried_again(settings, slack, photos, ssh, breaks):
    async with up(settings, slack) as running:
        await far_row(photos)
        ssh.write_text("broken\n" * breaks)
        job_id = await asked(running, repository="far")
        again = await waiting_again(running, job_id)
        ended = await running.ended(job_id)
    assert again.error_message.startswith("Attempt 1 of 3 failed: The connection to ssh://backup")
    assert (ended.status, ended.retries) == ("completed", breaks), ended.error_message
    assert archives(photos) == [ended.archive_name]


async def test_host_that_stays_away_fails_the_job_and_says_how_often_it_was_tried(settings, slack, photos, ssh):
    async with up(settings, slack) as running:
        await far_row(photos)
        ssh.write_text("broken\n" * 100)
        job_id = await asked(running, repository="far")
        ended = await running.ended(job_id)
        log = await log_of(running, job_id)
    assert (ended.status, ended.error_code, ended.attempt, ended.retries) == ("failed", "connection_lost", 3, 2)
    assert ended.error_message.endswith("It was tried 3 times.")
    assert log[-1].startswith("Locutus: borg did not run, as the repository could not be asked")
    assert sum("tried again at" in line for line in log) == 2
    assert ended.running_lock is None


async def put_back_job(settings):
    """A job whose first attempt failed, its archive's name known."""
    async with storage(settings):
        job = (await submit(JobRequest("backup", ADMIN, "cli", "photos"))).job
        await Job.filter(id=job.id).update(attempt=2, retries=1, archive_name="photos-made")
    return job.id


@pytest.mark.parametrize("first_answer", ["true", "lost"])
async def test_archive_that_an_earlier_attempt_made_is_not_made_again(settings, slack, photos, tmp_path, first_answer):
    """Also where it is seen only when borg refuses to make it again."""
    job_id = await put_back_job(settings)
    borg("create", f"{photos}::photos-made", str(photos.parent / "sources"))
    place = tmp_path / "program"
    lie = f"info) [ -e {place}/told ] || {{ touch {place}/told; echo '{{\"archives\": []}}'; exit 0; }};;"
    settings = settings.model_copy(update={"borg": borg_that(place, lie if first_answer == "lost" else "")})
    async with up(settings, slack) as running:
        ended = await running.ended(job_id)
        log = await log_of(running, job_id)
        recorded = await Archive.get()
    assert (ended.status, ended.attempt, ended.error_code) == ("completed", 2, None), ended.error_message
    assert ended.progress["nfiles"] == 2
    assert (recorded.name, recorded.job_id) == ("photos-made", job_id)
    assert log[-1].endswith("the archive photos-made is in the repository, so the job is completed.")
    assert called(place) == (["info"] if first_answer == "true" else ["info", "create", "info"])
    assert archives(photos) == ["photos-made"]


async def test_cancel_during_the_wait_ends_it_at_once(settings, slack, photos, monkeypatch):
    monkeypatch.setattr(Backup, "retry", LATE)
    async with up(settings, slack) as running:
        with locked(photos):
            job_id = await asked(running)
            await waiting_again(running, job_id)
            status, job = await running.call("POST", f"/api/jobs/{job_id}/cancel")
        assert (status, job["status"], job["cancelled_by"]) == (200, "cancelled", "token:admin")
    assert archives(photos) == []


def asks_for_ever(directory: Path) -> str:
    return borg_that(directory, f"info) echo $$ >{directory}/asks; exec sleep 600;;")


async def test_cancel_while_the_repository_is_asked_ends_it_at_once(settings, slack, photos, tmp_path):
    job_id = await put_back_job(settings)
    place = tmp_path / "program"
    async with up(settings.model_copy(update={"borg": asks_for_ever(place)}), slack) as running:
        await until((place / "asks").exists)
        await running.call("POST", f"/api/jobs/{job_id}/cancel")
        ended = await running.ended(job_id, 20)
        log = await log_of(running, job_id)
    assert (ended.status, ended.attempt, ended.running_lock) == ("cancelled", 2, None)
    assert "borg did not run" in log[-1]
    assert called(place) == ["info"]
    await until(lambda: not Path("/proc", (place / "asks").read_text().strip()).exists())


async def test_worker_that_ends_while_it_asks_leaves_the_job_as_never_started(settings, slack, photos, tmp_path):
    job_id = await put_back_job(settings)
    place = tmp_path / "program"
    async with up(settings.model_copy(update={"borg": asks_for_ever(place)}), slack):
        await until((place / "asks").exists)
    async with up(settings, slack) as running:
        ended = await running.ended(job_id)
    assert (ended.status, ended.attempt, ended.retries) == ("completed", 3, 1)
    assert archives(photos) == ["photos-made"]


async def test_lane_is_kept_while_something_of_the_failed_attempt_lives(settings, slack, photos, tmp_path):
    place = tmp_path / "program"
    left = f"create) [ -e {place}/left ] || {{ sleep 600 & echo $! >{place}/left; exit 81; }};;"
    settings = settings.model_copy(update={"borg": borg_that(place, left)})
    async with up(settings, slack) as running:
        job_id = await asked(running)
        run = RunDirectory.of(settings.runs, job_id, 1)
        await until(lambda: run.exit() and not run.supervised())
    async with up(settings, slack) as running:
        job = await running.job(job_id)
        assert (job.status, job.attempt, job.running_lock is None) == ("running", 1, False)
    os.kill(int((place / "left").read_text()), signal.SIGKILL)
    async with up(settings, slack) as running:
        ended = await running.ended(job_id)
        log = await log_of(running, job_id)
    assert (ended.status, ended.attempt, ended.retries) == ("completed", 2, 1)
    assert sum("tried again at" in line for line in log) == 1


@pytest.mark.parametrize(("case", "code"), [("create) kill -KILL $$;;", "killed"), ("create) exit 14;;", "disk_full")])
async def test_what_needs_somebody_is_not_tried_again(settings, slack, photos, tmp_path, case, code):
    settings = settings.model_copy(update={"borg": borg_that(tmp_path / "program", case)})
    async with up(settings, slack) as running:
        ended = await running.ended(await asked(running))
    assert (ended.status, ended.error_code, ended.attempt) == ("failed", code, 1)
    assert "It was tried" not in ended.error_message


async def test_backup_whose_borg_was_killed_after_its_last_write_is_completed(settings, slack, photos, tmp_path):
    case = f'create) {shutil.which("borg")} "$@"; kill -KILL $$;;'
    settings = settings.model_copy(update={"borg": borg_that(tmp_path / "program", case)})
    async with up(settings, slack) as running:
        ended = await running.ended(await asked(running))
    assert (ended.status, ended.error_code, ended.progress["nfiles"]) == ("completed", None, 2)
    assert archives(photos) == [ended.archive_name]
