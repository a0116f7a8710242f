"""The schedules' clock with a real Redis: at the start, at an exact moment, and without Redis."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from jobs import queue
from jobs.clock import now
from jobs.models import Job, ScheduledJob
from jobs.queue import Queue
from jobs.repositories import Asker
from jobs.schedule import schedules
from jobs.schedule.fields import NewSchedule
from tests.fakes.instance import ADMIN, repository_row
from worker import schedule_ticker
from worker.schedule_ticker import ScheduleTicker


@pytest.fixture(autouse=True)
def moments_that_no_cron_expression_has_are_left(monkeypatch):
    """What a worker puts right at its start has tests of its own."""

    async def nothing():
        return None

    monkeypatch.setattr(schedule_ticker, "realign", nothing)


@asynccontextmanager
async def ticking(transport):
    task = asyncio.create_task(ScheduleTicker(transport).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def schedule(opened_sqlite, tmp_path):
    await repository_row("photos", tmp_path / "repository", [tmp_path])
    return await schedules.add(Asker(ADMIN, "api"), NewSchedule(repository="photos", cron_expression="0 0 1 1 *"))


async def due(schedule, moment):
    await ScheduledJob.filter(id=schedule.id).update(next_run=moment)


async def started():
    async with asyncio.timeout(30):
        while not await Job.exists():
            await asyncio.sleep(0.05)
    return await Job.get()


async def test_start_ticks_at_once(opened_sqlite, schedule):
    await due(schedule, now())
    async with ticking(opened_sqlite):
        assert (await started()).scheduled_job_id == schedule.id


async def test_exact_moment_wakes_a_worker(opened_sqlite, schedule):
    async with ticking(opened_sqlite):
        moment = now() + timedelta(seconds=1.5)
        await due(schedule, moment)
        for _ in range(3):
            await queue.wake_ticker(moment)
        assert await opened_sqlite.redis.zcard(queue.SERVICE_QUEUE) <= 2
        job = await started()
        assert moment <= job.created_at < moment + timedelta(seconds=10)


async def test_without_redis_each_worker_ticks_by_itself(schedule, monkeypatch):
    monkeypatch.setattr(schedule_ticker, "LOOK_S", 0.1)
    monkeypatch.setattr(schedule_ticker, "OVERDUE_S", 0.2)
    nowhere = Queue("unix:///nowhere/redis.sock")
    async with ticking(nowhere):
        await due(schedule, now())
        assert (await started()).scheduled_job_id == schedule.id
    await nowhere.close()
