"""One tick of the schedules on SQLite: 100 of them due, among 100, 1,000 and 10,000; and how it finds them."""

import asyncio
import statistics
import tempfile
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cli.embedded_redis import embedded_redis
from jobs.clock import now
from jobs.database.connection import database, migrate
from jobs.database.unit import insert_all, unit
from jobs.models import Job, Repository, ScheduledJob, ScheduledRun
from jobs.queue import open_queue
from jobs.schedule import tick
from tests.fakes.instance import repository_row

DUE = 100
SIZES = (100, 1_000, 10_000)
ROUNDS = 5
PAGE = 500


async def measure() -> dict[str, Any]:
    """Milliseconds, the median of 5 ticks each: `taken` until the runs are, `started` until all jobs are accepted."""
    return {f"of_{size}": await _measure(size) for size in SIZES}


async def _measure(size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="locutus-bench-") as directory:
        url = f"sqlite://{directory}/locutus.db"
        await migrate(url)
        async with embedded_redis(Path(directory)) as redis_url, database(url), open_queue(redis_url):
            repositories = [await repository_row(f"r{number}", Path("/r"), []) for number in range(DUE)]
            await _make_schedules(repositories, size)
            rounds = [await _one_tick() for _ in range(ROUNDS)]
            return {
                "taken_ms": round(statistics.median(taken for taken, _ in rounds), 1),
                "started_ms": round(statistics.median(started for _, started in rounds), 1),
                "plan": await _plan(),
            }


async def _make_schedules(repositories: list[Repository], size: int) -> None:
    rows = [
        ScheduledJob(
            name=f"s{number}",
            kind="backup",
            repository_id=repositories[number % DUE].id,
            cron_expression=f"{number % 60} {number % 24} * * *",
            timezone=("Europe/Berlin", "America/New_York", "UTC")[number % 3],
            catch_up="one",
            overlap="queue",
            priority="normal",
            created_by="bench",
            created_at=now(),
            next_run=now() + timedelta(days=1),
        )
        for number in range(size)
    ]
    for first in range(0, size, PAGE):
        await unit(partial(insert_all, rows[first : first + PAGE]))


async def _one_tick() -> tuple[float, float]:
    await Job.all().delete()
    await ScheduledRun.all().delete()
    due = await ScheduledJob.all().order_by("id").limit(DUE).only("id")
    await ScheduledJob.filter(id__in=[row.id for row in due]).update(next_run=now())
    began = time.perf_counter()
    await tick.take()
    taken = time.perf_counter()
    await tick.tick()
    started = time.perf_counter()
    assert await Job.all().count() == DUE
    return (taken - began) * 1000, (started - began) * 1000


async def _plan() -> str:
    """How SQLite finds what is due."""
    query = ScheduledJob.filter(next_run__lte=now()).order_by("next_run", "id").limit(DUE)
    return "; ".join(row["detail"] for row in await query.explain())


if __name__ == "__main__":
    asyncio.run(measure())
