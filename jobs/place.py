"""What a job works on: a repository, or a host."""

import re
from dataclasses import dataclass, replace

from jobs.errors import InvalidRequestError, NotFoundError
from jobs.job_type import JobType, KnownArchive, Target
from jobs.models import Archive, Job, Repository, ScheduledJob
from jobs.repository_fields import archive_glob_of


@dataclass(frozen=True, slots=True)
class Place:
    """What a job works on, and the lane that keeps others from it meanwhile."""

    host: str
    target: Target
    lane: str | None
    repository_id: int | None = None
    repository_name: str | None = None


def said_of(place: Place) -> dict[str, str | int | None]:
    """What a question about a place is about, to be kept with it: a name may mean another repository by the time of the
    yes.
    """
    target = place.target
    return {
        "repository_id": place.repository_id,
        "host": place.host,
        "location": target.location,
        "archive_glob": target.archive_glob,
    }


async def find_place(kind: JobType, repository: str | None, host: str | None, schedule: str = "") -> Place:
    """Where a job of this kind works, by the repository's name or id, or the host; raises a `RequestRefusedError`."""
    if not kind.needs_repository:
        return _host_place(kind, repository, host)
    if not repository:
        raise InvalidRequestError("repository", "name the repository to work on.")
    row = await find_repository(repository)
    return Place(row.host, target_of(row, schedule), row.lane, row.id, row.name)


async def with_archive(place: Place, reference: str) -> Place:
    """The place with the archive to work on, by its name or borg's id; raises `NotFoundError` where none is known."""
    found = None
    if reference.isprintable():
        rows = Archive.filter(repository_id=place.repository_id)
        found = await rows.filter(name=reference).first() or await rows.filter(borg_id=reference.lower()).first()
    if found is None:
        raise NotFoundError(
            f"No archive {reference} of {place.repository_name} is known. `/backup archives {place.repository_name}` "
            "shows those that are, and reads the list anew with `--refresh`."
        )
    known = KnownArchive(found.name, found.nfiles, found.original_size)
    return replace(place, target=replace(place.target, archive=known))


async def find_repository(reference: str) -> Repository:
    """The repository with this id or name; raises `NotFoundError`."""
    repository = None
    if (number := number_of(reference)) is not None:
        repository = await Repository.get_or_none(id=number)
    elif reference.isprintable():
        repository = await Repository.get_or_none(name=reference)
    if repository is None:
        raise NotFoundError(f"There is no repository {reference}. `/backup list` shows those there are.")
    return repository


def target_of(repository: Repository, schedule: str = "") -> Target:
    """The repository as a job type sees it; `schedule` is the name of the one that asked."""
    return Target(
        name=repository.name,
        location=repository.location,
        source_directories=tuple(repository.source_directories),
        exclude_patterns=tuple(repository.exclude_patterns),
        compression=repository.compression,
        encryption=repository.encryption,
        archive_glob=_glob(repository, schedule),
        schedule=schedule,
        host=repository.host,
    )


def _glob(repository: Repository, schedule: str) -> str:
    """A schedule that has no template of its own names its archives by the repository's, which may tell them apart."""
    if not schedule:
        return repository.archive_glob
    return archive_glob_of(repository.archive_name_template, repository.name, schedule)


async def schedule_of(job: Job) -> str:
    """The name of the schedule that asked for the job; empty where none did, or that was removed."""
    schedule = await ScheduledJob.get_or_none(id=job.scheduled_job_id) if job.scheduled_job_id else None
    return schedule.name if schedule else ""


def number_of(reference: str) -> int | None:
    """The id that a reference is, if it is one."""
    return int(reference) if re.fullmatch(r"[0-9]{1,9}", reference) else None


def _host_place(kind: JobType, repository: str | None, host: str | None) -> Place:
    if repository:
        raise InvalidRequestError("repository", f"{kind.words.noun.lower()} works on a host, not on a repository.")
    if not host:
        raise InvalidRequestError("host", "name the host to work on.")
    return Place(host, Target(host, location="", host=host), kind.host_lane(host))
