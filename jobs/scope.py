"""Whose archives a job may remove: several rows, and schedules with templates of their own, may share a repository."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from jobs.archive_name import NameFacts, expand
from jobs.database.unit import reader
from jobs.errors import InvalidRequestError
from jobs.job_type import JobType
from jobs.models import Archive, Repository, ScheduledJob
from jobs.place import Place

NAMED = 20
"""So many archives are named to who confirms a prune, the newest first."""
_SAMPLED_AT = datetime(2030, 1, 31, 12, 34, 56, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who else has archives in the same borg repository, and how they are named."""

    called: str
    template: str
    facts: NameFacts

    @property
    def sample(self) -> str:
        """A name as its archives have it."""
        return expand(self.template, self.facts)


async def require_own_archives(kind: JobType, parameters: Mapping[str, Any], place: Place) -> None:
    """Refuse a job that would also remove the archives of another; raises `InvalidRequestError`, which names them."""
    glob = kind.scope(parameters, place.target) if kind.removes_archives else None
    if glob is None:
        return
    for owner in await _others(place, parameters.get("archive_name_template")):
        if fnmatchcase(owner.sample, glob):
            raise InvalidRequestError(
                "archive_name_template",
                f"archives named {glob} are also those of {owner.called} in the same borg repository, such as "
                f"{owner.sample}. Give one of them a template that the other does not match, or prune with `all`.",
            )


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
    return (f"It chooses from {len(names)} known archives: {', '.join(names[:NAMED])}{more}.",)


async def _others(place: Place, template: str | None) -> list[Owner]:
    """Every row and schedule in the borg repository, but those whose archives are named as those that may go."""
    rows = await Repository.filter(lane=place.lane).order_by("id")
    by_id = {row.id: row for row in rows}
    schedules = await ScheduledJob.filter(repository_id__in=list(by_id), archive_name_template__isnull=False)
    owners = [(row.id, _of_repository(row)) for row in rows]
    owners += [
        (row.repository_id, _of_schedule(row, by_id[row.repository_id])) for row in schedules if row.repository_id
    ]
    own = template or (by_id[place.repository_id].archive_name_template if place.repository_id in by_id else None)
    return [owner for repository_id, owner in owners if (repository_id, owner.template) != (place.repository_id, own)]


def _of_repository(row: Repository) -> Owner:
    facts = NameFacts(repository=row.name, job_id=1, utcnow=_SAMPLED_AT, host=row.host)
    return Owner(f"the repository {row.name}", row.archive_name_template, facts)


def _of_schedule(row: ScheduledJob, repository: Repository) -> Owner:
    facts = NameFacts(repository.name, 1, _SAMPLED_AT, schedule=row.name, host=repository.host)
    return Owner(f"the schedule {row.name}", row.archive_name_template or repository.archive_name_template, facts)
