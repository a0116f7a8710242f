"""Forgetting a job whose host is gone: an administrator decides what a silence can't, that nobody will come back."""

from functools import partial

from jobs import audit, hosts, lifecycle
from jobs.access import Principal, Role
from jobs.clock import now
from jobs.database.unit import unit
from jobs.errors import ConflictError, NotFoundError
from jobs.lifecycle import HOST_LOST
from jobs.models import Host, Job
from jobs.view import JobStatus


async def forget(job_id: int, principal: Principal, *, origin: str) -> Job:
    """End a running job of a host that is gone and free its lane, or the lane that an ended one still holds.

    Returns the job as it is then; one that was forgotten already stays as it is. Raises `NotFoundError`,
    `ForbiddenError` without the right to administer, `ConflictError` where its host may still tell of it.
    """
    job = await Job.get_or_none(id=job_id)
    if job is None:
        raise NotFoundError(f"There is no job #{job_id}.")
    principal.require(Role.ADMINISTER, job.repository_name)
    return await unit(partial(_forget, job_id, principal, origin))


async def _forget(job_id: int, principal: Principal, origin: str) -> Job:
    job = await Job.filter(id=job_id).select_for_update().get()
    if job.status == JobStatus.PENDING:
        raise ConflictError(f"Job #{job_id} has not started: cancel it instead.")
    ended = job.status != JobStatus.RUNNING
    if ended and job.running_lock is None:
        if job.error_code == HOST_LOST:
            return job
        raise ConflictError(f"Job #{job_id} has ended and holds nothing.")
    silence = await _silence(job)
    await audit.record(principal, "job.forget", origin=origin, target=job.repository_name, job_id=job_id)
    if ended:
        await lifecycle.free_lane(job_id)
    else:
        reason = f"Given up by {principal.subject}: {silence}. What became of its run is unknown."
        await hosts.give_up(job_id, job.attempt, reason, keep_lane=False)
    return await Job.get(id=job_id)


async def _silence(job: Job) -> str:
    """Why nothing more will be heard of the job; raises `ConflictError` where something may."""
    host = await Host.get_or_none(name=job.host)
    if host is None:
        return f"its host {job.host} is not known any more"
    if host.data_directory_id != job.data_directory_id:
        return f"another data directory has taken over the name of its host {job.host}"
    if host.last_seen_at is None:
        return f"its host {job.host} was never heard of"
    if hosts.is_silent(host):
        return f"its host {job.host} has been silent since {host.last_seen_at:%Y-%m-%d %H:%M} UTC"
    heard_s = max(0, round((now() - host.last_seen_at).total_seconds()))
    then = "Cancel it instead." if job.status == JobStatus.RUNNING else "It frees by itself what the job still holds."
    raise ConflictError(f"Job #{job.id} can't be forgotten: its host was heard of {heard_s} s ago. {then}")
