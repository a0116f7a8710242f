"""Hosts: a name belongs to one data directory until that is replaced on purpose."""

import asyncio
from datetime import timedelta

import pytest
import time_machine
from nacl.public import PrivateKey

from jobs import hosts
from jobs.clock import now
from jobs.models import Host
from jobs.secrets import HostKey


@pytest.fixture
def key():
    return HostKey(PrivateKey.generate())


@pytest.fixture
def other():
    return HostKey(PrivateKey.generate())


async def register(key, *, replace=False, max_jobs=4):
    await hosts.register("a", key, max_jobs=max_jobs, borg_version="1.4.0", replace=replace)


async def test_worker_publishes_its_key_and_comes_back_with_new_figures(opened_sqlite, key):
    await register(key)
    await register(key, max_jobs=9)
    host = await Host.get(name="a")
    assert (host.public_key, host.data_directory_id, host.max_jobs) == (key.public, key.id, 9)


async def test_name_of_another_data_directory_is_refused_and_kept(opened_sqlite, key, other):
    await register(key)
    with pytest.raises(hosts.HostTakenError, match=f"{key.id}.*{other.id}.*--replace-host"):
        await register(other)
    assert (await Host.get(name="a")).public_key == key.public


async def test_name_is_taken_over_on_purpose(opened_sqlite, key, other):
    await register(key)
    await register(other, replace=True)
    assert (await Host.get(name="a")).data_directory_id == other.id


async def test_of_two_that_register_at_once_one_is_told(opened):
    keys = [HostKey(PrivateKey.generate()) for _ in range(5)]
    results = await asyncio.gather(*(register(key) for key in keys), return_exceptions=True)
    owner = (await Host.get(name="a")).data_directory_id
    assert [key.id for key, result in zip(keys, results, strict=True) if result is None] == [owner]
    assert [type(result) for result in results if result is not None] == [hosts.HostTakenError] * 4


async def test_host_is_silent_when_nothing_was_heard_for_three_minutes(opened_sqlite, key):
    assert hosts.is_silent(await Host.create(name="never"))
    await register(key)
    with time_machine.travel(now() + timedelta(minutes=2, seconds=59)):
        assert not hosts.is_silent(await Host.get(name="a"))
        await hosts.seen("a")
    with time_machine.travel(now() + timedelta(minutes=3, seconds=1)):
        assert not hosts.is_silent(await Host.get(name="a"))
    with time_machine.travel(now() + timedelta(minutes=6)):
        assert hosts.is_silent(await Host.get(name="a"))
