"""A worker that is killed or paused at an exact point of a job's life: borg runs once, and all agree on its end."""

import signal

import pytest

from tests.fakes.faulty_worker import POINTS
from tests.fakes.instance import until
from tests.fakes.machine import (
    asked,
    assert_completed_once,
    assert_next_job_runs,
    let_claims_run_out,
    log_of,
    machine_in,
)

LIFE = [point for point in POINTS if point != "cancelling"]
IN_THE_MIDDLE = {"running", "editing"}
BEATS_FAST = {"worker.sole_worker:BEAT_S": 0.2}
LEARNS_LATE = {"worker.sole_worker:BEAT_S": 1000}
"""So that a worker that wakes up goes on for as long as it can before it learns that another took over."""
TAKES_OVER_FAST = {"worker.sole_worker:LOOK_AGAIN_S": 0.03}
SWEEPS_OFTEN = {"worker.runs:SWEEP_OVERDUE_S": 0.2, "worker.runs:SWEEP_LOOK_S": 0.2}
"""What a worker claims in the moment between its waking up and its learning that is found at a sweep of the other."""
KEEPS_NOTHING = {"worker.leftovers:KEPT_S": 0, **SWEEPS_OFTEN}
"""Directories that mean nothing any more are removed at once."""


@pytest.fixture
async def machine(tmp_path, tmp_path_factory, redis_url, sqlite_url, opened_sqlite):
    async with machine_in(tmp_path, redis_url, sqlite_url, tmp_path_factory.getbasetemp() / "empty") as machine:
        yield machine


async def reach(machine, point, fault, **constants):
    """A job, and the worker that kills or pauses itself where the job comes to the point."""
    if point in IN_THE_MIDDLE:
        machine.close_gate()
    worker = await machine.start_worker(f"{point}={fault.name}", **constants)
    return await asked(), worker


@pytest.mark.parametrize("point", LIFE)
async def test_job_of_a_worker_that_is_killed_ends_right_and_borg_runs_once(machine, point):
    job, doomed = await reach(machine, point, signal.SIGKILL)
    assert await doomed.ended() == -signal.SIGKILL
    await let_claims_run_out()
    await machine.start_worker(**KEEPS_NOTHING)
    machine.open_gate()
    await assert_completed_once(machine, job)
    await assert_next_job_runs(machine)


ENDED = ("status", "attempt", "retries", "progress", "completed_at", "revision", "archive_name", "error_code")
HOLDS_THE_RUN = {"locked"}
"""Where a paused worker holds what nobody can take from it: the lock of a run that it is about to start."""
HOLDS_THE_DATABASE = {"recording"}


@pytest.mark.parametrize("point", [point for point in LIFE if point not in HOLDS_THE_RUN | HOLDS_THE_DATABASE])
async def test_job_of_a_worker_that_is_paused_is_ended_by_the_next_and_stays_so_when_the_first_wakes(machine, point):
    job, paused = await reach(machine, point, signal.SIGSTOP, **BEATS_FAST)
    await paused.paused()
    await let_claims_run_out()
    await machine.start_worker(**TAKES_OVER_FAST, **KEEPS_NOTHING)
    machine.open_gate()
    before = await assert_completed_once(machine, job)
    log = await log_of(job)
    await wake(machine, paused)
    after = await assert_completed_once(machine, job)
    assert {name: getattr(after, name) for name in ENDED} == {name: getattr(before, name) for name in ENDED}
    assert await log_of(job) == log


@pytest.mark.parametrize("pause", ["shorter", "longer"])
async def test_worker_that_is_paused_as_it_starts_a_run_starts_it_only_if_it_wakes_in_time(machine, pause):
    start_within = {"worker.preparation:START_WITHIN_S": 60 if pause == "shorter" else 0}
    job, paused = await reach(machine, "locked", signal.SIGSTOP, **BEATS_FAST, **start_within)
    await paused.paused()
    await let_claims_run_out()
    follower = await machine.start_worker(**TAKES_OVER_FAST, **SWEEPS_OFTEN)
    await follower.says("took_over")
    await wake(machine, paused)
    job = await assert_completed_once(machine, job)
    assert (job.attempt > 1) == (pause == "longer")


async def test_claim_that_was_slept_over_starts_nothing_though_all_traces_of_it_are_gone(machine):
    job, paused = await reach(machine, "claimed", signal.SIGSTOP, **LEARNS_LATE)
    await paused.paused()
    await let_claims_run_out()
    await machine.start_worker(**TAKES_OVER_FAST, **KEEPS_NOTHING)
    await assert_completed_once(machine, job)
    await until(lambda: not machine.runs_of(job))
    await wake(machine, paused)
    await assert_completed_once(machine, job)


async def wake(machine, paused):
    """Wake it, let it do for as long as another job takes whatever it would, and have it leave cleanly."""
    paused.signal(signal.SIGCONT)
    await assert_next_job_runs(machine)
    paused.signal(signal.SIGTERM)
    assert await paused.ended() == 0
