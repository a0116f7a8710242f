"""The schedules' clock in service workers: a tick at the start, one a minute in the whole fleet, and one at each exact
moment that lies between two minutes.

Ticks come by Redis, as arq cron job and as entries for a moment to come. Where it brings none, each worker ticks by
itself: a needless tick does nothing.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import structlog
from arq.cron import cron
from arq.worker import func

from jobs import interval_checks, overdue, queue
from jobs.queue import SERVICE_QUEUE, TICK_FUNCTION, Queue
from jobs.schedule.tick import realign, tick
from worker.wake_worker import WakeWorker

LOOK_S = 15.0
OVERDUE_S = 75.0
REALIGN_S = 3600.0

_log = structlog.get_logger()


class ScheduleTicker:
    """Ticks until cancelled."""

    def __init__(self, transport: Queue) -> None:
        self._transport = transport
        self._ticked_s = -OVERDUE_S
        self._ticking = asyncio.Lock()

    async def run(self) -> None:
        """Work on the service queue, and tick where that brings nothing."""
        waker = self._arq_worker()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick_when_nobody_does())
            tasks.create_task(self._realign())
            working = tasks.create_task(waker.async_run())
            try:
                await asyncio.Event().wait()
            finally:
                for task in (working, *waker.tasks.values()):  # arq would wait for what its tasks wait for
                    task.cancel()

    def _arq_worker(self) -> WakeWorker:
        async def ticked(ctx: dict[str, Any]) -> None:
            del ctx
            await self.tick()

        every_minute = cron(ticked, name="schedules", second=0, microsecond=0)
        return WakeWorker(self._transport.redis, SERVICE_QUEUE, [func(ticked, name=TICK_FUNCTION)], [every_minute])

    async def tick(self) -> None:
        """Start what is due, and have the next exact moment wake somebody."""
        async with self._ticking:
            self._ticked_s = time.monotonic()
            await _guarded("tick", self._tick())
            await _guarded("check_interval", interval_checks.start_due())
            await _guarded("overdue", overdue.look())

    async def _tick(self) -> None:
        await queue.wake_ticker(await tick())

    async def _tick_when_nobody_does(self) -> None:
        while True:
            if time.monotonic() - self._ticked_s >= OVERDUE_S:
                await self.tick()
            await asyncio.sleep(LOOK_S)

    async def _realign(self) -> None:
        while True:
            await _guarded("realign", realign())
            await asyncio.sleep(REALIGN_S)


async def _guarded(what: str, work: Awaitable[object]) -> None:
    try:
        await work
    except Exception:  # noqa: BLE001 - named edge: a broken database delays the tick, and never ends it
        _log.exception("schedules_failed", step=what)
