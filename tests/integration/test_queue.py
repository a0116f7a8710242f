"""The transport: whatever Redis does, jobs are accepted and listeners look again."""

import asyncio
import subprocess

import pytest

from jobs import queue
from jobs.queue import BELL, CLAIM_FUNCTION, NoQueueError, host_queue, open_queue, wake_channel


def redis_server(path):
    return subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", ""], stdout=subprocess.DEVNULL, cwd=path.parent
    )


async def test_bell_rings_in_another_process_for_who_listens_to_that_job(redis_url):
    async with open_queue(redis_url) as here, open_queue(redis_url) as there:
        with there.ear(7) as seven, there.ear(8) as eight, there.ear() as every:
            for ear in (seven, eight, every):
                assert await ear.wait(5)  # the first connection: each may have missed something
            await here.publish(7)
            assert await seven.wait(5)
            assert await every.wait(5)
            assert not eight.rung.is_set()


async def test_ear_that_is_closed_is_forgotten(redis_url):
    async with open_queue(redis_url) as here:
        with here.ear():
            pass
        assert not here._ears


async def test_ear_rings_once_for_a_ring(redis_url):
    async with open_queue(redis_url) as here:
        with here.ear(7) as ear:
            assert await ear.wait(5)
            await here.publish(7)
            assert await ear.wait(5)
            assert not await ear.wait(0.05)


async def test_words_of_others_on_the_channel_do_not_stop_the_bell(redis_url):
    async with open_queue(redis_url) as here:
        with here.ear(7) as ear:
            assert await ear.wait(5)
            await here.redis.publish(BELL, "nonsense")
            await here.publish(7)
            assert await ear.wait(5)


async def test_every_ear_rings_when_redis_has_come_back(tmp_path):
    path = tmp_path / "redis.sock"
    async with open_queue(f"unix://{path}") as here:
        assert not await here.answers()
        with here.ear(7) as ear, here.ear() as every:
            for _ in range(2):
                with redis_server(path) as server:
                    assert await ear.wait(20)
                    assert await every.wait(20)
                    assert await here.answers()
                    server.terminate()


async def test_wake_up_is_an_entry_and_a_message(redis_url):
    async with open_queue(redis_url) as here:
        async with here.redis.pubsub(ignore_subscribe_messages=True) as listener:
            await listener.subscribe(wake_channel(host_queue("a")))
            await listener.get_message(timeout=1)
            await queue.wake_host("a")
            message = None
            async with asyncio.timeout(5):
                while message is None:
                    message = await listener.get_message(timeout=1)
        [job] = await here.redis.queued_jobs(queue_name=host_queue("a"))
        assert (job.function, job.args) == (CLAIM_FUNCTION, [])


async def test_nothing_fails_where_redis_is_away(tmp_path):
    async with open_queue(f"unix://{tmp_path}/nowhere.sock") as here:
        async with asyncio.timeout(5):
            await queue.wake_host("a")
            await queue.ring(1)
            assert not await here.answers()


async def test_redis_that_hangs_costs_seconds_and_not_the_job(tmp_path):
    path = tmp_path / "silent.sock"
    connections = []
    silent = await asyncio.start_unix_server(lambda _, connection: connections.append(connection), path)
    async with silent:
        async with open_queue(f"unix://{path}"):
            async with asyncio.timeout(10):
                await queue.ring(1)
        for connection in connections:
            connection.close()
            await connection.wait_closed()


async def test_queue_is_only_where_it_was_opened(redis_url):
    with pytest.raises(NoQueueError):
        queue.current_queue()
    async with open_queue(redis_url) as here:
        assert queue.current_queue() is here
    with pytest.raises(NoQueueError):
        queue.current_queue()


async def test_listener_ends_when_it_is_cancelled_at_any_moment(redis_url):
    for steps in range(40):
        async with open_queue(redis_url) as here:
            listening = asyncio.create_task(here.listen())
            for _ in range(steps):
                await asyncio.sleep(0)
            listening.cancel()
            done, _ = await asyncio.wait([listening], timeout=10)
            assert done, f"after {steps} steps"
