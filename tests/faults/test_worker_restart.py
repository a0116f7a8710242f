"""Workers that end cleanly, and runs that end with their worker: real processes, real kills, real borg."""

import asyncio
import signal
from functools import partial

import pytest

from jobs import log_store
from jobs.database.unit import unit
from jobs.models import Job
from tests.fakes.instance import until
from tests.fakes.machine import (
    asked,
    assert_completed_once,
    assert_next_job_runs,
    assert_not_completed,
    ended,
    in_the_middle,
    kill_holders,
    let_claims_run_out,
    log_of,
    machine_in,
)

EARLIER = "what an earlier attempt said"


@pytest.fixture
async def machine(tmp_path, tmp_path_factory, redis_url, sqlite_url, opened_sqlite):
    async with machine_in(tmp_path, redis_url, sqlite_url, tmp_path_factory.getbasetemp() / "empty") as machine:
        machine.close_gate()
        yield machine


async def second_attempt(job):
    """The job as a first attempt could have left it, whose log must stay as it is."""
    await unit(partial(log_store.append, job.id, log_store.Position(), f"{EARLIER}\n".encode()))
    await Job.filter(id=job.id).update(attempt=2)
    return await Job.get(id=job.id)


async def killed_with_its_worker(machine):
    """A job whose worker, supervisor and borg were killed at once, in the middle of it."""
    worker = await machine.start_worker()
    job = await in_the_middle(machine, await asked())
    worker.signal(signal.SIGKILL)
    await asyncio.to_thread(kill_holders, machine.run(job))
    await worker.ended()
    await let_claims_run_out()
    machine.open_gate()
    return job


async def test_ended_worker_leaves_borg_running_and_the_next_one_adopts(machine):
    job = await second_attempt(await asked())
    worker = await machine.start_worker()
    await in_the_middle(machine, job)
    worker.signal(signal.SIGTERM)
    assert await worker.ended() == 0
    assert machine.run(job).borg_alive()
    assert machine.run(job).supervised()
    await let_claims_run_out()
    await machine.start_worker()
    machine.open_gate()
    await assert_completed_once(machine, job, [EARLIER])
    await assert_next_job_runs(machine)


async def test_run_that_was_killed_with_its_worker_fails_and_frees_the_lane(machine):
    job = await killed_with_its_worker(machine)
    waiting = await asked()
    await machine.start_worker()
    failed = await assert_not_completed(machine, job, "failed")
    assert failed.error_code == "worker_restarted"
    assert all("Worker restarted" in machine.thread(job)[part][0] for part in ("card", "progress"))
    log = await log_of(job)
    assert log[0].startswith(f"Locutus: job #{job.id}")
    assert log[-1] == "Locutus: Worker restarted; the run was lost."
    await assert_next_job_runs(machine, waiting)


async def test_run_whose_end_nobody_saw_is_completed_if_its_archive_is_there(machine):
    job = await killed_with_its_worker(machine)
    archive = f"{machine.directory / 'repo'}::{job.archive_name}"
    await asyncio.to_thread(machine.borg, "create", archive, str(machine.directory / "sources" / "first"))
    await machine.start_worker()
    job = await ended(job)
    assert (job.status, job.error_code, job.progress["nfiles"]) == ("completed", "source_missing", 1)
    assert "is in the repository" in (await log_of(job))[-1]
    await until(lambda: machine.shows(job, "completed"))
    await assert_next_job_runs(machine)
