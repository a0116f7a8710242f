"""Which job a host runs next. Called on every wake-up, after every end, by the sweep; a needless call does nothing."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.exceptions import IntegrityError
from tortoise.expressions import Q
from tortoise.functions import Count

from jobs import lifecycle, runtime_settings
from jobs.archive_name import NameFacts, expand
from jobs.clock import now
from jobs.database.unit import savepoint, unit
from jobs.errors import RequestRefusedError
from jobs.job_type import LONGEST_DELAY_S
from jobs.lifecycle import Ending, StaleMoveError
from jobs.models import Archive, Host, Job
from jobs.place import find_place, schedule_of
from jobs.scope import require_own_archives
from jobs.types import job_type
from jobs.view import JobStatus

CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class Claimant:
    """The worker that asks: its host's name, the id of its data directory, and how many jobs may run there at once."""

    host: str
    data_directory_id: str
    max_jobs: int


@dataclass(frozen=True, slots=True)
class Running:
    """How many jobs run on one host, by data directory and kind."""

    counts: Mapping[tuple[str | None, str], int]

    def in_directory(self, data_directory_id: str | None) -> int:
        """Those that take a slot of the worker with this data directory."""
        return sum(count for (directory, _), count in self.counts.items() if directory == data_directory_id)

    def has_reached(self, kind: str, limit: int) -> bool:
        """Whether `limit` jobs of the kind run on the host."""
        return sum(count for (_, running_kind), count in self.counts.items() if running_kind == kind) >= limit


async def running_on(hosts: Collection[str], using_db: BaseDBAsyncClient | None = None) -> dict[str, Running]:
    """What runs on each of the hosts."""
    rows = Job.filter(host__in=list(hosts), status=JobStatus.RUNNING).using_db(using_db).annotate(running=Count("id"))
    columns = ("host", "data_directory_id", "kind")
    counts: dict[str, dict[tuple[str | None, str], int]] = {host: {} for host in hosts}
    for host, directory, kind, count in await rows.group_by(*columns).values_list(*columns, "running"):
        counts[host][directory, kind] = count
    return {host: Running(of_host) for host, of_host in counts.items()}


def is_due() -> Q:
    """The jobs whose time has come: another try is never further away than that, unless a clock was set back."""
    set_back = Q(attempt__gt=1, not_before__gt=now() + timedelta(seconds=LONGEST_DELAY_S))
    return Q(not_before__isnull=True) | Q(not_before__lte=now()) | set_back


async def claim_next(claimant: Claimant) -> Job | None:
    """Move the best pending job whose lane and slot are free to running, and return it; None when there is none."""
    return await unit(partial(_claim, claimant))


async def _claim(claimant: Claimant) -> Job | None:
    # One claim a host at a time: counting running rows and taking one more must not interleave (PostgreSQL).
    host = await Host.filter(name=claimant.host).select_for_update().first()
    if host is not None and host.data_directory_id not in {None, claimant.data_directory_id}:
        return None  # another data directory has taken the name over
    running = (await running_on([claimant.host]))[claimant.host]
    taken = running.in_directory(claimant.data_directory_id)
    if taken >= claimant.max_jobs:
        return None
    full = await _full_kinds(running) if taken else []
    for job in await _candidates(claimant.host, full):
        if started := await _started(job, claimant):
            return started
    return None


async def _full_kinds(running: Running) -> list[str]:
    """The kinds of which `max_jobs_by_kind` allows no more on the host than run there."""
    limits = (await runtime_settings.load()).max_jobs_by_kind
    return [kind for kind, limit in limits.items() if running.has_reached(kind, limit)]


async def _candidates(host: str, full_kinds: list[str]) -> list[Job]:
    taken = await Job.filter(running_lock__isnull=False).values_list("running_lock", flat=True)
    ready = Job.filter(is_due(), host=host, status=JobStatus.PENDING)
    if taken:
        ready = ready.filter(Q(lane__isnull=True) | Q(lane__not_in=list(taken)))
    if full_kinds:
        ready = ready.filter(kind__not_in=full_kinds)
    return await ready.order_by("queue_rank", "id").limit(CANDIDATES)


async def _started(job: Job, claimant: Claimant) -> Job | None:
    try:
        async with savepoint():
            return await _start(job, claimant)
    except RequestRefusedError as error:
        # It would be refused at every claim, and keep all that wait behind it from running.
        with suppress(StaleMoveError):
            sentence = f"The job can't be started: {error}"
            ending = Ending(JobStatus.FAILED, error_code="not_startable", error_message=sentence)
            await lifecycle.end(job.id, job.attempt, ending)
    except (IntegrityError, StaleMoveError):
        pass
    return None


async def _start(job: Job, claimant: Claimant) -> Job:
    await _require_own_archives(job)
    name = job.archive_name or await _archive_name(job)
    return await lifecycle.start(job, data_directory_id=claimant.data_directory_id, archive_name=name)


async def _require_own_archives(job: Job) -> None:
    """Anew, as other repositories may have come, or templates changed, since the job was asked for."""
    kind = job_type(job.kind)
    if kind.removes_archives and job.repository_id is not None:
        place = await find_place(kind, str(job.repository_id), None, await schedule_of(job))
        await require_own_archives(kind, job.parameters, place)


async def _archive_name(job: Job) -> str | None:
    if not job_type(job.kind).makes_archive:
        return None
    repository = await job.get_repository()
    if repository is None:
        return None
    schedule = await schedule_of(job)
    facts = NameFacts(repository.name, job.id, now(), schedule=schedule, host=job.host)
    name = expand(job.parameters.get("archive_name_template") or repository.archive_name_template, facts)
    return f"{name}-{job.id}" if await _is_taken(name, job) else name


async def _is_taken(name: str, job: Job) -> bool:
    """Whether the borg repository may have an archive of this name: a known one, or one of a job that failed."""
    lane = {"repository__lane": job.lane}
    if await Archive.filter(name=name, **lane).exists():
        return True
    return await Job.filter(archive_name=name, **lane).exclude(id=job.id).exists()
