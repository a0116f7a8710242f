"""A supervisor that is killed, alone or with its worker, at each point of its life: job, lane and thread end right.

It kills itself, and its parent, in a copy with one line put in; mid-run the test does, while borg waits at the gate.
"""

import asyncio
import os
import signal

import pytest

from tests.fakes.machine import (
    asked,
    assert_completed_once,
    assert_next_job_runs,
    assert_not_completed,
    in_the_middle,
    let_claims_run_out,
    machine_in,
)
from tests.fakes.supervised import AFTER_END, AFTER_STARTED, DIE, EXIT_WRITE, supervisor_with

KILL_WORKER = "os.kill(os.getppid(), signal.SIGKILL)"
DEATHS = pytest.mark.parametrize("worker_too", [False, True], ids=["supervisor", "worker and supervisor"])


@pytest.fixture
async def machine(tmp_path, tmp_path_factory, redis_url, sqlite_url, opened_sqlite):
    async with machine_in(tmp_path, redis_url, sqlite_url, tmp_path_factory.getbasetemp() / "empty") as machine:
        yield machine


async def killed_at(machine, point, *, worker_too):
    """A job whose supervisor, and no later one, killed itself at the point; a worker is there."""
    job = await asked()
    deaths = f"{KILL_WORKER}; {DIE}" if worker_too else DIE
    line = f'if os.getcwd().endswith("/{machine.run(job).path.name}"): {deaths}'
    source = supervisor_with(line, point, machine.directory / "supervisor.py")
    worker = await machine.start_worker(**{"worker.supervision:SOURCE": source})
    if worker_too:
        await replaced(machine, worker)
    return job


async def replaced(machine, worker):
    """Start another worker in the place of one that is killed."""
    assert await worker.ended() == -signal.SIGKILL
    await let_claims_run_out()
    await machine.start_worker()


async def assert_lost(machine, job, *, borg_calls):
    job = await assert_not_completed(machine, job, "failed", borg_calls=borg_calls)
    assert job.error_code == "worker_restarted"
    assert job.archive_name not in await asyncio.to_thread(machine.archives)


@DEATHS
async def test_job_whose_supervisor_is_killed_as_it_has_started_fails_and_borg_never_ran(machine, worker_too):
    job = await killed_at(machine, AFTER_STARTED, worker_too=worker_too)
    await assert_lost(machine, job, borg_calls=0)
    await assert_next_job_runs(machine)


@DEATHS
async def test_job_whose_supervisor_is_killed_mid_run_fails_and_its_borg_has_ended(machine, worker_too):
    machine.close_gate()
    worker = await machine.start_worker()
    job = await in_the_middle(machine, await asked())
    run = machine.run(job)
    if worker_too:
        worker.signal(signal.SIGKILL)
    os.kill(run.supervisor()["pid"], signal.SIGKILL)
    if worker_too:
        await replaced(machine, worker)
    await assert_lost(machine, job, borg_calls=1)
    assert not run.borg_alive()
    machine.open_gate()
    await assert_next_job_runs(machine)


@DEATHS
@pytest.mark.parametrize("point", [AFTER_END, EXIT_WRITE])
async def test_job_whose_supervisor_is_killed_after_borgs_end_is_completed_with_its_figures(machine, point, worker_too):
    job = await killed_at(machine, point, worker_too=worker_too)
    await assert_completed_once(machine, job, seen=False)
    await assert_next_job_runs(machine)
