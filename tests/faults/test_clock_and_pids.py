"""A wall clock that is set, and a pid that is another process's by now: neither fools anything.

The wall clock of this process is set, with gateway and worker in it; a supervisor's in a copy with a line put in.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import time_machine
from arq.cron import cron

from bot.slack.client import SlackPlatform
from jobs import delivery, lifecycle
from jobs.claim import claim_next
from jobs.clock import now
from jobs.database.unit import unit
from jobs.hosts import register
from jobs.lifecycle import NewJob
from jobs.models import ChatMessage, Delivery, Job, Subscription
from jobs.queue import host_queue
from jobs.secrets import HostKey, SecretBox
from jobs.threads import END
from tests.fakes.instance import SECRET_KEY, instance, repository_row, settings_for, until
from tests.fakes.slack import HISTORY, POST, FakeSlack
from tests.fakes.supervised import Supervised, begin, boot_clock, end, python, specification
from tests.fakes.waiting_borg import WaitingBorg
from tests.fakes.webhook_receiver import WebhookReceiver
from worker import posting, runs
from worker.budget import Budget
from worker.deliveries import LEASE
from worker.posting import CLAIM
from worker.recording import HostIdentity
from worker.reporter import Reporter
from worker.run_directory import ExitReason, RunState
from worker.supervision import cancel, end_orphan, ended, refuse
from worker.supervisor import identity
from worker.wake_worker import LOST_COUNT, WakeWorker

CHANNEL = "C1"
SECRET = "whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SET_BY = pytest.mark.parametrize("shift", [-DAY, -HOUR, HOUR, DAY], ids=str)


class WallClock:
    """The wall clock of this process; boot time and monotonic time go on as they were."""

    def __init__(self):
        self._travel = None

    def set(self, off=timedelta()):
        """Set it that far off the true time."""
        if self._travel:
            self._travel.stop()
        self._travel = time_machine.travel(datetime.now(UTC) + off, tick=True) if off else None
        if self._travel:
            self._travel.start()


@pytest.fixture
def wall_clock():
    clock = WallClock()
    yield clock
    clock.set()


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(runs, "SWEEP_OVERDUE_S", 1.0)
    monkeypatch.setattr(runs, "SWEEP_LOOK_S", 0.2)
    monkeypatch.setattr(posting, "FAILURE_DELAY_S", 0.2)


@pytest.fixture
def gate(tmp_path):
    with WaitingBorg(tmp_path / "waiting") as gate:
        yield gate


@pytest.fixture
async def slack():
    async with FakeSlack(channels=(CHANNEL,)) as slack:
        slack.limits = {}
        yield slack


# --- clocks --------------------------------------------------------------------------------------------------------


def cards(slack, job_id):
    """What the job's card and progress message show, by part."""
    payloads = [message.metadata["event_payload"] for message in slack.messages[CHANNEL]]
    return sorted((payload["part"], payload["status"]) for payload in payloads if payload["job_id"] == job_id)


@pytest.fixture
async def up(tmp_path, sqlite_url, redis_url, slack, gate):
    """A running Locutus with the repository `photos`."""
    chat = {"slack_bot_token": slack.token, "slack_api_url": slack.base_url}
    (tmp_path / "file").write_bytes(b"a few bytes")
    async with instance(settings_for(tmp_path, sqlite_url, redis_url, borg=str(gate.program), **chat)) as up:
        await up.add_repository("photos", tmp_path / "photos", [tmp_path / "file"])
        yield up


@pytest.fixture
async def receiver():
    async with WebhookReceiver(SECRET) as receiver:
        yield receiver


async def asked(up):
    body = {"repository": "photos", "channel": f"slack:T1:{CHANNEL}"}
    status, answer = await up.call("POST", "/api/backup/run", json=body)
    assert status == 202, answer
    return answer["job_id"]


@SET_BY
async def test_clock_that_is_set_while_jobs_run_and_wait_loses_ends_and_repeats_nothing(
    up, receiver, slack, gate, wall_clock, shift
):
    secret = SecretBox(SECRET_KEY).encrypt(SECRET)
    await Subscription.create(url=receiver.url, secret=secret, events=["job.completed"])
    job_ids = [await asked(up)]
    await until(lambda: gate.begun() == 1)
    wall_clock.set(shift)  # one runs
    job_ids.append(await asked(up))
    gate.let_go()
    await up.ended(job_ids[0])
    await until(lambda: gate.begun() == 2)
    async with asyncio.timeout(20):
        await receiver.calls(1)  # a call on its way while the clock is set would be refused, and come again later
    wall_clock.set()  # one runs that was started by the other clock
    job_ids.append(await asked(up))
    gate.let_go(2)
    for job_id in job_ids:
        assert (await up.ended(job_id)).status == "completed"
        _, shown = await up.call("GET", f"/api/jobs/{job_id}")
        assert (shown["attempt"], shown["duration_s"] >= 0) == (1, True)
        assert gate.begun(shown["archive_name"]) == 1
    assert gate.begun() == len(job_ids)
    # By the clock the run that it was set in took hours, which gives it a further reply.
    await until(lambda: all([shown for shown in cards(slack, each) if shown[0] != END] == FINISHED for each in job_ids))
    async with asyncio.timeout(20):
        await receiver.calls(len(job_ids))
    assert sorted(json.loads(call.body)["data"]["id"] for call in receiver.received) == job_ids
    assert not receiver.refused


FINISHED = [("card", "completed"), ("progress", "completed")]


class DyingPlatform(SlackPlatform):
    """Posts, and then does not come back."""

    posted = False

    async def post(self, channel, thread, message):
        await super().post(channel, thread, message)
        self.posted = True
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def reporting(slack, queue, platform=SlackPlatform):
    async with platform(slack.token, slack.base_url) as connected:
        task = asyncio.create_task(Reporter(connected, queue, Budget(1000, 1000, 0)).run())
        yield connected
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def waiting_job():
    new = NewJob("backup", "test-host", "token:test", "api", repository_name="photos", channel=f"slack:T1:{CHANNEL}")
    return await unit(partial(lifecycle.create, new))


async def test_claim_of_a_reporter_that_died_lasts_no_day_when_the_clock_is_set_back(opened_sqlite, slack, wall_clock):
    wall_clock.set(DAY)
    async with reporting(slack, opened_sqlite, DyingPlatform) as platform:
        job = await waiting_job()
        await until(lambda: platform.posted)
    wall_clock.set()
    async with reporting(slack, opened_sqlite):
        await until(lambda: len(cards(slack, job.id)) == 2, timeout_s=CLAIM.total_seconds() / 2)
    assert [part for part, _ in cards(slack, job.id)] == ["card", "progress"]
    assert (len(slack.called(HISTORY)), len(slack.called(POST))) == (1, 2)


async def test_claim_made_by_a_clock_that_goes_a_little_wrong_is_kept(opened_sqlite):
    job = await waiting_job()
    row = await ChatMessage.get(job_id=job.id, part="card", platform="slack")
    for off, claimed in ((-CLAIM / 2, True), (CLAIM / 2, True), (-2 * CLAIM, False), (2 * CLAIM, False)):
        await ChatMessage.filter(id=row.id).update(claim="theirs", claimed_until=now() + off + CLAIM)
        await row.refresh_from_db()
        assert (await posting.claim(row) is None) == claimed, off


async def owed(url, **columns):
    subscription = await Subscription.create(url=url, secret="s", events=["job.completed"])
    columns = {"webhook_id": "msg_1", "event": "job.completed", "payload": '{"data": {}}', **columns}
    return await Delivery.create(subscription_id=subscription.id, **columns)


@pytest.mark.parametrize("set_back_by", [HOUR, DAY], ids=str)
async def test_first_try_of_a_delivery_waits_for_no_clock(opened_sqlite, set_back_by):
    row = await owed("https://x", due_at=now() + set_back_by)
    assert [due.id for due in await delivery.due(now(), limit=9)] == [row.id]


@pytest.mark.parametrize("set_back_by", [HOUR, DAY], ids=str)
async def test_claim_of_a_delivery_whose_worker_died_ends_when_the_clock_is_set_back(opened_sqlite, set_back_by):
    at = now()
    row = await owed("https://x", due_at=at)
    assert await delivery.claim(row, at, LEASE, "https://y")
    assert not await delivery.due(at, limit=9)
    assert [due.id for due in await delivery.due(at - set_back_by, limit=9)] == [row.id]
    again = await delivery.claim(await Delivery.get(id=row.id), at - set_back_by, LEASE, "https://y")
    assert again is not None


async def test_further_try_of_a_delivery_is_never_further_away_than_the_longest_delay(opened_sqlite):
    at = now()
    row = await owed("https://x", due_at=at + DAY, attempts=3)
    assert not await delivery.due(at, limit=9)
    assert [due.id for due in await delivery.due(at - 2 * DAY, limit=9)] == [row.id]


@SET_BY
async def test_sweep_of_every_minute_goes_on_and_makes_up_for_nothing(opened_sqlite, wall_clock, shift):
    ticks = []

    async def tick(ctx):
        ticks.append(time.monotonic())

    every_second = cron(tick, name="sweep:a", second=set(range(60)), microsecond=0)
    worker = WakeWorker(opened_sqlite.redis, host_queue("a"), [], [every_second])
    working = asyncio.create_task(worker.async_run())
    await until(lambda: ticks)
    wall_clock.set(shift)
    before = len(ticks)
    await until(lambda: len(ticks) >= before + 2 and abs(every_second.next_run - now()) < LOST_COUNT)
    assert len(ticks) - before < 30
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


class TestSupervisor(Supervised):
    @pytest.fixture
    def clock_is_set(self, put_in):
        """Its wall clock is right when it is asked first, and off from then on."""

        def clock_is_set(shift):
            times = f"[time.time(), *[time.time() + {shift.total_seconds()}] * 9]"
            put_in(f"time.time = iter({times}).__next__", 'if __name__ == "__main__":')

        return clock_is_set

    @SET_BY
    @pytest.mark.parametrize(
        ("timeout_s", "lasts_s", "reason"), [(20.0, "0.3", ExitReason.EXITED), (0.3, "20", ExitReason.TIMEOUT)]
    )
    async def test_run_is_ended_by_its_time_limit_alone(self, run, clock_is_set, shift, timeout_s, lasts_s, reason):
        clock_is_set(shift)
        found = await run_to_end(run, "sleep", lasts_s, timeout_s=timeout_s)
        assert found.reason == reason
        assert 0.3 <= found.duration_s < 10
        assert abs(found.ended_at - found.begun_at - shift.total_seconds()) < 20, "the clock was not set"

    @SET_BY
    @pytest.mark.parametrize(("late_s", "reason"), [(-30, ExitReason.EXITED), (1, ExitReason.NOT_STARTED)])
    async def test_start_is_late_by_boot_time_alone(self, run, wall_clock, clock_is_set, shift, late_s, reason):
        clock_is_set(shift)
        wall_clock.set(shift)
        assert (await run_to_end(run, "true", start_before_s=boot_clock() - late_s)).reason == reason

    async def test_job_that_seems_to_end_before_it_began_took_no_negative_time(self, up, gate, clock_is_set):
        clock_is_set(-DAY)
        gate.let_go()
        job = await up.ended(await asked(up))
        assert (job.status, job.progress["nfiles"]) == ("completed", 1)
        assert job.completed_at < job.started_at
        _, shown = await up.call("GET", f"/api/jobs/{job.id}")
        assert shown["duration_s"] == 0


async def run_to_end(run, *argv, **fields):
    await begin(run, specification(*argv, **fields))
    return await end(run)


# --- pids ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["start_ticks", "boot_id"])
def recycled(request):
    """A process that has by now the pid of a supervisor that is gone, and what that supervisor recorded."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        recorded = identity(stranger.pid)
        other = {"start_ticks": recorded["start_ticks"] - 1, "boot_id": "0b2a4dcb-1f3b-4d5e-9d0c-8f2a6c1d7e55"}
        yield stranger, {**recorded, request.param: other[request.param]}
        assert stranger.poll() is None, "a stranger was signalled"
        stranger.kill()


async def vanish(run, recorded):
    """What a run leaves whose supervisor and borg were killed, on a machine that has gone on since."""
    await run_to_end(run, "true")
    run.exit_file.write_bytes(b"\0" * 4096)
    run.started_file.write_text(json.dumps(recorded))
    assert run.state() is RunState.VANISHED


class TestRecycledPid(Supervised):
    async def test_nobody_signals_or_waits_for_the_process_that_got_the_pid(self, run, recycled):
        _, recorded = recycled
        await vanish(run, recorded)
        await asyncio.to_thread(cancel, run, "token:test")
        async with asyncio.timeout(5):
            await ended(run)
            await end_orphan(run)
        assert not await asyncio.to_thread(refuse, run), "borg may have run"
        assert run.state() is RunState.VANISHED

    async def test_orphan_is_ended_and_not_the_process_that_got_its_supervisors_pid(self, run, recycled):
        _, recorded = recycled
        sits_it_out = python("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
        started = await begin(run, specification(*sits_it_out))
        os.kill(started.supervisor_pid, signal.SIGKILL)
        run.started_file.write_text(json.dumps(recorded))
        async with asyncio.timeout(20):
            await ended(run)
            await end_orphan(run)
        assert not run.borg_alive()
        assert run.state() is RunState.VANISHED


async def test_adopting_worker_ends_the_vanished_run_and_leaves_the_process_with_its_pid_alone(
    tmp_path, sqlite_url, redis_url, opened_sqlite, recycled
):
    _, recorded = recycled
    settings = settings_for(tmp_path, sqlite_url, redis_url)
    settings.runs.mkdir(parents=True)
    who = HostIdentity(settings, HostKey.load(settings.data_dir / "host.key"))
    await register(settings.host, who.key, max_jobs=4, borg_version=None)
    repository = await repository_row("photos", tmp_path / "photos", [])
    new = NewJob("repository_init", settings.host, "token:test", "api", repository.id, "photos", "photos")
    await unit(partial(lifecycle.create, new))
    job = await claim_next(who.claimant)
    await vanish(who.directory(job), recorded)
    await Job.filter(id=job.id).update(cancel_requested_by="token:test")
    async with instance(settings) as up:
        found = await up.ended(job.id)
        assert (found.status, found.error_code, found.running_lock) == ("cancelled", None, None)
