"""arq's worker as we drive it: woken by a message, by time, and after a Redis that was away."""

import asyncio
import contextlib
import subprocess
from datetime import timedelta

import pytest
from arq.cron import cron
from arq.worker import func

from jobs.queue import host_queue, open_queue
from worker.app import WakeWorker
from worker.wake_worker import FALLBACK_POLL_S

QUEUE = host_queue("a")


def redis_server(path):
    arguments = ["redis-server", "--port", "0", "--unixsocket", path, "--save", ""]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, cwd=path.parent)


@contextlib.asynccontextmanager
async def worker(here, functions=(), cron_jobs=(), queue_name=QUEUE):
    waker = WakeWorker(here.redis, queue_name, list(functions), list(cron_jobs))
    working = asyncio.create_task(waker.async_run())
    try:
        yield waker
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await asyncio.gather(*waker.tasks.values(), return_exceptions=True)


@pytest.fixture
def calls():
    return asyncio.Queue()


@pytest.fixture
def note(calls):
    async def noted(ctx):
        await calls.put(ctx["job_id"])

    return func(noted, name="note")


async def test_message_wakes_an_idle_worker_long_before_it_would_look(redis_url, calls, note):
    async with open_queue(redis_url) as here, worker(here, [note]):
        await here.enqueue(QUEUE, "note")
        await calls.get()
        async with asyncio.timeout(FALLBACK_POLL_S - 1):
            for _ in range(10):
                await here.enqueue(QUEUE, "note")
                await calls.get()


async def test_entry_made_before_the_start_is_found(redis_url, calls, note):
    async with open_queue(redis_url) as here:
        await here.enqueue(QUEUE, "note")
        async with worker(here, [note]):
            async with asyncio.timeout(FALLBACK_POLL_S - 1):
                await calls.get()


async def test_entry_without_a_message_is_found_at_its_time(redis_url, calls, note):
    async with open_queue(redis_url) as here, worker(here, [note]):
        await here.enqueue(QUEUE, "note")
        await calls.get()
        async with asyncio.timeout(2 * FALLBACK_POLL_S):
            await here.redis.enqueue_job("note", _queue_name=QUEUE, _defer_by=timedelta(milliseconds=200))
            await calls.get()


async def test_function_that_fails_stops_nothing_and_leaves_nothing(redis_url, calls, note):
    async def fails(ctx):
        await calls.put("failed")
        raise OSError("no")

    async with open_queue(redis_url) as here, worker(here, [note, func(fails, name="fails")]):
        for name in ("fails", "unknown", "note"):
            await here.enqueue(QUEUE, name)
        assert {await calls.get(), await calls.get()} != {"failed"}
        async with asyncio.timeout(5):
            while await here.redis.zcard(QUEUE):
                await asyncio.sleep(0.01)
        assert not await here.redis.keys("arq:result:*")


async def test_workers_of_two_queues_each_do_their_own(redis_url, calls, note):
    other = asyncio.Queue()

    async def elsewhere(ctx):
        await other.put(ctx["job_id"])

    async with open_queue(redis_url) as here:
        async with worker(here, [note]), worker(here, [func(elsewhere, name="note")], queue_name=host_queue("b")):
            await here.enqueue(host_queue("b"), "note")
            await other.get()
            assert calls.empty()


async def test_cron_of_each_host_runs_where_names_differ(redis_url):
    ran = {"a": asyncio.Event(), "b": asyncio.Event()}

    def every_second(host):
        async def tick(ctx):
            ran[host].set()

        return cron(tick, name=f"sweep:{host}", second=set(range(60)), microsecond=0)

    async with open_queue(redis_url) as here:
        async with worker(here, [], [every_second("a")]):
            async with worker(here, [], [every_second("b")], queue_name=host_queue("b")):
                async with asyncio.timeout(15):
                    await asyncio.gather(*(event.wait() for event in ran.values()))


async def test_worker_outlives_its_redis(tmp_path, calls, note):
    path = tmp_path / "redis.sock"
    async with open_queue(f"unix://{path}") as here, worker(here, [note]):
        for _ in range(2):
            with redis_server(path) as server:
                async with asyncio.timeout(20):
                    while not await here.answers():
                        await asyncio.sleep(0.01)
                    await here.enqueue(QUEUE, "note")
                    await calls.get()
                server.terminate()
