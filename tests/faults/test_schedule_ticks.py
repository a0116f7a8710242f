"""A worker that is killed in the middle of a tick, and two that come after it: each due run is made once."""

import asyncio
import signal

import pytest

from jobs.clock import now
from jobs.models import Job, ScheduledJob, ScheduledRun
from jobs.repositories import Asker
from jobs.schedule import schedules
from jobs.schedule.fields import NewSchedule
from tests.fakes.faulty_worker import TICK_POINTS
from tests.fakes.instance import ADMIN
from tests.fakes.machine import CHANNEL, ended, machine_in

SCHEDULES = 3
TICKS_OFTEN = {"worker.schedule_ticker:LOOK_S": 0.1, "worker.schedule_ticker:OVERDUE_S": 0.1}


@pytest.fixture
async def machine(tmp_path, tmp_path_factory, redis_url, sqlite_url, opened_sqlite):
    async with machine_in(tmp_path, redis_url, sqlite_url, tmp_path_factory.getbasetemp() / "empty") as machine:
        yield machine


async def made_due(planned):
    wanted = {"repository": "photos", "cron_expression": "0 0 1 1 *", "channel": f"slack:T1:{CHANNEL}"}
    for number in range(SCHEDULES):
        await schedules.add(Asker(ADMIN, "api"), NewSchedule(name=f"s{number}", **wanted))
    await ScheduledJob.all().update(next_run=planned)


@pytest.mark.parametrize("point", TICK_POINTS)
async def test_each_due_run_is_made_once_though_a_worker_dies_in_its_tick_and_two_follow(machine, point):
    planned = now()
    await made_due(planned)
    doomed = await machine.start("worker", f"{point}=SIGKILL")
    assert await doomed.ended() == -signal.SIGKILL
    for _ in range(2):
        await machine.start("worker", **TICKS_OFTEN)
    for schedule in await ScheduledJob.all():
        await started(schedule)
    jobs = [await ended(job) for job in await Job.all().order_by("id")]
    assert sorted(job.scheduled_job_id for job in jobs) == [row.id for row in await ScheduledJob.all().order_by("id")]
    assert [(job.status, machine.borg_calls(job.archive_name)) for job in jobs] == [("completed", 1)] * SCHEDULES
    runs = await ScheduledRun.all()
    assert sorted((run.planned_at, run.state, run.job_id) for run in runs) == [
        (planned, "started", job.id) for job in jobs
    ]
    assert all(schedule.next_run > now() for schedule in await ScheduledJob.all())


async def started(schedule):
    run = None
    async with asyncio.timeout(60):
        while run is None or run.state != "started":
            await asyncio.sleep(0.05)
            run = await ScheduledRun.get_or_none(scheduled_job_id=schedule.id)
