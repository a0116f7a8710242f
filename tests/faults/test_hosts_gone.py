"""Hosts that die, come back, are paused or told to stop: real processes and real borg. Borg runs once, and whoever
waits for the repository waits until it is certain that nobody uses it.
"""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.console.platform import ConsolePlatform
from bot.slack.client import SlackPlatform
from jobs.forget import forget
from jobs.models import Archive, Host, Job
from jobs.queue import current_queue
from jobs.secrets import SecretBox
from jobs.submit import JobRequest, submit
from tests.conftest import wait_until
from tests.fakes.instance import ADMIN, SECRET_KEY, repository_row, settings_for, until
from tests.fakes.machine import (
    FILES,
    HOST,
    LONG_AGO,
    PATIENCE_S,
    ROOT,
    Machine,
    asked,
    assert_completed_once,
    assert_next_job_runs,
    ended,
    in_the_middle,
    job_once,
    kill_holders,
    let_claims_run_out,
    log_of,
    machine_in,
)
from worker.app import WorkerContext, WorkerRole, run_worker

LOST_AFTER = timedelta(seconds=2)
STOP_S = 5.0
OTHER_HOST = "other-host"


@dataclass
class Worker:
    """A worker's process."""

    process: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


_started: list[Worker] = []


@pytest.fixture
async def machine(tmp_path: Path, tmp_path_factory, redis_url, sqlite_url, opened_sqlite: Any):
    async with machine_in(tmp_path, redis_url, sqlite_url, tmp_path_factory.getbasetemp() / "empty") as machine:
        yield machine
        while _started:
            await asyncio.to_thread(_started.pop().kill)


async def start(machine: Machine, *options: str, **environment: str) -> Worker:
    """Start `locutus worker` with options and settings of its own, and wait until it is up."""
    worker = launched(machine, options, environment)
    await says(worker, "worker_up")
    return worker


def launched(machine: Machine, options: Sequence[str], environment: Mapping[str, str]) -> Worker:
    log = machine.directory / f"own-worker-{len(_started)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "worker", *options],
            cwd=ROOT, env={**machine.environment, **environment}, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    _started.append(Worker(process, log))
    return _started[-1]


async def says(worker: Worker, word: str) -> None:
    await asyncio.to_thread(wait_until, lambda: word in worker.log.read_text(), PATIENCE_S)


def pause(machine: Machine, worker: Worker) -> None:
    """Stop a worker, but not in the middle of a write: until it goes on, nobody else could write to SQLite."""
    while True:
        worker.signal(signal.SIGSTOP)
        wait_until(lambda: stands_still(worker), PATIENCE_S)
        if is_writable(machine.environment["LOCUTUS_DATABASE_URL"].removeprefix("sqlite://")):
            return
        worker.signal(signal.SIGCONT)


def stands_still(worker: Worker) -> bool:
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def is_writable(database: str) -> bool:
    with contextlib.closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


@contextlib.asynccontextmanager
async def service(machine: Machine, lost_after: timedelta = timedelta(hours=24)) -> AsyncIterator[None]:
    """A service worker in this process."""
    given = machine.environment
    settings = settings_for(machine.directory / "service", given["LOCUTUS_DATABASE_URL"], given["LOCUTUS_REDIS_URL"])
    settings = settings.model_copy(update={"host_lost_after": lost_after})
    await let_claims_run_out()
    async with SlackPlatform(given["SLACK_BOT_TOKEN"], given["LOCUTUS_SLACK_API_URL"]) as slack:
        platforms = [ConsolePlatform(), slack]
        context = WorkerContext(settings, current_queue(), WorkerRole.SERVICE, platforms, SecretBox(SECRET_KEY))
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(run_worker(context, asyncio.Event()))
            yield
            working.cancel()


async def running_on_a_host(machine: Machine) -> tuple[Worker, Job]:
    """A worker with the role host, and its job, whose borg waits at the gate."""
    machine.close_gate()
    worker = await start(machine, "--role", "host")
    async with service(machine):
        job = await in_the_middle(machine, await asked())
    return worker, job


async def lost(machine: Machine, job: Job) -> Job:
    """The job once it counts as lost, which its thread shows, and its lane is held."""
    async with service(machine, LOST_AFTER):
        job = await ended(job)
        assert (job.status, job.error_code, job.late_status) == ("failed", "host_lost", None)
        assert job.running_lock == job.lane
        await until(lambda: machine.shows(job, "failed"))
        assert any("has been silent since" in text for text in machine.thread(job)["card"])
    return job


async def test_host_that_comes_back_records_late_what_became_of_its_run(machine):
    worker, job = await running_on_a_host(machine)
    worker.signal(signal.SIGKILL)
    await worker.ended()
    job = await lost(machine, job)
    waiting = await asked()
    await let_claims_run_out()
    await start(machine, "--role", "host")
    machine.open_gate()
    async with service(machine):
        late = await job_once(job, lambda job: job.late_status is not None)
        assert (late.status, late.error_code, late.late_status) == ("failed", "host_lost", "completed")
        assert machine.borg_calls(late.archive_name) == 1
        assert await Archive.filter(name=late.archive_name, job_id=job.id).exists()
        log = await log_of(job)
        assert [sum(f"missing-{name}:" in line for line in log) for name in FILES] == [1] * len(FILES), log
        assert sum("exited, exit status 1" in line for line in log) == 1
        await until(lambda: all("the host returned" in machine.thread(job)[part][0] for part in ("card", "progress")))
        assert (await assert_completed_once(machine, waiting)).started_at > job.completed_at


async def test_lane_of_a_host_that_is_gone_is_free_once_its_job_is_forgotten(machine):
    row = {"encryption": "repokey-blake2", "passphrase_file": str(machine.directory / "passphrase"), "lane": "photos"}
    sources = [machine.directory / "sources" / "first"]
    await repository_row("elsewhere", machine.directory / "repo", sources, **row, host=OTHER_HOST)
    worker, job = await running_on_a_host(machine)
    worker.signal(signal.SIGKILL)
    await worker.ended()
    await asyncio.to_thread(kill_holders, machine.run(job))
    job = await lost(machine, job)
    other = machine.directory / "other"
    await start(machine, "--role", "host", LOCUTUS_HOST=OTHER_HOST, LOCUTUS_DATA_DIR=str(other))
    waiting = await asked_elsewhere()
    async with service(machine):
        await until(lambda: any("pending" in text for text in machine.thread(waiting).get("card", [])))
        await Host.filter(name=HOST).update(last_seen_at=LONG_AGO)
        forgotten = await forget(job.id, ADMIN, origin="cli")
        assert (forgotten.status, forgotten.running_lock) == ("failed", None)
        assert (await ended(waiting)).status == "completed"


async def asked_elsewhere() -> Job:
    return (await submit(JobRequest("backup", ADMIN, "api", "elsewhere", channel="slack:T1:C1"))).job


async def test_worker_that_is_paused_loses_its_turn_and_finds_that_out(machine):
    machine.close_gate()
    paused = await start(machine)
    job = await in_the_middle(machine, await asked())
    await asyncio.to_thread(pause, machine, paused)
    standby = await start(machine)
    await says(standby, "took_over")
    await let_claims_run_out()
    machine.open_gate()
    await assert_completed_once(machine, job)
    before = await Job.get(id=job.id)
    paused.signal(signal.SIGCONT)
    await says(paused, "another_worker_took_over")
    await assert_next_job_runs(machine)
    await assert_completed_once(machine, job)
    assert (await Job.get(id=job.id)).revision == before.revision
    standby.signal(signal.SIGKILL)
    await standby.ended()
    await let_claims_run_out()
    await says(paused, "took_over")
    await assert_next_job_runs(machine)


async def test_paused_worker_that_wakes_as_its_run_goes_on_stores_no_text_twice(machine):
    machine.close_gate()
    paused = await start(machine)
    job = await in_the_middle(machine, await asked())
    await asyncio.to_thread(pause, machine, paused)
    standby = await start(machine)
    await says(standby, "took_over")
    await let_claims_run_out()
    paused.signal(signal.SIGCONT)
    machine.open_gate()
    await assert_completed_once(machine, job)
    await says(paused, "another_worker_took_over")
    await assert_next_job_runs(machine)


async def stopped(worker: Worker, number: int = signal.SIGTERM) -> float:
    """Seconds that the worker takes to leave, cleanly."""
    begun_s = time.monotonic()
    worker.signal(number)
    assert await worker.ended() == 0, worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()
    return time.monotonic() - begun_s


async def test_worker_leaves_within_five_seconds_and_its_borg_goes_on(machine):
    machine.close_gate()
    worker = await start(machine)
    job = await in_the_middle(machine, await asked())
    assert await stopped(worker) < STOP_S
    assert machine.run(job).borg_alive()
    waiting = await asked()
    await let_claims_run_out()
    await start(machine)
    machine.open_gate()
    await assert_completed_once(machine, job)
    await assert_completed_once(machine, waiting)


async def test_database_that_does_not_answer_holds_no_stop(machine):
    machine.close_gate()
    worker = await start(machine)
    job = await in_the_middle(machine, await asked())
    path = machine.environment["LOCUTUS_DATABASE_URL"].removeprefix("sqlite://")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        machine.open_gate()
        await asyncio.to_thread(wait_until, lambda: machine.run(job).exit() is not None, PATIENCE_S)
        assert await stopped(worker) < STOP_S + 1
        other.execute("ROLLBACK")
    await let_claims_run_out()
    await start(machine)
    await assert_completed_once(machine, job)


async def test_draining_worker_leaves_once_its_run_is_recorded_and_claims_nothing(machine):
    machine.close_gate()
    worker = await start(machine, "--drain")
    job = await in_the_middle(machine, await asked())
    worker.signal(signal.SIGTERM)
    await says(worker, "draining")
    assert f'"waits_for_jobs": [{job.id}]' in worker.log.read_text()
    waiting = await asked()
    machine.open_gate()
    assert await worker.ended() == 0
    assert (await Job.get(id=job.id)).status == "completed"
    assert (await Job.get(id=waiting.id)).status == "pending"
    await let_claims_run_out()
    await start(machine)
    await assert_completed_once(machine, job)
    await assert_completed_once(machine, waiting)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_a_drain_at_once(machine, second):
    machine.close_gate()
    worker = await start(machine, "--drain")
    job = await in_the_middle(machine, await asked())
    worker.signal(signal.SIGTERM)
    await says(worker, "draining")
    assert await stopped(worker, second) < STOP_S
    assert (await Job.get(id=job.id)).status == "running"
    assert machine.run(job).borg_alive()


async def test_worker_without_runs_drains_at_once(machine):
    worker = await start(machine, "--drain")
    assert await stopped(worker) < STOP_S
    assert (await Host.get()).last_seen_at is not None
