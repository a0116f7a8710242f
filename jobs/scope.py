"""Whose archives a job may remove: several rows, and schedules with templates of their own, may share a repository."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from jobs.archive_name import NameFacts, expand
from jobs.archive_overlap import overlap
from jobs.database.unit import reader
from jobs.errors import InvalidRequestError
from jobs.job_type import JobType
from jobs.models import Archive, Repository, ScheduledJob
from jobs.place import Place
from jobs.repository_fields import archive_glob_of
from jobs.templates import with_template

BACKUP = "backup"
NAMED = 20
"""So many archives are named to who confirms a prune, the newest first."""
_SAMPLED_AT = datetime(2030, 1, 31, 12, 34, 56, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who else has archives in the same borg repository, and how they are named."""

    called: str
    repository_id: int
    template: str
    facts: NameFacts

    @property
    def glob(self) -> str:
        """The pattern of its archives."""
        return archive_glob_of(self.template, self.facts.repository, self.facts.schedule)

    @property
    def sample(self) -> str:
        """A name as its archives have it."""
        return expand(self.template, self.facts)


async def require_own_archives(kind: JobType, parameters: Mapping[str, Any], place: Place) -> None:
    """Refuse a job that would also remove the archives of another; raises `InvalidRequestError`, which names them."""
    glob = kind.scope(parameters, place.target) if kind.removes_archives else None
    if glob is None:
        return
    for owner in await _owners(place):
        own = owner.repository_id == place.repository_id and owner.glob == glob
        if not own and overlap(glob, owner.template, owner.facts):
            raise InvalidRequestError(
                "archive_name_template",
                f"archives named {glob} are also those of {owner.called} in the same borg repository, named like "
                f"{owner.sample}. Give one of them a template that the other does not match, or prune with `all`.",
            )


async def removes_from(kind: JobType, parameters: Mapping[str, Any], place: Place) -> list[str]:
    """The names of the other rows whose archives the job may remove, as it was asked for all in the borg repository."""
    if not kind.removes_archives or kind.scope(parameters, place.target) is not None:
        return []
    others = Repository.filter(lane=place.lane).exclude(id=place.repository_id).order_by("name")
    return [str(name) for name in await others.values_list("name", flat=True)]


async def at_stake(kind: JobType, parameters: Mapping[str, Any], place: Place) -> tuple[str, ...]:
    """What a job that removes archives may choose from, as far as it is known: a sentence for who confirms it."""
    if not kind.removes_archives:
        return ()
    glob = kind.scope(parameters, place.target) or "*"
    rows = Archive.filter(repository_id=place.repository_id).using_db(reader()).order_by("-started_at")
    names = [str(name) for name in await rows.values_list("name", flat=True) if fnmatchcase(str(name), glob)]
    if not names:
        return ("No archive that it could remove is known; the repository may hold some all the same.",)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    known = "one known archive" if len(names) == 1 else f"{len(names)} known archives"
    return (f"It chooses from {known}: {', '.join(names[:NAMED])}{more}.",)


async def _owners(place: Place) -> list[Owner]:
    """Every row and schedule that has archives in the borg repository."""
    rows = {row.id: row for row in await Repository.filter(lane=place.lane).order_by("id")}
    schedules = await ScheduledJob.filter(repository_id__in=list(rows), kind=BACKUP).order_by("id")
    owners = [_owner(f"the repository {row.name}", row, row.archive_name_template) for row in rows.values()]
    for schedule in schedules:
        if schedule.repository_id is not None:
            row = rows[schedule.repository_id]
            said = await with_template(BACKUP, schedule.template, schedule.parameters)
            own = schedule.archive_name_template or said.get("archive_name_template") or row.archive_name_template
            owners.append(_owner(f"the schedule {schedule.name}", row, own, schedule.name))
    return owners


def _owner(called: str, row: Repository, template: str, schedule: str = "") -> Owner:
    return Owner(called, row.id, template, NameFacts(row.name, 1, _SAMPLED_AT, schedule=schedule, host=row.host))
