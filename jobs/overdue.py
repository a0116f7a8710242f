"""Repositories whose newest archive is too old: said, said again, and kept quiet where somebody has taken note.

What counts is the newest archive's time and nothing else: not that a job ended well, nor that a schedule ran. The job
that never ran is the failure that people miss most.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from tortoise.functions import Max

from jobs import audit, outbox, runtime_settings
from jobs.access import Role
from jobs.clock import now
from jobs.database.unit import reader, unit
from jobs.errors import ConflictError, InvalidRequestError
from jobs.events import BackupOverdue
from jobs.models import Archive, Repository
from jobs.repositories import NOTHING_SAID, Asker

LONGEST_SNOOZE_S = 366 * 86_400

_log = structlog.get_logger()


def expected_by(repository: Repository, newest: datetime | None) -> datetime | None:
    """Until when the next archive is expected; None: nobody expects one. Pure."""
    if repository.expected_every is None:
        return None
    return (newest or repository.created_at) + timedelta(seconds=repository.expected_every)


def is_to_be_told(repository: Repository, at: datetime, again_after: timedelta) -> bool:
    """Whether an overdue repository is to be spoken of now. Pure."""
    snoozed, told = repository.overdue_snoozed_until, repository.overdue_told_at
    if repository.overdue_acknowledged_by or (snoozed and at < snoozed):
        return False
    woken = snoozed is not None and told is not None and told < snoozed
    return told is None or woken or told + again_after <= at


async def look() -> None:
    """Tell of what is overdue, and forget what was said of what is not."""
    rows = await Repository.filter(expected_every__isnull=False).using_db(reader())
    newest = await newest_archives(rows)
    again_after = timedelta(seconds=(await runtime_settings.load()).overdue_repeat)
    for row in rows:
        await _look_at(row, newest.get(row.id), again_after)


async def newest_archives(rows: Sequence[Repository]) -> dict[int, datetime]:
    """The time of each repository's newest archive, by its id."""
    archives = Archive.filter(repository_id__in=[row.id for row in rows]).using_db(reader())
    newest = archives.annotate(newest=Max("started_at")).group_by("repository_id")
    found: Any = await newest.values_list("repository_id", "newest") if rows else []
    return dict(found)


def snoozed_until(at: datetime, duration_s: object) -> datetime:
    """The end of a snooze of so many seconds; raises `InvalidRequestError` for what is none. Pure."""
    if not isinstance(duration_s, int) or not 1 <= duration_s <= LONGEST_SNOOZE_S:
        raise InvalidRequestError("duration", "give a time such as 12h or 3d, at most a year.")
    return at + timedelta(seconds=duration_s)


async def acknowledge(asker: Asker, repository: Repository) -> None:
    """Say no more of it until a backup has been made; raises `ConflictError` where nothing is overdue."""
    await _note(asker, repository, "acknowledge", {"overdue_acknowledged_by": asker.principal.subject})


async def snooze(asker: Asker, repository: Repository, until: datetime) -> None:
    """Say nothing of it until then, and then again; raises `ConflictError` where nothing is overdue."""
    columns = {"overdue_snoozed_until": until, "overdue_acknowledged_by": None}
    await _note(asker, repository, "snooze", columns, until=until.isoformat())


async def _look_at(row: Repository, newest: datetime | None, again_after: timedelta) -> None:
    at, expected = now(), expected_by(row, newest)
    if expected is None or at <= expected:
        if row.overdue_since is not None:
            await Repository.filter(id=row.id).update(**NOTHING_SAID)
        return
    if is_to_be_told(row, at, again_after) and await unit(partial(_tell, row, newest, expected, at)):
        _log.warning("backup_overdue", repository=row.name, last_backup=str(newest), expected_by=str(expected))


async def _tell(row: Repository, newest: datetime | None, expected: datetime, at: datetime) -> bool:
    """Inside a unit: tell of it, unless another worker was faster or it is expected no longer."""
    before = {"overdue_told_at": row.overdue_told_at} if row.overdue_told_at else {"overdue_told_at__isnull": True}
    said = {"overdue_since": row.overdue_since or expected, "overdue_told_at": at}
    if not await Repository.filter(id=row.id, expected_every=row.expected_every, **before).update(**said):
        return False
    overdue = BackupOverdue(repository=row.name, last_backup=newest, expected_by=expected)
    await outbox.publish("backup.overdue", overdue, repository=row.name)
    return True


async def _note(asker: Asker, repository: Repository, verb: str, columns: Mapping[str, Any], **detail: Any) -> None:
    asker.principal.require(Role.OPERATE, repository.name, asker.asked_in)
    await unit(partial(_write, asker, repository, verb, columns, detail))


async def _write(
    asker: Asker, repository: Repository, verb: str, columns: Mapping[str, Any], detail: Mapping[str, Any]
) -> None:
    overdue = Repository.filter(id=repository.id, overdue_since__isnull=False)
    if not await overdue.update(**columns):
        raise ConflictError(f"No backup of {repository.name} is overdue.")
    action = f"overdue.{verb}"
    await audit.record(asker.principal, action, origin=asker.origin, target=repository.name, **detail)
