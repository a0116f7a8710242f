"""The service sweep: who is lost is given up, by no clock that anybody sets; who has work is woken."""

from datetime import timedelta
from functools import partial

import pytest
import structlog
import time_machine
from nacl.public import PrivateKey

from jobs import hosts, lifecycle
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import finish_units, unit
from jobs.lifecycle import NewJob
from jobs.models import EventEntry, Host, Job
from jobs.queue import host_queue
from jobs.secrets import HostKey
from worker.service_sweep import ServiceSweep, Watch

LOST_AFTER = timedelta(hours=24)
TEN_MINUTES = [60] * 10


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock of the sweep, set by the test."""

    class Clock:
        now_s = 1000.0

        def monotonic(self):
            return self.now_s

    clock = Clock()
    monkeypatch.setattr("worker.service_sweep.time", clock)
    return clock


@pytest.fixture
def key():
    return HostKey(PrivateKey.generate())


async def registered(key):
    await hosts.register("a", key, max_jobs=4, borg_version=None)


async def created(host="a", **fields):
    return await unit(partial(lifecycle.create, NewJob("repository_init", host, "x", "cli", **fields)))


async def running(key):
    await registered(key)
    job = await created(lane="l")
    await claim_next(Claimant("a", key.id, 4))
    return await Job.get(id=job.id)


async def heard(ago, name="a"):
    await Host.filter(name=name).update(last_seen_at=now() - ago)


async def swept(sweep, clock, *seconds):
    await sweep.sweep()
    for each in seconds:
        clock.now_s += each
        await sweep.sweep()


async def test_jobs_of_a_lost_host_are_given_up_and_keep_their_lanes(opened, clock, key):
    job = await running(key)
    await heard(LOST_AFTER * 1.1)
    await swept(ServiceSweep(LOST_AFTER), clock, *TEN_MINUTES)
    given_up = await Job.get(id=job.id)
    assert (given_up.status, given_up.error_code, given_up.running_lock) == ("failed", "host_lost", "l")
    assert given_up.late_status is None
    assert "has been silent since" in given_up.error_message
    assert f"locutus jobs forget {job.id}" in given_up.error_message


async def test_two_sweeps_give_a_job_up_once(opened, clock, key):
    job = await running(key)
    await heard(LOST_AFTER * 1.1)
    first, second = ServiceSweep(LOST_AFTER), ServiceSweep(LOST_AFTER)
    await first.sweep()
    await swept(second, clock, *TEN_MINUTES)
    revision = (await Job.get(id=job.id)).revision
    await first.sweep()
    after = await Job.get(id=job.id)
    assert (after.revision, after.late_status) == (revision, None)


async def test_job_that_another_sweep_gave_up_is_not_taken_for_a_late_end(opened, key):
    job = await running(key)
    give_up = partial(hosts.give_up, job.id, job.attempt, "gone", keep_lane=True)
    assert [await unit(give_up), await unit(give_up)] == [True, False]
    assert (await Job.get(id=job.id)).late_status is None


async def test_clock_that_jumps_ahead_loses_no_host_that_speaks(opened_sqlite, clock, key):
    job = await running(key)
    sweep = ServiceSweep(LOST_AFTER)
    await sweep.sweep()
    await hosts.seen("a", key.id)
    clock.now_s += 60
    with time_machine.travel(now() + 2 * LOST_AFTER):
        await sweep.sweep()
    assert (await Job.get(id=job.id)).status == "running"


async def test_host_with_a_clock_of_yesterday_is_not_lost_while_it_speaks(opened_sqlite, clock, key):
    job = await running(key)
    sweep = ServiceSweep(LOST_AFTER)
    for minute in range(5):
        await heard(LOST_AFTER * 2 - timedelta(minutes=minute))
        await sweep.sweep()
        clock.now_s += 60
    assert (await Job.get(id=job.id)).status == "running"


async def test_sweep_that_was_paused_itself_watches_anew(opened_sqlite, clock, key):
    job = await running(key)
    await heard(LOST_AFTER * 2)
    sweep = ServiceSweep(LOST_AFTER)
    await swept(sweep, clock, 100_000)
    assert (await Job.get(id=job.id)).status == "running"
    await swept(sweep, clock, *TEN_MINUTES)
    assert (await Job.get(id=job.id)).status == "failed"


async def test_host_that_speaks_in_between_is_not_lost(opened_sqlite, clock, key):
    job = await running(key)
    await heard(LOST_AFTER * 2)
    sweep = ServiceSweep(LOST_AFTER)
    await sweep.sweep()
    await registered(key)
    clock.now_s += 60
    await sweep.sweep()
    assert (await Job.get(id=job.id)).status == "running"


async def test_pending_jobs_of_a_lost_host_go_on_waiting(opened_sqlite, clock, key):
    await registered(key)
    job = await created()
    await heard(LOST_AFTER * 2)
    await swept(ServiceSweep(LOST_AFTER), clock, 60)
    assert (await Job.get(id=job.id)).status == "pending"


async def test_silence_and_return_are_each_said_once(opened_sqlite, clock, key):
    await registered(key)
    sweep = ServiceSweep(LOST_AFTER)
    with structlog.testing.capture_logs() as said:
        await swept(sweep, clock, 60, 60, 60)
        await heard(-timedelta(seconds=1))
        await sweep.sweep()
    assert [(entry["event"], entry["host"]) for entry in said] == [("host_silent", "a"), ("host_heard_again", "a")]


async def test_hosts_with_due_jobs_are_woken_after_redis_lost_it_all(opened_sqlite, clock, key):
    await registered(key)
    await hosts.register("b", HostKey(PrivateKey.generate()), max_jobs=4, borg_version=None)
    await created("a")
    await created("b", not_before=now() + timedelta(hours=1))
    await finish_units()
    await opened_sqlite.redis.flushall()
    await ServiceSweep(LOST_AFTER).sweep()
    assert [await opened_sqlite.redis.zcard(host_queue(name)) for name in ("a", "b")] == [1, 0]


def test_watch_counts_from_the_first_look_at_what_was_said_last():
    watch, host = Watch(120), Host(name="a", last_seen_at=now())
    watch.look([host], 10)
    assert watch.silent_for_s(host) == 0
    watch.look([host], 70)
    assert watch.silent_for_s(host) == 60
    host.last_seen_at = now() + timedelta(seconds=1)
    watch.look([host], 130)
    assert watch.silent_for_s(host) == 0


@pytest.mark.usefixtures("opened")
async def test_silence_is_an_event_once_for_all_service_workers(key, clock):
    await registered(key)
    sweeps = [ServiceSweep(LOST_AFTER), ServiceSweep(LOST_AFTER)]
    for _ in range(8):
        for sweep in sweeps:
            await sweep.sweep()
        clock.now_s += 60
    [entry] = await EventEntry.all()
    assert (entry.type, '"host":"a"' in entry.payload) == ("host.silent", True)
    await Host.all().update(last_seen_at=now() + timedelta(seconds=1))
    for _ in range(8):
        await sweeps[0].sweep()
        clock.now_s += 60
    assert await EventEntry.all().count() == 2
