"""Asking for a job's end. A pending job ends at once; a running one when its host has stopped it."""

from functools import partial

from tortoise.expressions import F

from jobs import audit, lifecycle, queue
from jobs.access import Principal, Role
from jobs.chain import unfinished_step
from jobs.database.unit import after_commit, unit
from jobs.errors import ConflictError, NotFoundError
from jobs.lifecycle import Ending, StaleMoveError
from jobs.models import Job
from jobs.types import JOB_TYPES
from jobs.view import JobStatus, Progress


async def cancel(job_id: int, principal: Principal, *, origin: str, asked_in: str | None = None) -> Job:
    """Ask for the end of a job and return it as it is then; one that is cancelled already stays as it is.

    What was to follow it does not run then. Of a chain whose first job has ended, the step that goes on is meant.

    Raises `NotFoundError`, `ForbiddenError` when the asker lacks the right to run such a job, `ConflictError` when the
    job has ended otherwise, or can't be cancelled any more.
    """
    job = await Job.get_or_none(id=job_id)
    if job is None:
        raise NotFoundError(f"There is no job #{job_id}.")
    kind = JOB_TYPES.get(job.kind)
    principal.require(kind.role if kind else Role.ADMINISTER, job.repository_name, asked_in)
    if job.status == JobStatus.CANCELLED:
        return job
    if JobStatus(job.status).final:
        step = await unfinished_step(job)
        if step is None:
            raise ConflictError(f"Job #{job_id} has ended already: it is {job.status}.")
        job = step
    try:
        return await unit(partial(cancel_within, job.id, principal, origin))
    except StaleMoveError:
        return await cancel(job_id, principal, origin=origin, asked_in=asked_in)


async def cancel_within(job_id: int, principal: Principal, origin: str) -> Job:
    """Inside a unit: ask for the end of this very job, for who may.

    Raises `StaleMoveError` when it has ended meanwhile, `ConflictError` when it can't be cancelled any more.
    """
    # Locked: a job that is claimed after this look would else be ended while its run starts (PostgreSQL).
    job = await Job.filter(id=job_id).select_for_update().get()
    if JobStatus(job.status).final:
        raise StaleMoveError(f"Job {job_id} has ended meanwhile.")
    _require_cancellable(job)
    await audit.record(principal, "job.cancel", origin=origin, target=job.repository_name, job_id=job_id)
    unasked = Job.filter(id=job_id, cancel_requested_by__isnull=True)
    await unasked.update(cancel_requested_by=principal.subject, revision=F("revision") + 1)
    if job.status == JobStatus.PENDING:
        return await lifecycle.end(job_id, job.attempt, Ending(JobStatus.CANCELLED))
    after_commit(partial(queue.wake_host, job.host))
    after_commit(partial(queue.ring, job_id))
    return await Job.get(id=job_id)


def _require_cancellable(job: Job) -> None:
    kind = JOB_TYPES.get(job.kind)
    if job.status != JobStatus.RUNNING or kind is None or kind.cancellable(Progress.model_validate(job.progress)):
        return
    raise ConflictError(
        f"Job #{job.id} can't be cancelled any more: {kind.words.noun.lower()} {kind.words.preposition} "
        f"{job.repository_name or job.host}: {kind.too_late}. Wait for its end."
    )
