"""The states of a job and every way between them. No other module writes `Job.status`; a test looks.

Each move is one UPDATE that names the states it may leave and the attempt it speaks for: who comes late moves nothing
and gets `StaleMoveError`. What must be true together with a move (deliveries, messages, the audit entry) is written
in its transaction; who must hear of it is told after the commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tortoise.expressions import F

from jobs import outbox, queue, threads
from jobs.clock import now
from jobs.database.unit import after_commit
from jobs.events import EventName
from jobs.models import Job, Repository
from jobs.view import JobStatus, Progress

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = JobStatus

TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    PENDING: frozenset({RUNNING, FAILED, CANCELLED}),
    RUNNING: frozenset({PENDING, COMPLETED, FAILED, CANCELLED}),
    COMPLETED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}
EVENTS: Mapping[JobStatus, EventName] = {
    RUNNING: "job.started",
    COMPLETED: "job.completed",
    FAILED: "job.failed",
    CANCELLED: "job.cancelled",
}
HOST_LOST = "host_lost"
"""The error code of a job whose host is gone: what became of its run is unknown, and may yet be told."""
PRIORITY_STEP = timedelta(hours=6)
"""How much earlier a job counts as asked for with each step of priority, so that nothing waits for ever."""


class StaleMoveError(Exception):
    """The job is not where the mover believed: another moved it, or a newer attempt runs. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends: its final state and what is known of why."""

    status: JobStatus
    progress: Progress | None = None
    warnings: int = 0
    error_code: str | None = None
    error_message: str | None = None
    ended_at: datetime | None = None
    """When it ended, where that was before now: a run that ended while no worker looked."""
    keep_lane: bool = False
    """True while the repository may still be in use by a process that outlived its supervisor."""

    def __post_init__(self) -> None:
        if not self.status.final:
            raise ValueError(f"A job can't end as {self.status}.")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed that is followed by another: an error code, and a sentence."""

    code: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class NewJob:
    """What `submit` has checked and `create` writes."""

    kind: str
    host: str
    requested_by: str
    origin: str
    repository_id: int | None = None
    repository_name: str | None = None
    lane: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    archive_name: str | None = None
    request_key: str | None = None
    priority: int = 0
    parent_id: int | None = None
    retry_of: int | None = None
    follow_ups: Sequence[Mapping[str, Any]] = ()
    scheduled_job_id: int | None = None
    not_before: datetime | None = None
    channel: str | None = None
    queue_rank: int | None = None


async def create(new: NewJob) -> Job:
    """Inside a unit: write a pending job with its thread, and wake its host after the commit."""
    columns = {name: getattr(new, name) for name in NewJob.__slots__ if name != "channel"}
    columns["follow_ups"] = list(new.follow_ups)
    if new.queue_rank is None:
        columns["queue_rank"] = int((now() - new.priority * PRIORITY_STEP).timestamp() * 1000)
    job = await Job.create(**columns, status=PENDING)
    await threads.open_thread(job, new.channel)
    await _tell_chain(job)
    if job.retry_of is not None:
        await _show_card_anew(job.retry_of)
    after_commit(partial(queue.wake_host, job.host))
    after_commit(partial(queue.ring, job.id))
    return job


async def start(job: Job, *, data_directory_id: str, archive_name: str | None) -> Job:
    """Inside a unit: `pending → running` for a host that takes it.

    Raises `StaleMoveError` when the job was taken or ended meanwhile, tortoise's `IntegrityError` when its lane was.
    """
    columns = {
        "started_at": now(),
        "running_lock": job.lane,
        "data_directory_id": data_directory_id,
        "archive_name": archive_name,
        "error_code": None,
        "error_message": None,
    }
    await _move(job.id, job.attempt, RUNNING, columns)
    started = job.update_from_dict({**columns, "status": RUNNING, "revision": job.revision + 1})
    await outbox.announce(started, EVENTS[RUNNING])
    await _tell_chain(started)
    return started


async def put_back(
    job_id: int,
    attempt: int,
    *,
    not_before: datetime | None = None,
    reason: str | None = None,
    failure: Failure | None = None,
) -> None:
    """Inside a unit: `running → pending`; the next one is a new attempt.

    A failed attempt costs a retry; a run that provably never started costs none, and `reason` says what hindered it.
    There is no next attempt when somebody asked for the job's end meanwhile: it is cancelled.
    """
    columns: dict[str, Any] = {
        "attempt": attempt + 1,
        "retries": F("retries") + int(failure is not None),
        "started_at": None,
        "running_lock": None,
        "data_directory_id": None,
        "not_before": not_before,
        "error_code": failure.code if failure else None,
        "error_message": failure.sentence if failure else reason,
        "progress": {},
    }
    await _move(job_id, attempt, PENDING, columns)
    job = await Job.get(id=job_id)
    if job.cancel_requested_by:
        await end(job_id, job.attempt, Ending(CANCELLED))
        return
    await _tell_chain(job)
    if repository := await _kept_repository(job):  # which may have turned out to be another's meanwhile
        await Job.filter(id=job_id).update(lane=repository.lane)
    after_commit(partial(queue.wake_host, job.host, job.not_before))
    await _wake_who_waits(job)


async def end(job_id: int, attempt: int, ending: Ending) -> Job:
    """Inside a unit: move to a final state, free the lane, and write what follows from it (the outbox).

    A job that had been given up with its host keeps its state, and the ending is noted as late.
    """
    columns: dict[str, Any] = {
        "completed_at": ending.ended_at or now(),
        "warnings": ending.warnings,
        "error_code": ending.error_code,
        "error_message": ending.error_message,
    }
    if ending.progress is not None:
        columns["progress"] = ending.progress.model_dump(mode="json")
    if not ending.keep_lane:
        columns["running_lock"] = None
    try:
        await _move(job_id, attempt, ending.status, columns)
    except StaleMoveError:
        await _note_late(job_id, attempt, ending)
        return await Job.get(id=job_id)
    job = await Job.get(id=job_id)
    # Who asked for the end of a run that was done before the signal came did not ask for what follows it.
    goes_on = ending.status is COMPLETED and not job.cancel_requested_by
    if job.follow_ups and not goes_on:
        await _say_what_does_not_follow(job)
    await outbox.announce(job, EVENTS[ending.status])
    await threads.close_thread(job)
    if job.follow_ups and goes_on:
        step, *rest = job.follow_ups
        await add_step(job, step["kind"], step["parameters"], rest)
    await _tell_chain(job)
    await _wake_who_waits(job)
    return job


async def add_step(
    job: Job, kind: str, parameters: Mapping[str, Any] | None = None, then: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Inside the unit that ends `job`: make the next job of its chain, so that nothing is lost between the two.

    It keeps the rank of the chain, so that nothing else comes between.
    """
    repository = await _kept_repository(job)
    following = NewJob(
        kind=kind,
        parameters=parameters or {},
        follow_ups=then,
        parent_id=job.parent_id or job.id,
        host=repository.host if repository else job.host,
        repository_id=job.repository_id,
        repository_name=job.repository_name,
        lane=repository.lane if repository else job.lane,
        requested_by=job.requested_by,
        origin=job.origin,
        priority=job.priority,
        queue_rank=job.queue_rank,
        scheduled_job_id=job.scheduled_job_id,
    )
    await create(following)


async def report(job_id: int, attempt: int, progress: Progress) -> bool:
    """Inside a unit: store how far a running job is; False when that attempt does not run any more."""
    running = Job.filter(id=job_id, attempt=attempt, status=RUNNING)
    changed = await running.update(progress=progress.model_dump(mode="json"), revision=F("revision") + 1)
    after_commit(partial(queue.ring, job_id))
    return bool(changed)


async def note(job_id: int, text: str) -> None:
    """Inside a unit: have the job's card say something beside its state."""
    await Job.filter(id=job_id).update(note=text, revision=F("revision") + 1)
    after_commit(partial(queue.ring, job_id))


async def free_lane(job_id: int) -> None:
    """Inside a unit: let go of a lane that an ended job still held, once the process behind it is gone."""
    holding = Job.filter(id=job_id, completed_at__isnull=False, running_lock__isnull=False)
    if await holding.update(running_lock=None):
        await _wake_who_waits(await Job.get(id=job_id))


def sources_of(target: JobStatus) -> list[JobStatus]:
    """The states from which `target` can be reached."""
    return [source for source, targets in TRANSITIONS.items() if target in targets]


async def _kept_repository(job: Job) -> Repository | None:
    """The job's repository, whose lane stays what it is until the commit (PostgreSQL)."""
    return await Repository.filter(id=job.repository_id).select_for_update(no_key=True).first()


async def _say_what_does_not_follow(job: Job) -> None:
    kinds = [step["kind"].replace("_", " ") for step in job.follow_ups]
    sentence = f"{' and '.join(kinds).capitalize()} did not run."
    job.error_message = " ".join(filter(None, (job.error_message, sentence)))
    await Job.filter(id=job.id).update(error_message=job.error_message)


async def _tell_chain(job: Job) -> None:
    """The card of a chain is that of its first job, and shows where each step stands."""
    if job.parent_id is None:
        return
    await _show_card_anew(job.parent_id)


async def _show_card_anew(job_id: int) -> None:
    """The revision tells who is at the card with what it said before that this is not the last word."""
    await Job.filter(id=job_id).update(revision=F("revision") + 1)
    await threads.reopen_card(job_id)
    after_commit(partial(queue.ring, job_id))


async def _move(job_id: int, attempt: int, target: JobStatus, columns: Mapping[str, Any]) -> None:
    movable = Job.filter(id=job_id, attempt=attempt, status__in=sources_of(target))
    if not await movable.update(status=target, revision=F("revision") + 1, **columns):
        raise _stale(job_id, attempt, target)
    after_commit(partial(queue.ring, job_id))


async def _note_late(job_id: int, attempt: int, ending: Ending) -> None:
    given_up = Job.filter(id=job_id, attempt=attempt, status=FAILED, error_code=HOST_LOST, late_status__isnull=True)
    columns = {} if ending.keep_lane else {"running_lock": None}
    if not await given_up.update(late_status=ending.status, revision=F("revision") + 1, **columns):
        raise StaleMoveError(
            f"Job {job_id}, attempt {attempt}, can't become {ending.status}: it has been moved already."
        )
    job = await Job.get(id=job_id)
    await threads.reopen_thread(job)
    await _wake_who_waits(job)
    after_commit(partial(queue.ring, job_id))


async def _wake_who_waits(job: Job) -> None:
    """The job's host has a slot again; a lane is shared by hosts where they use one repository."""
    waiting = Job.filter(lane=job.lane, status=PENDING) if job.lane else Job.filter(host=job.host, status=PENDING)
    hosts = await waiting.distinct().values_list("host", flat=True)
    for host in {job.host, *map(str, hosts)}:
        after_commit(partial(queue.wake_host, host))


def _stale(job_id: int, attempt: int, target: JobStatus) -> StaleMoveError:
    return StaleMoveError(f"Job {job_id}, attempt {attempt}, can't become {target}: it has been moved already.")
