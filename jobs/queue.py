"""The transport: arq entries that say "this host has work", and a bell that says "this job has changed".

Redis carries both and is the truth of neither: what is lost here costs a little delay, as every listener also looks by
itself from time to time. Entries are JSON; nothing is ever unpickled.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from jobs.database.unit import finish_units

BELL = "locutus:bell"
NO_JOB = 0
"""What is rung for news that are of no job."""
CLAIM_FUNCTION = "claim_jobs"
SERVICE_QUEUE = "locutus:service"
TICK_FUNCTION = "tick"
CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0
RECONNECT_S = 0.5

_log = structlog.get_logger()
_current: ContextVar["Queue | None"] = ContextVar("queue", default=None)


class NoQueueError(RuntimeError):
    """Code that needs the queue ran outside of `open_queue`."""


def serialize(value: dict[str, Any]) -> bytes:
    """JSON for arq; what JSON can't say raises `TypeError` where it is enqueued."""
    return json.dumps(value).encode()


def deserialize(data: bytes) -> dict[str, Any]:
    """The value that `serialize` wrote."""
    return dict(json.loads(data))


def host_queue(host: str) -> str:
    """The arq queue of a host."""
    return f"locutus:host:{host}"


def wake_channel(queue_name: str) -> str:
    """The pub/sub channel that wakes the worker of a queue."""
    return f"{queue_name}:wake"


class Ear:
    """One listener of the bell; `rung` is set when a job changed that it listens for."""

    def __init__(self, job_id: int | None) -> None:
        self.job_id = job_id
        self.rung = asyncio.Event()
        self.heard: set[int] = set()
        """The jobs that it rang for until the last wait was over."""
        self._hearing: set[int] = set()

    def hear(self, job_id: int) -> None:
        """The bell rang for a job."""
        if self.job_id in {None, job_id}:
            self._hearing.add(job_id)
            self.rung.set()

    async def wait(self, timeout_s: float, settle_s: float = 0.0) -> bool:
        """Wait for the bell, at most `timeout_s` seconds; whether it rang. Clears it.

        What rings again within `settle_s` seconds counts as one: who shows things leaves the first moments of a job to
        whoever starts it.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.rung.wait()
        except TimeoutError:
            return False
        await asyncio.sleep(settle_s)
        self.rung.clear()
        self.heard, self._hearing = self._hearing, set()
        return True


class CancellableSend(AbstractConnection):
    """A connection on which a send that is cancelled stays cancelled.

    redis-py 5 sends under `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes as the send
    ends (python/cpython issue 86296): the cancelled task would run on for ever.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:  # noqa: FBT001, FBT002
        before = _cancellations()
        await super().send_packed_command(command, check_health)
        if _cancellations() > before:
            raise asyncio.CancelledError


class Queue:
    """A connection to Redis, made lazily and made again: neither its start nor its absence stops anything."""

    def __init__(self, url: str) -> None:
        pool = ConnectionPool.from_url(
            url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=ANSWER_TIMEOUT_S, health_check_interval=30
        )
        pool.connection_class = type("CancellableConnection", (CancellableSend, pool.connection_class), {})
        self.redis = ArqRedis(connection_pool=pool, job_serializer=serialize, job_deserializer=deserialize)
        self._ears: set[Ear] = set()

    async def enqueue(
        self, queue_name: str, function: str, at: datetime | None = None, entry_id: str | None = None
    ) -> None:
        """Add an entry and wake whoever works on that queue, which takes the entry at once or at a moment to come.

        Of entries with one id there is only one at a time.
        """
        await self.redis.enqueue_job(function, _queue_name=queue_name, _defer_until=at, _job_id=entry_id)
        await self.redis.publish(wake_channel(queue_name), b"1")

    async def publish(self, job_id: int) -> None:
        """Ring the bell for a job."""
        await self.redis.publish(BELL, str(job_id))

    async def close(self) -> None:
        """Give up the connections."""
        await self.redis.aclose()
        await self.redis.connection_pool.aclose()

    async def answers(self) -> bool:
        """Whether Redis answers now, within a second: of a silent one each caller waits for the one before it."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return bool(await self.redis.ping())
        except (RedisError, OSError):
            return False

    @contextmanager
    def ear(self, job_id: int | None = None) -> Iterator[Ear]:
        """Listen for one job's changes, or for all of them."""
        ear = Ear(job_id)
        self._ears.add(ear)
        try:
            yield ear
        finally:
            self._ears.discard(ear)

    async def listen(self) -> None:
        """Pass the bell on to the ears, for ever; after a broken connection every ear rings once, as it may have
        missed one.
        """
        while True:
            try:
                await self._listen_once()
            except (RedisError, OSError):
                await asyncio.sleep(RECONNECT_S)

    async def _listen_once(self) -> None:
        async with self.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(BELL)
            self._ring_all()
            while True:
                message = await pubsub.get_message(timeout=ANSWER_TIMEOUT_S)
                if message is not None and message["data"].isdigit():
                    self._ring(int(message["data"]))

    def _ring(self, job_id: int) -> None:
        for ear in self._ears:
            ear.hear(job_id)

    def _ring_all(self) -> None:
        for ear in self._ears:
            ear.rung.set()


@asynccontextmanager
async def open_queue(url: str) -> AsyncIterator[Queue]:
    """The queue for the calling task and the tasks that it starts; its bell is listened to until the end."""
    queue = Queue(url)
    token = _current.set(queue)
    listener = asyncio.create_task(queue.listen())
    try:
        yield queue
    finally:
        await finish_units()  # what follows a commit still needs the queue
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        _current.reset(token)
        await queue.close()


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def current_queue() -> Queue:
    """The queue that is open here; raises `NoQueueError`."""
    queue = _current.get()
    if queue is None:
        raise NoQueueError("No queue is open here.")
    return queue


async def wake_host(host: str, at: datetime | None = None) -> None:
    """Tell a host that it has work, now or from `at` on. Without Redis its sweep finds the work within a minute."""
    # A score is whole milliseconds, cut off: without one more the host would look before the moment has come.
    after = None if at is None else at + timedelta(milliseconds=1)
    try:
        await current_queue().enqueue(host_queue(host), CLAIM_FUNCTION, after)
    except (RedisError, OSError) as error:
        _log.warning("wake_up_lost", host=host, reason=str(error))


async def wake_ticker(at: datetime | None) -> None:
    """Have a service worker look at the schedules at `at`. Whole minutes have a tick of their own."""
    if at is None or not (at.second or at.microsecond):
        return
    try:
        entry_id = f"{TICK_FUNCTION}:{at.timestamp():.0f}"
        await current_queue().enqueue(SERVICE_QUEUE, TICK_FUNCTION, at + timedelta(milliseconds=1), entry_id)
    except (RedisError, OSError) as error:
        _log.warning("wake_up_lost", host=None, reason=str(error))


async def ring(job_id: int) -> None:
    """Tell whoever looks at a job that it has changed."""
    try:
        await current_queue().publish(job_id)
    except (RedisError, OSError) as error:
        _log.debug("bell_lost", job_id=job_id, reason=str(error))
