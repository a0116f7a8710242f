"""Transactions: never half, never blocking readers, never lost to a cancellation."""

import asyncio

import pytest

from jobs.database.unit import NoUnitError, after_commit, reader, unit
from jobs.models import Setting


async def set_value(name, value):
    await Setting.create(name=name, value=value)


async def test_result_is_returned_after_the_commit(opened):
    seen = []

    async def hook():
        seen.append(await Setting.filter(name="a").count())

    async def work():
        await set_value("a", 1)
        after_commit(hook)
        return "done"

    assert await unit(work) == "done"
    async with asyncio.timeout(5):
        while not seen:
            await asyncio.sleep(0)
    assert seen == [1]


async def test_error_rolls_back_and_forgets_the_hooks(opened):
    async def work():
        await set_value("a", 1)
        after_commit(pytest.fail)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await unit(work)
    assert await Setting.all().count() == 0


async def test_cancelled_caller_loses_the_wait_and_never_the_work(opened):
    for number in range(60):
        task = asyncio.create_task(unit(lambda number=number: set_value(f"n{number}", number)))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await unit(lambda: set_value("last", 1))
    started = await Setting.all().count()
    assert started >= 1
    assert await Setting.filter(name="last").exists()


async def test_readers_are_not_blocked_by_an_open_transaction(opened):
    inside, release = asyncio.Event(), asyncio.Event()

    async def slow():
        await set_value("a", 1)
        inside.set()
        await release.wait()

    writing = asyncio.create_task(unit(slow))
    await inside.wait()
    async with asyncio.timeout(5):
        assert await Setting.all().using_db(reader()).count() == 0
    release.set()
    await writing


async def test_unit_inside_a_unit_is_refused(opened):
    with pytest.raises(NoUnitError):
        await unit(lambda: unit(lambda: set_value("a", 1)))


async def test_reader_refuses_to_write(opened_sqlite):
    with pytest.raises(Exception, match="readonly"):
        await Setting.create(name="a", value=1, using_db=reader())
