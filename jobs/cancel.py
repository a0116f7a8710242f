"""Asking for a job's end. A pending job ends at once; a running one when its host has stopped it."""

from functools import partial

from tortoise.expressions import F

from jobs import audit, lifecycle, queue
from jobs.access import Principal, Role
from jobs.database.unit import after_commit, unit
from jobs.errors import NotFoundError
from jobs.lifecycle import Ending, StaleMoveError
from jobs.models import Job
from jobs.types import JOB_TYPES
from jobs.view import JobStatus


async def cancel(job_id: int, principal: Principal, *, origin: str, asked_in: str | None = None) -> Job:
    """Ask for the end of a job and return it as it is then; an ended one stays as it is.

    Raises `NotFoundError`, or `ForbiddenError` when the asker lacks the right to run such a job.
    """
    job = await Job.get_or_none(id=job_id)
    if job is None:
        raise NotFoundError(f"There is no job #{job_id}.")
    kind = JOB_TYPES.get(job.kind)
    principal.require(kind.role if kind else Role.ADMINISTER, job.repository_name, asked_in)
    if JobStatus(job.status).final:
        return job
    try:
        return await unit(partial(_cancel, job_id, principal, origin))
    except StaleMoveError:
        return await cancel(job_id, principal, origin=origin, asked_in=asked_in)


async def _cancel(job_id: int, principal: Principal, origin: str) -> Job:
    # Locked: a job that is claimed after this look would else be ended while its run starts (PostgreSQL).
    job = await Job.filter(id=job_id).select_for_update().get()
    await audit.record(principal, "job.cancel", origin=origin, target=job.repository_name, job_id=job_id)
    unasked = Job.filter(id=job_id, cancel_requested_by__isnull=True)
    await unasked.update(cancel_requested_by=principal.subject, revision=F("revision") + 1)
    if job.status == JobStatus.PENDING:
        return await lifecycle.end(job_id, job.attempt, Ending(JobStatus.CANCELLED))
    after_commit(partial(queue.wake_host, job.host))
    after_commit(partial(queue.ring, job_id))
    return await Job.get(id=job_id)
