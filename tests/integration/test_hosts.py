"""Hosts: a name belongs to one data directory until that is replaced on purpose."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest
import time_machine
from nacl.public import PrivateKey

from jobs import hosts, lifecycle
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import NewJob
from jobs.models import Host, Job
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


async def claimed(key):
    job = await unit(partial(lifecycle.create, NewJob("repository_init", "a", "x", "cli", lane="l")))
    await claim_next(Claimant("a", key.id, 4))
    return await Job.get(id=job.id)


async def test_jobs_of_a_data_directory_that_is_replaced_are_given_up_and_keep_their_lanes(opened, key, other):
    await register(key)
    job = await claimed(key)
    await register(other, replace=True)
    given_up = await Job.get(id=job.id)
    assert (given_up.status, given_up.error_code, given_up.running_lock) == ("failed", "host_lost", "l")
    assert "taken over" in given_up.error_message
    assert f"locutus jobs forget {job.id}" in given_up.error_message


async def test_jobs_of_a_worker_that_comes_back_or_is_refused_run_on(opened_sqlite, key, other):
    await register(key)
    job = await claimed(key)
    await register(key, replace=True)
    with pytest.raises(hosts.HostTakenError):
        await register(other)
    assert (await Job.get(id=job.id)).status == "running"


async def test_host_is_silent_when_nothing_was_heard_for_45_seconds(opened_sqlite, key):
    assert hosts.is_silent(await Host.create(name="never"))
    await register(key)
    with time_machine.travel(now() + timedelta(seconds=44)):
        assert not hosts.is_silent(await Host.get(name="a"))
        await hosts.seen("a", key.id)
    with time_machine.travel(now() + timedelta(seconds=46)):
        assert not hosts.is_silent(await Host.get(name="a"))
    with time_machine.travel(now() + timedelta(seconds=90)):
        assert hosts.is_silent(await Host.get(name="a"))


async def test_beat_of_a_worker_whose_name_was_taken_over_is_not_the_new_ones(opened_sqlite, key, other):
    await register(key)
    await register(other, replace=True)
    before = (await Host.get(name="a")).last_seen_at
    await hosts.seen("a", key.id)
    assert (await Host.get(name="a")).last_seen_at == before


@pytest.mark.parametrize(("lost_after_s", "beat_s"), [(86_400, 10), (60, 10), (4, 1)])
def test_host_beats_several_times_before_it_counts_as_silent_or_lost(lost_after_s, beat_s):
    assert hosts.beat_every(timedelta(seconds=lost_after_s)) == timedelta(seconds=beat_s)
