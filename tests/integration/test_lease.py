"""A lease: one process works, another takes over, and nobody waits for one that has gone."""

import asyncio
from datetime import timedelta

import pytest
import time_machine

from jobs import lease
from jobs.clock import now
from jobs.lease import LASTS, release, take, work_as_holder


async def test_one_holds_it_renews_it_and_gives_it_back(opened):
    assert await take("discord", "a")
    assert not await take("discord", "b")
    assert await take("discord", "a")
    assert await take("another", "b")
    await release("discord", "b")
    assert not await take("discord", "b")
    await release("discord", "a")
    assert await take("discord", "b")


async def test_many_at_once_make_one_holder(opened):
    taken = await asyncio.gather(*(take("discord", f"{number}") for number in range(8)))
    assert sum(taken) == 1


@pytest.mark.parametrize("shift", [LASTS + timedelta(seconds=1), -timedelta(hours=1)])
async def test_it_runs_out_also_when_the_clock_was_set_back(opened_sqlite, shift):
    assert await take("discord", "a")
    with time_machine.travel(now() + shift, tick=False):
        assert await take("discord", "b")


async def test_who_stands_by_takes_over_when_the_holder_stops(opened_sqlite, monkeypatch):
    monkeypatch.setattr(lease, "LOOK_EVERY_S", 0.01)
    working = asyncio.Queue()

    async def work(name):
        working.put_nowait(name)
        await asyncio.Event().wait()

    first = asyncio.create_task(work_as_holder("discord", lambda: work("first")))
    assert await working.get() == "first"
    second = asyncio.create_task(work_as_holder("discord", lambda: work("second")))
    first.cancel()
    assert await working.get() == "second"
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_work_is_stopped_when_the_lease_is_lost_and_begun_again_when_it_comes_back(opened_sqlite, monkeypatch):
    monkeypatch.setattr(lease, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.01)
    seen = asyncio.Queue()

    async def work():
        seen.put_nowait("begun")
        try:
            await asyncio.Event().wait()
        finally:
            seen.put_nowait("stopped")

    holder = asyncio.create_task(work_as_holder("discord", work))
    assert await seen.get() == "begun"
    await lease.Lease.filter(name="discord").update(holder="somebody else")
    assert await seen.get() == "stopped"
    await lease.Lease.filter(name="discord").delete()
    assert await seen.get() == "begun"
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)


async def test_what_the_work_raises_is_raised(opened_sqlite):
    async def work():
        raise ValueError("a wrong token")

    with pytest.raises(ValueError, match="a wrong token"):
        await work_as_holder("discord", work)
