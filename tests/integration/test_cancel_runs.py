"""Cancelling what runs: by its host, also across restarts, with a word on the repository's lock; never too late."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cli.composition import make_data_directory, storage
from jobs.borg.environment import environment
from jobs.cancel import cancel
from jobs.models import Archive, Job, Repository
from jobs.types.backup import Backup
from tests.conftest import wait_until
from tests.fakes.instance import ADMIN, instance, repository_row, settings_for, until
from tests.fakes.machine import make_borg
from tests.fakes.slack import FakeSlack
from worker import lock_check, runs
from worker.ask_borg import Bounds
from worker.lock_check import check_lock
from worker.run_directory import RunDirectory

CHANNEL = "C1"
UNLOCKED = "The repository is not locked."


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
async def slack():
    async with FakeSlack(channels=(CHANNEL,)) as fake:
        yield fake


@pytest.fixture
def settings(tmp_path, sqlite_url, redis_url, slack):
    given = settings_for(tmp_path, sqlite_url, redis_url, slack_bot_token=slack.token, slack_api_url=slack.base_url)
    make_data_directory(given)
    return given


def borg(*arguments, **variables):
    given = {**environment(os.environ, base_dir=None, passphrase_given=False), **variables}
    return subprocess.run(["borg", *arguments], env=given, check=True, capture_output=True).stdout


@pytest.fixture
async def photos(tmp_path, settings):
    """A repository, and two files to back up in this order."""
    directory = tmp_path / "sources"
    directory.mkdir()
    sources = [directory / "first", directory / "gated"]
    for source in sources:
        source.write_text(source.name)
    await asyncio.to_thread(borg, "init", "--encryption", "none", str(tmp_path / "repo"))
    async with storage(settings):
        await repository_row("photos", tmp_path / "repo", sources)
    return tmp_path / "repo"


async def asked(running, slack):
    body = {"repository": "photos", "channel": f"slack:{slack.team}:{CHANNEL}"}
    status, started = await running.call("POST", "/api/backup/run", json=body)
    assert status == 202, started
    return started["job_id"]


async def log_of(running, job_id):
    async with running.http.get(f"/api/jobs/{job_id}/logs") as answer:
        return (await answer.text()).splitlines()


def borg_that(directory: Path, create: str) -> str:
    """The real borg behind a script that does something else in place of `create`."""
    directory.mkdir()
    path = directory / "borg"
    path.write_text(f'#!/bin/sh\ncase "$1" in\ncreate) {create};;\nesac\nexec borg "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@contextlib.contextmanager
def gated_borg(directory: Path):
    """The real borg, which stands before the file `gated` until it is interrupted, or the test is over."""
    program = make_borg(directory)
    with (directory / "gate").open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield str(program)


@contextlib.contextmanager
def locked(repository: Path, end: int = signal.SIGTERM):
    """Another borg that holds the repository's lock."""
    argv = ["borg", "with-lock", str(repository), "sleep", "600"]
    given = environment(os.environ, base_dir=None, passphrase_given=False)
    with subprocess.Popen(argv, env=given, start_new_session=True) as holder:
        try:
            wait_until((repository / "lock.exclusive").exists)
            yield
        finally:
            os.killpg(holder.pid, end)


async def test_cancelled_backup_says_who_and_what_became_of_the_lock_and_leaves_no_archive(
    settings, slack, photos, tmp_path
):
    async with contextlib.AsyncExitStack() as stack:
        program = stack.enter_context(gated_borg(tmp_path / "program"))
        running = await stack.enter_async_context(instance(settings.model_copy(update={"borg": program})))
        job_id = await asked(running, slack)
        await running.until(job_id, lambda job: bool(job.progress.get("nfiles")))
        status, answer = await running.call("POST", f"/api/jobs/{job_id}/cancel")
        assert (status, answer["status"]) == (202, "running")
        ended = await running.ended(job_id)
        log = await log_of(running, job_id)
        await until(lambda: all("cancelled by" in message.text for message in slack.messages[CHANNEL]))
        texts = [message.text for message in slack.messages[CHANNEL]]
        assert await Archive.all().count() == 0
    assert (ended.status, ended.cancel_requested_by, ended.error_message) == ("cancelled", "token:admin", None)
    assert ended.progress["progress_message"] == UNLOCKED
    assert log[-2].startswith("Locutus: cancelled, exit status ")
    assert log[-1] == f"Locutus: {UNLOCKED}"
    assert len(texts) == 2
    assert all("cancelled by token admin" in text for text in texts), texts
    assert UNLOCKED.removesuffix(".") in texts[1]
    left = json.loads(borg("list", "--json", "--consider-checkpoints", str(photos)))["archives"]
    assert all(".checkpoint" in archive["name"] for archive in left)


async def test_repository_that_somebody_else_has_locked_is_said(settings, slack, photos, tmp_path):
    settings = settings.model_copy(update={"borg": borg_that(tmp_path / "program", "exec sleep 600")})
    async with instance(settings) as running:
        with locked(photos):
            job_id = await asked(running, slack)
            await until(RunDirectory.of(settings.runs, job_id, 1).borg_alive)
            await running.call("POST", f"/api/jobs/{job_id}/cancel")
            ended = await running.ended(job_id)
            log = await log_of(running, job_id)
    assert ended.status == "cancelled"
    assert ended.error_message.startswith("The repository photos is still locked.")
    assert log[-1] == f"Locutus: {ended.error_message}"


async def test_run_out_of_time_has_its_lock_looked_at(settings, slack, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Backup, "timeout_s", 0.5)
    settings = settings.model_copy(update={"borg": borg_that(tmp_path / "program", "exec sleep 600")})
    async with instance(settings) as running:
        ended = await running.ended(await asked(running, slack))
        log = await log_of(running, ended.id)
    assert (ended.status, ended.error_code, ended.attempt) == ("failed", "timeout", 1)
    assert "locked" not in ended.error_message
    assert log[-1] == f"Locutus: {UNLOCKED}"


async def test_cancel_while_no_worker_is_up_takes_effect_at_adoption(settings, slack, photos, tmp_path):
    settings = settings.model_copy(update={"borg": borg_that(tmp_path / "program", "exec sleep 600")})
    async with instance(settings) as running:
        job_id = await asked(running, slack)
        run = RunDirectory.of(settings.runs, job_id, 1)
        await until(run.borg_alive)
    async with storage(settings):
        assert (await cancel(job_id, ADMIN, origin="api")).status == "running"
    assert run.borg_alive()
    async with instance(settings) as running:
        ended = await running.ended(job_id, 20)
        await until(lambda: all("cancelled by token admin" in text.text for text in slack.messages[CHANNEL]))
    assert (ended.status, ended.attempt, ended.running_lock) == ("cancelled", 1, None)


async def test_cancel_between_claim_and_launch_keeps_borg_from_starting(settings, slack, photos, monkeypatch):
    """Though nothing wakes the worker for it any more."""
    prepare = runs.prepare

    async def cancelled_meanwhile(job, *rest):
        await Job.filter(id=job.id).update(cancel_requested_by="token:admin")
        return await prepare(job, *rest)

    monkeypatch.setattr(runs, "prepare", cancelled_meanwhile)
    async with instance(settings) as running:
        ended = await running.ended(await asked(running, slack), 20)
        log = await log_of(running, ended.id)
    assert (ended.status, ended.running_lock) == ("cancelled", None)
    assert log[-1].startswith("Locutus: cancelled, borg did not run")


async def test_run_past_its_point_of_no_return_runs_on(settings, slack, photos, tmp_path, monkeypatch):
    """Its newest progress counts, which nobody outside of its host has seen yet."""
    monkeypatch.setattr(Backup, "cancellable", lambda _, progress: progress.nfiles is None)
    place = tmp_path / "program"
    event = '{"type": "archive_progress", "nfiles": 1, "original_size": 1, "path": "x", "finished": false}'
    held = f"echo '{event}' >&2; until [ -e {place}/on ]; do sleep 0.1; done"
    changed = {"borg": borg_that(place, held), "progress_interval": timedelta(hours=1)}
    async with instance(settings.model_copy(update=changed)) as running:
        job_id = await asked(running, slack)
        run = RunDirectory.of(settings.runs, job_id, 1)
        await until(run.progress.exists)
        with capture_logs() as said:
            status, _ = await running.call("POST", f"/api/jobs/{job_id}/cancel")
            await until(lambda: {"event": "cancel_came_too_late", "job_id": job_id, "log_level": "warning"} in said)
        (place / "on").touch()
        ended = await running.ended(job_id)
        await until(lambda: all("completed" in message.text for message in slack.messages[CHANNEL]))
    assert (status, ended.status) == (202, "completed")
    assert not run.cancel_file.exists()


async def test_ended_job_is_told_to_have_ended_and_a_cancelled_one_stays_cancelled(settings, slack, photos, tmp_path):
    settings = settings.model_copy(update={"borg": borg_that(tmp_path / "program", "exit 14")})
    async with instance(settings) as running:
        failed = await running.ended(await asked(running, slack))
        status, problem = await running.call("POST", f"/api/jobs/{failed.id}/cancel")
        assert (status, problem["detail"]) == (409, f"Job #{failed.id} has ended already: it is failed.")
        await Repository.filter(name="photos").update(host="elsewhere")
        job_id = await asked(running, slack)
        for _ in range(2):
            status, job = await running.call("POST", f"/api/jobs/{job_id}/cancel")
            assert (status, job["status"]) == (200, "cancelled")


class TestLockCheck:
    """Of an encrypted repository, whose passphrase nobody gives."""

    @pytest.fixture
    def repository(self, tmp_path):
        path = tmp_path / "encrypted"
        borg("init", "--encryption", "repokey-blake2", str(path), BORG_PASSPHRASE="secret")
        return Repository(name="photos", location=str(path))

    async def test_free_repository_is_not_locked(self, settings, repository):
        assert (await check_lock(settings, repository)).sentence == UNLOCKED

    async def test_repository_in_use_is_locked(self, settings, repository):
        with locked(Path(repository.location)):
            report = await check_lock(settings, repository)
        assert report.locked
        assert "See who holds it" in report.sentence

    async def test_lock_of_a_dead_process_of_this_host_is_none(self, settings, repository):
        path = Path(repository.location)
        with locked(path, signal.SIGKILL):
            pass
        assert (path / "lock.exclusive").exists()
        assert (await check_lock(settings, repository)).sentence == UNLOCKED

    async def test_repository_that_is_not_there_is_said(self, settings, tmp_path):
        repository = Repository(name="photos", location=str(tmp_path / "none"))
        assert (await check_lock(settings, repository)).sentence == f"There is no repository at {tmp_path / 'none'}."

    @pytest.mark.parametrize(("program", "reason"), [("/no/borg", "can't be run"), ("sleeping", "no answer in 0.2 s")])
    async def test_borg_that_does_not_answer_leaves_it_open(
        self, settings, repository, tmp_path, monkeypatch, program, reason
    ):
        monkeypatch.setattr(lock_check, "BOUNDS", Bounds(0.2, 1000))
        sleeping = tmp_path / "sleeping"
        sleeping.write_text("#!/bin/sh\nexec sleep 600\n")
        sleeping.chmod(0o700)
        other = settings.model_copy(update={"borg": str(tmp_path / program)})
        report = await check_lock(other, repository)
        assert not report.locked
        assert report.sentence.startswith("Whether the repository is still locked could not be asked: ")
        assert reason in report.sentence
