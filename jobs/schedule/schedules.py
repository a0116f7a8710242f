"""Adding, changing and removing schedules; every way in (API, command line, chat) ends here."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from tortoise.exceptions import IntegrityError

from jobs import audit, queue, runtime_settings
from jobs.clock import now
from jobs.database.unit import after_commit, unit
from jobs.errors import ConflictError, InvalidRequestError, NotFoundError
from jobs.models import Repository, ScheduledJob
from jobs.place import Place, find_place
from jobs.repositories import Asker
from jobs.repository_fields import archive_glob_of
from jobs.retention import require_some
from jobs.schedule.fields import NewSchedule, ScheduleChange, columns_of
from jobs.schedule.request import BACKUP, FIELD_OF, request_of
from jobs.schedule.turns import Plan, check_jitter, first_run, replanned
from jobs.submit import require_acceptable
from jobs.types import job_type

T = TypeVar("T")

MOST_NAMES = 1000


async def add(asker: Asker, new: NewSchedule) -> ScheduledJob:
    """Add a schedule; raises a `RequestRefusedError` with a sentence, and then nothing was written."""
    kind = job_type(new.kind)
    place = await find_place(kind, new.repository, new.host)
    if kind.needs_repository and new.host:
        raise InvalidRequestError("host", f"a {kind.kind} works on a repository, and runs on that one's host.")
    columns = columns_of(new.model_dump(), {})
    columns["name"] = new.name or await _free_name(f"{place.repository_name or place.host}-{new.kind}".lower())
    columns["timezone"] = new.timezone or (await runtime_settings.load()).default_timezone
    whose = {"created_by": asker.principal.subject, "created_at": now()}
    row = ScheduledJob(**columns, **whose, repository_id=place.repository_id, host=new.host)
    await _check(asker, row, place)
    row.next_run = first_run(row, now()) if row.enabled else None
    return await _named_once(row.name, partial(_create, asker, row))


async def change(asker: Asker, schedule_id: int, wanted: ScheduleChange) -> ScheduledJob:
    """Change the fields given; raises a `RequestRefusedError` with a sentence, and then nothing was changed."""
    return await _named_once(wanted.name, partial(_change, asker, schedule_id, wanted))


async def remove(asker: Asker, schedule_id: int) -> None:
    """Forget a schedule; the jobs that it made stay."""
    await unit(partial(_remove, asker, schedule_id))


async def find(reference: str) -> ScheduledJob:
    """The schedule with this id or name; raises `NotFoundError`."""
    wanted = {"id": int(reference)} if reference.isdecimal() and len(reference) < 10 else {"name": reference}
    row = await ScheduledJob.get_or_none(**wanted)
    if row is None:
        raise NotFoundError(f"There is no schedule {reference}. `/backup schedule list` shows those there are.")
    return row


async def _create(asker: Asker, row: ScheduledJob) -> ScheduledJob:
    await row.save()
    if row.jitter_s and row.enabled:  # a run's share of the jitter follows from the id
        row.next_run = first_run(row, now())
        await row.save(update_fields=["next_run"])
    await _record(asker, "add", row, cron_expression=row.cron_expression, timezone=row.timezone)
    after_commit(partial(queue.wake_ticker, row.next_run))
    return row


async def _change(asker: Asker, schedule_id: int, wanted: ScheduleChange) -> ScheduledJob:
    row = await _locked(schedule_id)
    await _require_may_end(asker, row)
    said, planned = wanted.model_dump(include=wanted.model_fields_set), Plan.of(row)
    row.update_from_dict(columns_of(said, row.retention))
    place = await find_place(job_type(row.kind), said.get("repository") or _number(row.repository_id), row.host)
    row.repository_id = place.repository_id
    await _check(asker, row, place)
    row.next_run = replanned(row, planned, now())
    await row.save()
    await _record(asker, "change", row, fields=sorted(said))
    after_commit(partial(queue.wake_ticker, row.next_run))
    return row


async def _remove(asker: Asker, schedule_id: int) -> None:
    row = await _locked(schedule_id)
    await _require_may_end(asker, row)
    await row.delete()
    await _record(asker, "remove", row, cron_expression=row.cron_expression)


async def _require_may_end(asker: Asker, row: ScheduledJob) -> None:
    """The right to what the schedule starts as it stands: who moves it elsewhere ends that, too."""
    kind = job_type(row.kind)
    place = await find_place(kind, _number(row.repository_id), row.host)
    asker.principal.require(kind.role, place.repository_name, asker.asked_in)


async def _check(asker: Asker, row: ScheduledJob, place: Place) -> None:
    """What the row says as a whole, and whether who asks may start what it starts."""
    backup_only = ("archive_name_template", "run_prune_after", "run_compact_after")
    if row.kind != BACKUP and (said := [name for name in backup_only if getattr(row, name)]):
        raise InvalidRequestError(said[0], f"only a backup takes it, not a {row.kind}.")
    if row.run_prune_after:
        require_some(row.retention)
    if row.archive_name_template and place.repository_name:
        archive_glob_of(row.archive_name_template, place.repository_name, row.name)
    check_jitter(row, now())
    request = request_of(row, now(), place.repository_name)
    try:
        await require_acceptable(replace(request, principal=asker.principal, asked_in=asker.asked_in))
    except InvalidRequestError as error:
        raise InvalidRequestError(FIELD_OF.get(error.field, error.field), error.reason) from error


async def _locked(schedule_id: int) -> ScheduledJob:
    row = await ScheduledJob.filter(id=schedule_id).select_for_update().first()
    if row is None:
        raise NotFoundError(f"There is no schedule {schedule_id}.")
    return row


async def _free_name(wanted: str) -> str:
    stem = wanted[:58].strip("-._")
    taken = {row.name for row in await ScheduledJob.filter(name__startswith=stem).only("id", "name")}
    names = (stem, *(f"{stem}-{number}" for number in range(2, MOST_NAMES)))
    return next(name for name in names if name not in taken)


async def _named_once(name: str | None, work: Callable[[], Awaitable[T]]) -> T:
    try:
        return await unit(work)
    except IntegrityError as error:
        raise ConflictError(f"There is a schedule called {name} already. Choose another name.") from error


async def _record(asker: Asker, verb: str, row: ScheduledJob, **detail: Any) -> None:
    await audit.record(asker.principal, f"schedule.{verb}", origin=asker.origin, target=row.name, **detail)


def _number(repository_id: int | None) -> str | None:
    return None if repository_id is None else str(repository_id)


async def repository_name(row: ScheduledJob) -> str | None:
    """The name of the repository that it works on."""
    if row.repository_id is None:
        return None
    found = await Repository.get_or_none(id=row.repository_id)
    return found.name if found else None
