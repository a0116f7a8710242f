"""Whose archives a job may remove: several rows, and schedules with templates of their own, may share a repository."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from jobs.archive_name import NameFacts, expand
from jobs.errors import InvalidRequestError
from jobs.job_type import JobType
from jobs.models import Repository
from jobs.place import Place

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
    for owner in await _others(place):
        if fnmatchcase(owner.sample, glob):
            raise InvalidRequestError(
                "archive_name_template",
                f"archives named {glob} are also those of {owner.called} in the same borg repository, such as "
                f"{owner.sample}. Give one of them a template that the other does not match, or prune with `all`.",
            )


async def _others(place: Place) -> list[Owner]:
    """Everybody but the repository's own row."""
    rows = await Repository.filter(lane=place.lane).exclude(id=place.repository_id).order_by("id")
    return [Owner(f"the repository {row.name}", row.archive_name_template, _facts(row)) for row in rows]


def _facts(repository: Repository) -> NameFacts:
    return NameFacts(repository=repository.name, job_id=1, utcnow=_SAMPLED_AT, host=repository.host)
