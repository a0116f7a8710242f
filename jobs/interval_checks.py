"""Checks by interval: each repository with `check_interval_days` is checked that often, without anybody's asking.

They are spread: from when the interval was said, a repository waits at least for a share of it that follows from its
id; a host runs one at a time, and who is overdue longest goes first. With `check_max_duration` borg stops after so
many seconds, and goes on there the next time: a large repository is gone through in turns.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from jobs.access import Role, everywhere
from jobs.clock import now
from jobs.database.unit import reader
from jobs.errors import RequestRefusedError
from jobs.models import Job, Repository
from jobs.submit import JobRequest, submit
from jobs.view import JobStatus

KIND, ORIGIN = "check", "schedule"
PRINCIPAL = everywhere("schedule:check-interval", Role.OPERATE)
ACTIVE = (JobStatus.PENDING, JobStatus.RUNNING)

_log = structlog.get_logger()


def due_at(repository: Repository) -> datetime | None:
    """When the next check is due; None: never. Pure."""
    if repository.check_interval_days is None:
        return None
    interval = timedelta(days=repository.check_interval_days)
    first = (repository.check_interval_since or repository.created_at) + interval * _share(repository.id)
    return first if repository.last_check is None else max(first, repository.last_check + interval)


async def start_due() -> None:
    """Ask for the checks that are due: one a host at a time, each repository at most once a day."""
    at = now()
    wanting = await Repository.filter(check_interval_days__isnull=False).using_db(reader())
    due = sorted((moment, row.id, row) for row in wanting if (moment := due_at(row)) and moment <= at)
    if not due:
        return
    busy = set(await _checking())
    for _, _, repository in due:
        if repository.host not in busy and await _asked(repository, at):
            busy.add(repository.host)


async def _checking() -> Sequence[str]:
    """The hosts where a check that nobody asked for waits or runs."""
    jobs = Job.filter(kind=KIND, requested_by=PRINCIPAL.subject, status__in=ACTIVE).using_db(reader())
    return [job.host for job in await jobs.only("id", "host")]


async def _asked(repository: Repository, at: datetime) -> bool:
    """Ask for a check, unless that was done today already; whether one came of it."""
    limit = {"max_duration": repository.check_max_duration} if repository.check_max_duration else {}
    request = JobRequest(
        kind=KIND,
        principal=PRINCIPAL,
        origin=ORIGIN,
        repository=repository.name,
        parameters=limit,
        request_key=f"check-interval:{repository.id}:{at:%Y-%m-%d}",
        priority="low",
    )
    try:
        return (await submit(request)).created
    except RequestRefusedError as refusal:
        _log.warning("interval_check_refused", repository=repository.name, reason=str(refusal))
        return False


def _share(repository_id: int) -> float:
    """A number from 0 to 1 that follows from the id, and lies anywhere."""
    return int.from_bytes(hashlib.sha256(str(repository_id).encode()).digest()[:8]) / 2**64
