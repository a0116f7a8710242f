"""The tick: takes the planned times that have come, each once, and starts what they stand for.

Any number of workers may tick at the same time, and each may die anywhere. A time is taken by a row that is unique, in
the transaction that moves the schedule on to its next time; a taken time becomes a job in the transaction that notes
it. What died in between is found by the next tick.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from tortoise.exceptions import IntegrityError

from jobs import lifecycle, outbox
from jobs.cancel import cancel_within
from jobs.clock import now
from jobs.database.unit import insert_all, reader, unit, update_all
from jobs.errors import ConflictError, InvalidRequestError, RequestRefusedError
from jobs.events import ScheduleMissed
from jobs.lifecycle import StaleMoveError
from jobs.models import Job, ScheduledJob, ScheduledRun
from jobs.schedule.request import ORIGIN, principal_of, request_of
from jobs.schedule.schedules import repository_name
from jobs.schedule.turns import (
    CLAIMED,
    MISSED,
    REFUSED,
    SKIPPED,
    STARTED,
    Turn,
    Verdict,
    first_run,
    is_missed,
    turn,
    verdict,
)
from jobs.submit import JobRequest, accept_within, submit, takes_second_person
from jobs.view import JobStatus

BATCH = 200
LOOK_AGAIN = timedelta(hours=1)
ACTIVE = (JobStatus.PENDING, JobStatus.RUNNING)

_log = structlog.get_logger()


async def tick() -> datetime | None:
    """Take and start all that is due; returns when the next run is."""
    await take()
    for run in await ScheduledRun.filter(state=CLAIMED).order_by("id").only("id"):
        await _guarded(run.id)
    return await next_run()


async def take() -> None:
    """Take all that is due, and start nothing yet."""
    while await unit(partial(_claim, now())) == BATCH:
        pass


async def next_run() -> datetime | None:
    """When the next schedule comes due."""
    row = await _enabled().order_by("next_run").first()
    return row.next_run if row else None


async def realign() -> int:
    """Put right what was planned by a clock that was wrong, or by rules of a zone that have changed; how many."""
    at, last_id, moved = now(), 0, 0
    while page := await _enabled().filter(next_run__gt=at, id__gt=last_id).order_by("id").limit(BATCH):
        # Thousands of expressions take seconds, in which the event loop has to do other things.
        for schedule, right in await asyncio.to_thread(_misplanned, page, at):
            planned = ScheduledJob.filter(id=schedule.id, next_run=schedule.next_run)
            moved += await planned.update(next_run=right)
        last_id = page[-1].id
    return moved


def _misplanned(schedules: Sequence[ScheduledJob], at: datetime) -> list[tuple[ScheduledJob, datetime]]:
    found = ((schedule, _first_run(schedule, at)) for schedule in schedules)
    return [(schedule, right) for schedule, right in found if right is not None and right != schedule.next_run]


def _enabled() -> Any:
    return ScheduledJob.filter(next_run__isnull=False).using_db(reader())


async def _claim(at: datetime) -> int:
    """Inside a unit: take what is due, as one batch; how many schedules that were."""
    due = ScheduledJob.filter(next_run__lte=at).order_by("next_run", "id").limit(BATCH)
    schedules = await due.select_for_update(skip_locked=True)
    turns = {schedule.id: found for schedule in schedules if (found := _turn(schedule, at))}
    if runs := await _fresh(turns, at):
        await insert_all(runs)
    for schedule in schedules:
        found = turns.get(schedule.id)
        schedule.next_run = found.next_run if found else at + LOOK_AGAIN
    if schedules:
        await update_all(schedules, "next_run")
    return len(schedules)


async def _fresh(turns: dict[int, Turn], at: datetime) -> Sequence[ScheduledRun]:
    """Rows for the turns that nobody has taken; a clock that was set back brings times again, and then new ones."""
    if not turns:
        return []
    planned = {moment for found in turns.values() for moment in (found.planned_at, found.last_passed)}
    taken = ScheduledRun.filter(scheduled_job_id__in=list(turns), planned_at__in=list(planned))
    known = set(await taken.values_list("scheduled_job_id", "planned_at"))
    first_unknown = (
        (schedule_id, *fresh[0])
        for schedule_id, found in turns.items()
        if (fresh := [each for each in _times_of(found) if (schedule_id, each[0]) not in known])
    )
    return [
        ScheduledRun(scheduled_job_id=schedule_id, planned_at=moment, left_out=left_out, state=CLAIMED, claimed_at=at)
        for schedule_id, moment, left_out in first_unknown
    ]


def _times_of(found: Turn) -> tuple[tuple[datetime, int], ...]:
    """The times that a run of this turn may stand for, and how many later ones each leaves out."""
    return (found.planned_at, found.left_out), (found.last_passed, 0)


async def _guarded(run_id: int) -> None:
    try:
        await _begin(run_id)
    except Exception:  # noqa: BLE001 - named edge: one schedule's trouble must not stop the others; the next tick tries
        _log.exception("scheduled_run_not_started", run_id=run_id)


async def _begin(run_id: int) -> None:
    run = await ScheduledRun.get_or_none(id=run_id)
    if run is None:  # its schedule was removed meanwhile
        return
    schedule = await ScheduledJob.get(id=run.scheduled_job_id)
    request = request_of(schedule, run.planned_at, await repository_name(schedule))
    try:
        if not is_missed(schedule, run.planned_at, now()) and await takes_second_person(request):
            await submit(request)  # which is refused until that person has said yes
        await unit(partial(_start, run_id, schedule.id, request))
    except RequestRefusedError as refusal:
        await unit(partial(_settle, run_id, Verdict(REFUSED, str(refusal))))
    except IntegrityError:
        # The job of this request is there already: only the note of it is missing.
        job = await Job.get(request_key=request.request_key)
        await ScheduledRun.filter(id=run_id, state=CLAIMED).update(state=STARTED, job_id=job.id)


async def _start(run_id: int, schedule_id: int, request: JobRequest) -> None:
    """Inside a unit: what becomes of a run that was taken."""
    # Locked: of two runs of a schedule that begin at once, one has to see what the other has started (PostgreSQL).
    schedule = await ScheduledJob.filter(id=schedule_id).select_for_update().first()
    run = await ScheduledRun.filter(id=run_id, state=CLAIMED).first()
    if run is None or schedule is None:
        return
    unfinished = await _unfinished(schedule)
    at = now()
    found = verdict(schedule, Turn(run.planned_at, run.left_out, at, run.planned_at), at, unfinished)
    if found.state != STARTED:
        await _settle(run_id, found)
        if found.state == SKIPPED and unfinished:
            await lifecycle.note(unfinished[0].id, _skipped(run))
        return
    job = await accept_within(request)
    if schedule.overlap == "replace":
        await _replace(unfinished, schedule)
    if found.note:
        await lifecycle.note(job.id, found.note)
    await ScheduledRun.filter(id=run_id).update(state=STARTED, job_id=job.id, reason=found.note)
    await ScheduledJob.filter(id=schedule.id).update(last_run=at)


async def _replace(unfinished: Sequence[Job], schedule: ScheduledJob) -> None:
    """Inside the unit that has accepted the new one: what is refused replaces nothing."""
    for job in unfinished:
        try:
            await cancel_within(job.id, principal_of(schedule), ORIGIN)
        except (ConflictError, StaleMoveError) as error:  # it has ended, or has come too far: the new one waits for it
            _log.info("not_replaced", job_id=job.id, reason=str(error))


async def _settle(run_id: int, found: Verdict) -> None:
    """Inside a unit: note what became of a run, and tell of one that nothing will make up for."""
    settled = await ScheduledRun.filter(id=run_id, state=CLAIMED).update(state=found.state, reason=found.reason)
    if settled and found.state in {MISSED, REFUSED}:
        await _tell(await ScheduledRun.get(id=run_id))


async def _tell(run: ScheduledRun) -> None:
    schedule = await ScheduledJob.get(id=run.scheduled_job_id)
    name = await repository_name(schedule)
    missed = ScheduleMissed(
        scheduled_job_id=schedule.id,
        name=schedule.name,
        repository=name,
        planned_at=run.planned_at,
        reason=run.reason or "",
    )
    await outbox.publish("schedule.missed", missed, repository=name)


async def _unfinished(schedule: ScheduledJob) -> list[Job]:
    return await Job.filter(scheduled_job_id=schedule.id, status__in=ACTIVE).order_by("id")


def _skipped(run: ScheduledRun) -> str:
    return f"the run planned for {run.planned_at:%H:%M} UTC was skipped: this one has not ended"


def _turn(schedule: ScheduledJob, at: datetime) -> Turn | None:
    try:
        return turn(schedule, at)
    except InvalidRequestError as error:
        _log.error("schedule_not_understood", schedule_id=schedule.id, reason=str(error))
        return None


def _first_run(schedule: ScheduledJob, at: datetime) -> datetime | None:
    try:
        return first_run(schedule, at)
    except InvalidRequestError:
        return schedule.next_run
