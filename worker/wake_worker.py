"""arq's worker, woken by a published message instead of polling: a pick-up takes milliseconds, an idle worker nothing.

arq 0.28 polls every `poll_delay`; here that is only how long a lost message can cost. Three of its private names are
used (`_poll_iteration`, `_pool`, `_release_sem_dec_counter_on_complete`), so arq is pinned and a test drives them.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from arq.connections import ArqRedis
from arq.constants import default_queue_name
from arq.cron import CronJob
from arq.typing import WorkerCoroutine
from arq.utils import timestamp_ms
from arq.worker import Function, Worker
from redis.exceptions import RedisError

from jobs.queue import deserialize, serialize, wake_channel

FALLBACK_POLL_S = 5.0
RECONNECT_S = 0.5
FUNCTION_TIMEOUT_S = 30
LOST_COUNT = timedelta(minutes=2)
"""Cron jobs come every minute: one that is further from its time has seen the clock set, or the machine asleep."""
SLOTS = 100_000
"""Not a limit of ours: arq forgets to free a slot when Redis fails in between, and must never run out of them."""


class WakeWorker(Worker):
    """Works on one queue: functions that end within seconds, and cron jobs."""

    def __init__(
        self, redis: ArqRedis, queue_name: str, functions: list[Function | WorkerCoroutine], cron_jobs: list[CronJob]
    ) -> None:
        super().__init__(
            functions=functions,
            cron_jobs=cron_jobs,
            redis_pool=redis,
            queue_name=queue_name or default_queue_name,
            handle_signals=False,
            poll_delay=FALLBACK_POLL_S,
            job_timeout=FUNCTION_TIMEOUT_S,
            max_jobs=SLOTS,
            keep_result=0,
            max_tries=1,
            timezone=UTC,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )
        self._awake = asyncio.Event()

    async def main(self) -> None:
        """Work until cancelled; a Redis that goes away is waited for."""
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                self._awake.clear()
                await self._work_once()
        finally:
            listener.cancel()
            await asyncio.gather(listener, *self.tasks.values(), return_exceptions=True)

    async def run_cron(self, n: datetime, delay: float, num_windows: int = 2) -> None:
        """arq's, but for a clock that was set: back, arq waits for the old time; forward, it makes up for each tick."""
        for job in self.cron_jobs:
            if job.next_run is not None and abs(job.next_run - n) > LOST_COUNT:
                job.next_run = None
        await super().run_cron(n, delay, num_windows)

    async def _work_once(self) -> None:
        try:
            await self._poll_iteration()
            await self._sleep_until_woken()
        except (RedisError, OSError):
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        while True:
            try:
                async with self.pool.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(wake_channel(self.queue_name))
                    self._awake.set()
                    while True:
                        if await pubsub.get_message(timeout=1.0):
                            self._awake.set()
            except (RedisError, OSError):
                await asyncio.sleep(RECONNECT_S)

    async def _sleep_until_woken(self) -> None:
        delay_s = self.poll_delay_s
        upcoming = await self.pool.zrangebyscore(
            self.queue_name, f"({timestamp_ms()}", "+inf", start=0, num=1, withscores=True
        )
        if upcoming:
            delay_s = min(delay_s, max(0.0, (upcoming[0][1] - timestamp_ms()) / 1000) + 0.001)
        try:
            async with asyncio.timeout(delay_s):
                await self._awake.wait()
        except TimeoutError:
            return

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._awake.set()
