"""Workers that die: real processes, real kills, real borg. No run is lost or run twice, and each thread ends right."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import worker
from jobs import log_store
from jobs.access import Role, everywhere
from jobs.database.unit import unit
from jobs.models import ChatMessage, Job
from jobs.submit import JobRequest, submit
from tests.conftest import wait_until
from tests.fakes.instance import SECRET_KEY, repository_row, until
from tests.fakes.slack import FakeSlack
from worker import supervision
from worker.run_directory import RunDirectory

ROOT = Path(worker.__file__).parent.parent
CHANNEL = "C1"
HOST = "test-host"
PASSPHRASE = "a passphrase of the tests"
EARLIER = "what an earlier attempt said"
PIECES = 7
PIECE_BYTES = 3_000_000
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Machine:
    """A host with a repository, and the workers that a test starts and kills on it."""

    directory: Path
    environment: dict[str, str]
    slack: FakeSlack
    process: subprocess.Popen[bytes] | None = None

    async def start_worker(self) -> None:
        await asyncio.to_thread(self._start_worker)

    def _start_worker(self) -> None:
        """Start `locutus worker` and wait until it says that it is up."""
        log = self.directory / "worker.log"
        with log.open("wb") as output:
            arguments = [sys.executable, "-m", "cli", "worker"]
            self.process = subprocess.Popen(
                arguments, cwd=ROOT, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        wait_until(lambda: b"worker_up" in log.read_bytes(), 30)

    def stop_worker(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(20)
        self.process = None
        return status

    def run(self, job: Job) -> RunDirectory:
        return RunDirectory.of(self.directory / "data" / "runs", job.id, job.attempt)

    def borg(self, command: str, *arguments: str) -> bytes:
        environment = {**self.environment, "BORG_PASSPHRASE": PASSPHRASE}
        argv = ["borg", command, "--lock-wait", "60", *arguments]
        done = subprocess.run(argv, env=environment, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def archives(self) -> list[str]:
        listed = json.loads(self.borg("list", "--json", str(self.directory / "repo")))
        return [archive["name"] for archive in listed["archives"]]

    def nfiles(self, archive: str) -> int:
        described = json.loads(self.borg("info", "--json", f"{self.directory / 'repo'}::{archive}"))
        return int(described["archives"][0]["stats"]["nfiles"])

    def thread(self, job: Job) -> dict[str, list[str]]:
        """The texts of the job's messages, by part."""
        texts: dict[str, list[str]] = {}
        for message in self.slack.messages[CHANNEL]:
            payload = message.metadata["event_payload"]
            if payload["job_id"] == job.id:
                texts.setdefault(payload["part"], []).append(message.text)
        return texts


@pytest.fixture
async def machine(tmp_path: Path, redis_url: str, sqlite_url: str, opened_sqlite: Any) -> AsyncIterator[Machine]:
    """Sources that take borg some seconds, with a missing one after each piece: a warning that the log must hold."""
    sources = []
    for number in range(PIECES):
        piece = tmp_path / f"piece-{number:02}"
        piece.write_bytes(os.urandom(PIECE_BYTES))
        sources += [piece, tmp_path / f"missing-{number:02}"]
    hidden = tmp_path / "passphrase"
    hidden.write_text(PASSPHRASE)
    (tmp_path / "data").mkdir()
    async with FakeSlack(channels=(CHANNEL,)) as slack:
        slack.limits = {}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path / "home"),
            "LOCUTUS_DATA_DIR": str(tmp_path / "data"),
            "LOCUTUS_DATABASE_URL": sqlite_url,
            "LOCUTUS_REDIS_URL": redis_url,
            "LOCUTUS_HOST": HOST,
            "LOCUTUS_SECRET_KEY": SECRET_KEY,
            "SLACK_BOT_TOKEN": slack.token,
            "LOCUTUS_SLACK_API_URL": slack.base_url,
        }
        machine = Machine(tmp_path, environment, slack)
        await asyncio.to_thread(machine.borg, "init", "--encryption", "repokey-blake2", str(tmp_path / "repo"))
        row = {"encryption": "repokey-blake2", "passphrase_file": str(hidden), "compression": "lzma,9"}
        await repository_row("photos", tmp_path / "repo", sources, **row)
        await repository_row("few", tmp_path / "repo", sources[:1], **row, lane="photos")
        yield machine
        if machine.process is not None:
            await asyncio.to_thread(machine.stop_worker)
        for run in RunDirectory.all_in(tmp_path / "data" / "runs"):
            await asyncio.to_thread(kill_holders, run)


def holders(lock: Path) -> list[int]:
    return supervision._holders(lock) if lock.exists() else []


def kill_holders(run: RunDirectory) -> None:
    """End supervisor and borg, without leaving either the time to say so."""
    for lock in (run.lock, run.borg_lock):
        for pid in holders(lock):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not run.supervised() and not run.borg_alive())


async def asked(repository: str = "photos") -> Job:
    principal = everywhere("token:test", Role.OPERATE)
    request = JobRequest("backup", principal, "api", repository, channel=f"slack:T1:{CHANNEL}")
    return (await submit(request)).job


async def job_once(job: Job, condition: Callable[[Job], bool], timeout_s: float = 50) -> Job:
    async with asyncio.timeout(timeout_s):
        while not condition(now := await Job.get(id=job.id)):
            await asyncio.sleep(0.02)
    return now


async def in_the_middle(machine: Machine, job: Job) -> Job:
    """Wait until borg is at work, row, log and thread show it, and stop it there: `go_on` lets it continue."""
    running = await job_once(job, lambda job: bool(job.progress.get("nfiles")))
    await until(lambda: any("file" in text for text in machine.thread(job).get("progress", [])))
    (borg,) = await asyncio.to_thread(holders, machine.run(job).borg_lock)
    os.kill(borg, signal.SIGSTOP)
    assert running.status == "running"
    assert running.progress["nfiles"] < PIECES
    return running


def go_on(machine: Machine, job: Job) -> None:
    (borg,) = holders(machine.run(job).borg_lock)
    os.kill(borg, signal.SIGCONT)


async def second_attempt(job: Job) -> Job:
    """The job as a first attempt could have left it, whose log must stay as it is."""
    await unit(partial(log_store.append, job.id, log_store.Position(), f"{EARLIER}\n".encode()))
    await Job.filter(id=job.id).update(attempt=2)
    return await Job.get(id=job.id)


async def let_claims_run_out() -> None:
    """A worker that was killed may have claimed a message, for less than a minute."""
    await ChatMessage.filter(claim__isnull=False).update(claimed_until=LONG_AGO)


async def log_of(job: Job) -> list[str]:
    pieces = [piece async for piece, _ in log_store.read(job.id, log_store.Position())]
    return b"".join(pieces).decode().splitlines()


async def assert_completed_once(machine: Machine, job: Job) -> None:
    """One archive, borg's own figures, one thread, and a log in which nothing lacks and nothing stands twice."""
    ended = await job_once(job, lambda job: job.completed_at is not None)
    assert (ended.status, ended.warnings) == ("completed", PIECES), ended.error_message
    assert ended.running_lock is None
    assert await asyncio.to_thread(machine.archives) == [ended.archive_name]
    assert ended.archive_name is not None
    assert ended.progress["nfiles"] == await asyncio.to_thread(machine.nfiles, ended.archive_name) == PIECES
    assert ended.progress["original_size"] >= PIECES * PIECE_BYTES
    assert ended.progress["progress_percent"] == 100
    await until(lambda: all("completed" in texts[-1] for texts in machine.thread(job).values()))
    assert {part: len(texts) for part, texts in machine.thread(job).items()} == {"card": 1, "progress": 1}
    earlier = [EARLIER] * (job.attempt - 1)
    header, *warnings, footer = (log := await log_of(job))[len(earlier) :]
    assert log[: len(earlier)] == earlier
    assert header.startswith(f"Locutus: job #{job.id}, backup of photos")
    assert [f"missing-{number:02}" in line for number, line in enumerate(warnings)] == [True] * PIECES
    assert footer.startswith("Locutus: exited, exit status 1 after ")
    await until(lambda: not machine.run(job).path.exists())


async def test_killed_workers_run_goes_on_and_is_adopted(machine):
    job = await second_attempt(await asked())
    await machine.start_worker()
    await in_the_middle(machine, job)
    machine.stop_worker(signal.SIGKILL)
    assert machine.run(job).borg_alive()
    assert machine.run(job).supervised()
    await let_claims_run_out()
    await machine.start_worker()
    go_on(machine, job)
    await assert_completed_once(machine, job)


async def test_backup_that_ends_while_no_worker_is_up_is_recorded_with_its_real_result(machine):
    job = await asked()
    await machine.start_worker()
    await in_the_middle(machine, job)
    machine.stop_worker(signal.SIGKILL)
    go_on(machine, job)
    await asyncio.to_thread(wait_until, lambda: machine.run(job).exit() is not None, 40)
    assert (await Job.get(id=job.id)).status == "running"
    await let_claims_run_out()
    await machine.start_worker()
    await assert_completed_once(machine, job)


async def test_ended_worker_leaves_borg_running_and_the_next_one_adopts(machine):
    job = await asked()
    await machine.start_worker()
    await in_the_middle(machine, job)
    assert machine.stop_worker(signal.SIGTERM) == 0
    go_on(machine, job)
    assert machine.run(job).borg_alive()
    assert machine.run(job).supervised()
    await let_claims_run_out()
    await machine.start_worker()
    await assert_completed_once(machine, job)


async def test_run_that_was_killed_with_its_worker_fails_and_frees_the_lane(machine):
    job = await asked()
    await machine.start_worker()
    await in_the_middle(machine, job)
    waiting = await asked("few")
    machine.stop_worker(signal.SIGKILL)
    await asyncio.to_thread(kill_holders, machine.run(job))
    await let_claims_run_out()
    await machine.start_worker()
    failed = await job_once(job, lambda job: job.completed_at is not None)
    assert (failed.status, failed.error_code, failed.running_lock) == ("failed", "worker_restarted", None)
    await until(lambda: "failure" in machine.thread(job))
    for part in ("card", "progress"):
        assert "Worker restarted" in machine.thread(job)[part][0]
        assert "failed" in machine.thread(job)[part][0]
    assert {part: len(texts) for part, texts in machine.thread(job).items()} == dict.fromkeys(
        ("card", "progress", "failure"), 1
    )
    log = await log_of(job)
    assert log[0].startswith(f"Locutus: job #{job.id}")
    assert log[-1] == "Locutus: Worker restarted; the run was lost."
    assert (await job_once(waiting, lambda job: job.completed_at is not None)).status == "completed"


async def test_run_whose_end_nobody_saw_is_completed_if_its_archive_is_there(machine):
    job = await asked()
    await machine.start_worker()
    job = await in_the_middle(machine, job)
    machine.stop_worker(signal.SIGKILL)
    await asyncio.to_thread(kill_holders, machine.run(job))
    archive = f"{machine.directory / 'repo'}::{job.archive_name}"
    await asyncio.to_thread(machine.borg, "create", archive, str(machine.directory / "piece-00"))
    await let_claims_run_out()
    await machine.start_worker()
    ended = await job_once(job, lambda job: job.completed_at is not None)
    assert (ended.status, ended.error_code) == ("completed", None)
    assert ended.progress["nfiles"] == 1
    assert "is in the repository" in (await log_of(job))[-1]
    await until(lambda: all("completed" in texts[-1] for texts in machine.thread(job).values()))
