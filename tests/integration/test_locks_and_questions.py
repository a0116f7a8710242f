"""A lock that keeps a job waiting names its holder and is broken only once that is dead; borg's questions go to people,
and so does the reminder of a key that nobody has exported.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.borg.environment import environment
from jobs.borg.options import LOCK_WAIT_S
from jobs.job_type import RetryPolicy
from jobs.models import AuditEntry
from jobs.types.backup import Backup
from tests.fakes.instance import instance, settings_for

PASSPHRASE = "a passphrase of the tests"
ELSEWHERE = "nas-2.example.org@1234567"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def settings(tmp_path, sqlite_url, redis_url):
    return settings_for(tmp_path, sqlite_url, redis_url)


@pytest.fixture
def sources(tmp_path):
    directory = tmp_path / "sources"
    directory.mkdir()
    (directory / "file").write_text("content")
    return directory


def borg(*arguments, **variables):
    given = {**environment(os.environ, base_dir=None, passphrase_given=False), **variables}
    return subprocess.run(["borg", *arguments], env=given, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def own_host():
    """This host as borg itself calls it."""
    interpreter = Path(shutil.which("borg")).read_bytes().partition(b"\n")[0].decode().removeprefix("#!").split()
    script = "from borg.platform import get_process_id; print(get_process_id()[0])"
    return subprocess.run([*interpreter, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def lock(repository, host, pid):
    (repository / "lock.exclusive").mkdir()
    (repository / "lock.exclusive" / f"{host}.{pid}-0").touch()


def dead_pid():
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


async def run(running, path, **body):
    status, answer = await running.call("POST", path, json=body)
    assert status == 202, answer
    return await running.ended(answer["job_id"])


async def backed_up(running):
    return await run(running, "/api/backup/run", repository="photos")


_ARGUMENTS = Backup.arguments


def _impatient(backup, run):
    return tuple("1" if word == str(LOCK_WAIT_S) else word for word in _ARGUMENTS(backup, run))


class TestLock:
    @pytest.fixture
    async def photos(self, settings, sources, tmp_path, monkeypatch):
        """A repository whose lock is not waited for."""
        monkeypatch.setattr(Backup, "arguments", _impatient)
        async with instance(settings) as running:
            await running.add_repository("photos", tmp_path / "repo", [sources])
            yield running

    @pytest.mark.parametrize(
        ("elsewhere", "words"), [(False, "it lives and is no job of this host."), (True, "can only be seen there.")]
    )
    async def test_locked_repository_names_who_holds_it(
        self, photos, tmp_path, monkeypatch, own_host, elsewhere, words
    ):
        monkeypatch.setattr(Backup, "retry", RetryPolicy(retries=0))
        host = ELSEWHERE if elsewhere else own_host
        lock(tmp_path / "repo", host, os.getpid())
        job = await backed_up(photos)
        assert (job.status, job.error_code) == ("failed", "repository_locked")
        name = host.partition("@")[0].partition(".")[0]
        assert f"Process {os.getpid()} of {name} has held the lock since" in job.error_message
        assert words in job.error_message
        assert "`/backup unlock photos`" in job.error_message

    async def test_lock_of_who_may_live_is_broken_only_when_somebody_answers_for_it(self, photos, tmp_path):
        lock(tmp_path / "repo", ELSEWHERE, 4411)
        path = "/api/repositories/photos/unlock"
        refused = await run(photos, path)
        assert (refused.status, refused.error_code) == ("failed", "lock_holder_may_live")
        assert "Process 4411 of nas-2" in refused.error_message
        assert (tmp_path / "repo/lock.exclusive").exists()
        status, answer = await photos.call("POST", path, json={"override": "because"})
        assert (status, answer["field"]) == (422, "override")
        broken = await run(photos, path, override="nas-2 burnt down last night")
        assert (broken.status, broken.error_message) == ("completed", None)
        assert "not locked any more" in broken.progress["progress_message"]
        assert not (tmp_path / "repo/lock.exclusive").exists()
        assert await AuditEntry.filter(action="unlock.run", target="photos").count() == 2
        assert (await backed_up(photos)).status == "completed"

    async def test_lock_of_a_dead_process_is_broken_at_once(self, photos, tmp_path, own_host):
        lock(tmp_path / "repo", own_host, await asyncio.to_thread(dead_pid))
        assert (await run(photos, "/api/repositories/photos/unlock")).status == "completed"
        assert not (tmp_path / "repo/lock.exclusive").exists()

    async def test_pid_that_another_process_has_got_since_is_that_of_a_dead_one(self, photos, tmp_path, own_host):
        lock(tmp_path / "repo", own_host, os.getpid())
        os.utime(tmp_path / "repo/lock.exclusive" / f"{own_host}.{os.getpid()}-0", (1_000_000_000, 1_000_000_000))
        assert (await run(photos, "/api/repositories/photos/unlock")).status == "completed"


class TestQuestions:
    async def test_moved_repository_is_used_once_somebody_says_that_it_was_moved(self, settings, sources, tmp_path):
        async with instance(settings) as running:
            await running.add_repository("photos", tmp_path / "repo", [sources])
            assert (await backed_up(running)).status == "completed"
            (tmp_path / "repo").rename(tmp_path / "moved")
            changed = {"location": str(tmp_path / "moved")}
            assert (await running.call("PUT", "/api/repositories/photos", json=changed))[0] == 200
            job = await backed_up(running)
            assert (job.status, job.error_code) == ("failed", "repository_relocated")
            assert "`locutus repo accept photos relocated`" in job.error_message
            accepted = {"question": "relocated"}
            assert (await running.call("POST", "/api/repositories/photos/accept", json=accepted))[0] == 200
            assert (await backed_up(running)).status == "completed"
            assert await AuditEntry.filter(action="repository.accept", target="photos").count() == 1

    async def test_plain_repository_that_nobody_called_so_gets_nothing_until_somebody_does(
        self, settings, sources, tmp_path
    ):
        borg("init", "--encryption", "none", str(tmp_path / "repo"), HOME=str(tmp_path / "elsewhere"))
        async with instance(settings) as running:
            body = {"name": "photos", "location": str(tmp_path / "repo"), "source_directories": [str(sources)]}
            assert (await running.call("POST", "/api/repositories", json=body))[0] == 201
            job = await backed_up(running)
            assert (job.status, job.error_code) == ("failed", "repository_unencrypted")
            accepted = {"question": "unencrypted"}
            assert (await running.call("POST", "/api/repositories/photos/accept", json=accepted))[0] == 200
            assert (await backed_up(running)).status == "completed"


async def test_key_that_nobody_exported_is_remembered_until_somebody_has(settings, sources, tmp_path):
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    async with instance(settings) as running:
        fields = {"encryption": "repokey-blake2", "passphrase_file": str(tmp_path / "passphrase")}
        await running.add_repository("photos", tmp_path / "repo", [sources], **fields)
        _, before = await running.call("GET", "/api/repositories/photos")
        assert (before["key_exported_at"], before["key_export_due"]) == (None, True)
        variables = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "LOCUTUS_DATA_DIR": str(settings.data_dir),
            "LOCUTUS_DATABASE_URL": settings.database_url, "LOCUTUS_REDIS_URL": settings.redis_url,
            "LOCUTUS_HOST": settings.host,
        }  # fmt: skip
        argv = [sys.executable, "-m", "cli", "repo", "key-export", "photos"]
        done = await asyncio.to_thread(subprocess.run, argv, env=variables, check=True, capture_output=True, text=True)
        exported = tmp_path / "key"
        exported.write_text(done.stdout)
        _, after = await running.call("GET", "/api/repositories/photos")
        assert (after["key_exported_at"] is not None, after["key_export_due"]) == (True, False)
    borg("key", "import", str(tmp_path / "repo"), str(exported))
    assert "BORG_KEY" in done.stdout
    assert PASSPHRASE not in done.stdout
    assert json.loads(borg("list", "--json", str(tmp_path / "repo"), BORG_PASSPHRASE=PASSPHRASE))["archives"] == []
