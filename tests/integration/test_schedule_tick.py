"""The tick: each planned time starts its job once, whoever ticks how often, and whatever was missed is said."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
import time_machine

from jobs import confirmations, lifecycle, runtime_settings
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.models import Confirmation, EventEntry, Job, QuestionMessage, ScheduledJob, ScheduledRun
from jobs.present import view
from jobs.repositories import Asker
from jobs.schedule import schedules, tick
from jobs.schedule.fields import NewSchedule, ScheduleChange
from jobs.view import JobStatus
from tests.fakes.instance import ADMIN, repository_row
from worker.thread_view import wanted

BEGIN = datetime(2026, 5, 1, 1, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ASKER = Asker(ADMIN, "api")


@pytest.fixture
async def photos(opened_sqlite, tmp_path):
    return await repository_row("photos", tmp_path / "repository", [tmp_path])


@pytest.fixture
def clock():
    with time_machine.travel(BEGIN, tick=False) as traveller:
        yield traveller


async def nightly(**fields):
    return await schedules.add(ASKER, NewSchedule(repository="photos", cron_expression="0 2 * * *", **fields))


async def states():
    return [(run.state, run.job_id) for run in await ScheduledRun.all().order_by("id")]


async def ended(job_id):
    job = await Job.get(id=job_id)
    await Job.filter(id=job_id).update(status=JobStatus.RUNNING)
    await unit(partial(lifecycle.end, job_id, job.attempt, Ending(JobStatus.COMPLETED)))


async def test_due_schedule_starts_its_job_and_knows_when_it_ran_and_runs_next(photos, clock):
    row = await nightly(timezone="Europe/Berlin", priority="low")
    assert row.next_run == datetime(2026, 5, 2, 0, 0, tzinfo=UTC)
    clock.move_to(row.next_run)
    assert await tick.tick() == row.next_run + DAY
    job = await Job.get()
    assert (job.kind, job.repository_name, job.scheduled_job_id) == ("backup", "photos", row.id)
    assert (job.requested_by, job.origin) == ("schedule:photos-backup", "schedule")
    assert view(job).priority == "low"
    assert job.note is None
    await row.refresh_from_db()
    assert (row.last_run, row.next_run) == (now(), now() + DAY)
    assert await states() == [("started", job.id)]


async def test_nothing_starts_before_its_time_or_while_it_is_paused(photos, clock):
    row = await nightly()
    clock.move_to(row.next_run - timedelta(microseconds=1))
    assert await tick.tick() == row.next_run
    await schedules.change(ASKER, row.id, ScheduleChange(enabled=False))
    clock.shift(3 * DAY)
    assert await tick.tick() is None
    resumed = await schedules.change(ASKER, row.id, ScheduleChange(enabled=True))
    assert resumed.next_run > now()
    assert not await Job.exists()


async def test_ticks_at_the_same_time_start_a_run_once(opened, tmp_path, clock):
    """On both engines."""
    await repository_row("photos", tmp_path / "repository", [tmp_path])
    rows = [await nightly(name=f"schedule-{number}") for number in range(5)]
    clock.move_to(rows[0].next_run)
    await asyncio.gather(*(tick.tick() for _ in range(6)))
    await tick.tick()
    assert sorted(await Job.all().values_list("scheduled_job_id", flat=True)) == [row.id for row in rows]


async def test_time_that_a_clock_brings_twice_runs_once(photos, clock):
    row = await nightly()
    clock.move_to(row.next_run)
    await tick.tick()
    clock.move_to(BEGIN)
    await tick.realign()
    await row.refresh_from_db()
    assert row.next_run == BEGIN + HOUR / 2
    clock.move_to(row.next_run)
    assert await tick.tick() == row.next_run + DAY
    assert await Job.all().count() == 1


async def test_run_that_a_clock_was_set_back_over_is_made_up_for_when_it_is_right_again(photos, clock):
    row = await nightly()
    for day in range(3):
        clock.move_to(row.next_run + day * DAY)
        await tick.tick()
        await ended((await Job.all().order_by("-id").first()).id)
    clock.shift(-2 * DAY)
    await tick.realign()
    await tick.tick()
    assert await Job.all().count() == 3
    clock.move_to(row.next_run + 3 * DAY + HOUR)
    await tick.tick()
    assert (await Job.all().order_by("-id").first()).note == "catches up on the run planned for 4 May 02:00 UTC"


async def test_change_that_changes_no_time_keeps_a_run_that_is_due(photos, clock):
    row = await nightly()
    clock.move_to(row.next_run + HOUR)
    same = ScheduleChange(cron_expression="0 2 * * *", timezone=row.timezone, enabled=True, jitter="0s")
    await schedules.change(ASKER, row.id, same)
    await schedules.change(ASKER, row.id, ScheduleChange(cron_expression="0 5 * * *"))
    assert await tick.tick() == row.next_run + 3 * HOUR
    assert (await Job.get()).note == "catches up on the run planned for 1 May 02:00 UTC"


async def test_run_is_made_once_though_its_jitter_is_changed_before_and_after_it(photos, clock):
    row = await nightly()
    clock.move_to(row.next_run - MINUTE)
    moved = await schedules.change(ASKER, row.id, ScheduleChange(jitter="2h"))
    assert row.next_run < moved.next_run < row.next_run + 2 * HOUR
    clock.move_to(moved.next_run)
    await tick.tick()
    await schedules.change(ASKER, row.id, ScheduleChange(jitter="9h"))
    again = await schedules.change(ASKER, row.id, ScheduleChange(jitter="0s"))
    assert again.next_run == row.next_run + DAY
    assert await Job.all().count() == 1


async def test_run_whose_jitter_is_taken_away_after_its_time_comes_at_once(photos, clock):
    row = await nightly(jitter="9h")
    clock.move_to(BEGIN.replace(hour=2))
    assert row.next_run > now()
    clock.shift(MINUTE)
    changed = await schedules.change(ASKER, row.id, ScheduleChange(jitter="0s"))
    assert changed.next_run == now()


async def test_run_that_was_taken_by_a_worker_that_died_is_started_by_the_next_tick_once(photos, clock):
    row = await nightly()
    clock.move_to(row.next_run)
    assert await unit(partial(tick._claim, now())) == 1
    assert not await Job.exists()
    clock.shift(MINUTE)
    await asyncio.gather(tick.tick(), tick.tick())
    assert await Job.all().count() == 1
    assert (await states())[0][0] == "started"


async def test_stopped_fleet_catches_up_once_and_says_so_in_the_thread(photos, clock):
    row = await nightly()
    planned = row.next_run
    clock.move_to(planned + 3 * DAY + HOUR)
    assert await tick.tick() == planned + 4 * DAY
    job = await Job.get()
    assert job.note == "catches up on the run planned for 1 May 02:00 UTC; 3 later ones have passed, too"
    card = await wanted(view(job), "card")
    assert job.note in card.message.text
    assert (await ScheduledRun.get()).left_out == 3


async def test_schedule_that_does_not_catch_up_says_what_it_missed(photos, clock):
    row = await nightly(catch_up="none")
    clock.move_to(row.next_run + HOUR)
    await tick.tick()
    assert not await Job.exists()
    run = await ScheduledRun.get()
    assert run.state == "missed"
    assert run.reason == "nothing was there to start it at 1 May 02:00 UTC, and it is not caught up"
    event = await EventEntry.get()
    assert event.type == "schedule.missed"
    assert '"name":"photos-backup"' in event.payload


async def test_run_that_is_a_minute_late_is_on_time(photos, clock):
    row = await nightly(catch_up="none")
    clock.move_to(row.next_run + MINUTE)
    await tick.tick()
    assert (await Job.get()).note is None


@pytest.mark.parametrize(
    ("overlap", "running", "outcome"),
    [
        ("queue", False, ["started", "skipped", "skipped"]),
        ("queue", True, ["started", "started", "skipped"]),
        ("skip", True, ["started", "skipped", "skipped"]),
        ("replace", False, ["started", "started", "started"]),
    ],
)
async def test_run_that_comes_due_while_the_last_one_goes_on_does_as_declared(photos, clock, overlap, running, outcome):
    row = await schedules.add(
        ASKER, NewSchedule(repository="photos", cron_expression="every minute", overlap=overlap, name="often")
    )
    for number in range(3):
        clock.move_to(row.next_run + number * MINUTE)
        await tick.tick()
        if running and not number:
            await Job.all().update(status=JobStatus.RUNNING)
    assert [state for state, _ in await states()] == outcome
    unfinished = await Job.filter(status__in=["pending", "running"]).order_by("id")
    assert len(unfinished) == (2 if overlap == "queue" and running else 1)
    if "skipped" in outcome:
        assert unfinished[0].note.endswith("UTC was skipped: this one has not ended")
    if overlap == "replace":
        assert [job.status for job in await Job.all().order_by("id")] == ["cancelled", "cancelled", "pending"]


@pytest.mark.parametrize("overlap", ["queue", "skip", "replace"])
async def test_runs_of_a_schedule_that_begin_at_once_do_as_declared(opened, tmp_path, clock, overlap):
    """On both engines: two workers that go on with what a third has taken."""
    await repository_row("photos", tmp_path / "repository", [tmp_path])
    often = NewSchedule(repository="photos", cron_expression="every minute", overlap=overlap)
    rows = [await schedules.add(ASKER, often.model_copy(update={"name": f"often-{number}"})) for number in range(6)]
    for minute in range(2):
        clock.move_to(rows[0].next_run + minute * MINUTE)
        assert await unit(partial(tick._claim, now())) == len(rows)
    runs = await ScheduledRun.all().order_by("id").values_list("id", flat=True)
    await asyncio.gather(*(tick._begin(run) for run in [*runs, *runs]))
    unfinished = await Job.filter(status="pending").values_list("scheduled_job_id", flat=True)
    assert sorted(unfinished) == [row.id for row in rows]
    assert await Job.all().count() == len(rows) * (2 if overlap == "replace" else 1)


async def test_run_that_is_refused_replaces_nothing(photos, clock):
    row = await nightly(overlap="replace")
    clock.move_to(row.next_run)
    await tick.tick()
    await ScheduledJob.filter(id=row.id).update(parameters={"nonsense": 1})
    clock.shift(DAY)
    await tick.tick()
    assert [state for state, _ in await states()] == ["started", "refused"]
    assert (await Job.get()).status == "pending"


async def test_run_that_was_missed_replaces_nothing(photos, clock):
    row = await nightly(catch_up="none", overlap="replace")
    clock.move_to(row.next_run)
    await tick.tick()
    clock.move_to(row.next_run + DAY + HOUR)
    await tick.tick()
    assert [state for state, _ in await states()] == ["started", "missed"]
    assert (await Job.get()).status == "pending"


@pytest.mark.parametrize("kind", ["backup", "prune"])
async def test_kind_that_takes_a_second_person_is_asked_and_not_started(photos, clock, kind):
    row = await nightly(run_prune_after=True, keep_daily=7, channel="slack:T1:C7")
    await unit(partial(runtime_settings.store, {"two_person": [kind]}))
    clock.move_to(row.next_run)
    await tick.tick()
    assert not await Job.exists()
    question = await Confirmation.get()
    assert (await ScheduledRun.get()).reason.endswith(f"(confirmation {question.id}).")
    channels = QuestionMessage.filter(confirmation_id=question.id).order_by("id").values_list("channel", flat=True)
    assert await channels == ["console", "slack:T1:C7"]
    job = await confirmations.confirm(question.id, ADMIN, origin="api")
    assert job.scheduled_job_id == row.id


async def test_refused_run_is_recorded_and_told_and_stops_no_other(photos, clock):
    broken, other = await nightly(name="broken"), await nightly(name="other")
    await ScheduledJob.filter(id=broken.id).update(parameters={"nonsense": 1})
    clock.move_to(broken.next_run)
    await tick.tick()
    assert [state for state, _ in await states()] == ["refused", "started"]
    assert "nonsense: there is no such field" in (await ScheduledRun.get(scheduled_job_id=broken.id)).reason
    assert (await EventEntry.filter(type="schedule.missed").first()) is not None
    assert (await Job.get()).scheduled_job_id == other.id


async def test_jitter_moves_each_run_by_a_share_of_its_own_and_never_by_more(photos, clock):
    rows = [await nightly(name=f"s{number}", jitter="30m") for number in range(20)]
    plain = BEGIN + HOUR / 2
    offsets = {row.next_run - plain for row in rows}
    assert all(timedelta() <= offset < HOUR / 2 for offset in offsets)
    assert len(offsets) > 15
    clock.move_to(plain + HOUR / 2)
    await tick.tick()
    assert await Job.all().count() == 20
    assert min(row.next_run for row in await ScheduledJob.all()) >= plain + DAY


async def test_year_of_nights_has_one_run_each_though_the_clock_is_set_twice(photos, clock):
    clock.move_to(datetime(2026, 1, 1, tzinfo=UTC))
    row = await schedules.add(
        ASKER, NewSchedule(repository="photos", cron_expression="30 2 * * *", timezone="Europe/Berlin")
    )
    for _ in range(365):
        clock.move_to(await tick.next_run())
        await tick.take()
    planned = [run.planned_at.astimezone(ZoneInfo(row.timezone)) for run in await ScheduledRun.all().order_by("id")]
    assert [moment.date() for moment in planned] == [date(2026, 1, 1) + number * DAY for number in range(365)]
    assert {f"{moment:%d %b %H:%M}" for moment in planned if f"{moment:%H:%M}" != "02:30"} == {"29 Mar 03:00"}
