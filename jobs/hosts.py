"""Hosts: a worker publishes its key under its host's name and shows that it lives; jobs of a gone one are given up."""

from datetime import timedelta
from functools import partial

from jobs import lifecycle
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import HOST_LOST, Ending
from jobs.models import Host, Job
from jobs.secrets import HostKey
from jobs.view import JobStatus

SILENT_AFTER = timedelta(seconds=45)
LONGEST_BEAT = timedelta(seconds=10)


class HostTakenError(Exception):
    """Another data directory has this host name: two machines under one name would judge each other's jobs."""


async def register(name: str, key: HostKey, *, max_jobs: int, borg_version: str | None, replace: bool = False) -> None:
    """Publish the host's public key; raises `HostTakenError` when the name belongs to another key and `replace` is not
    set. With it the jobs that run under the other key are given up; they keep their lanes.
    """
    await unit(partial(_register, name, key, {"max_jobs": max_jobs, "borg_version": borg_version}, replace=replace))


def beat_every(host_lost_after: timedelta) -> timedelta:
    """How often a worker says that it lives, so that neither silence nor loss is assumed between two beats."""
    return min(LONGEST_BEAT, host_lost_after / 4)


async def seen(name: str, data_directory_id: str) -> None:
    """Note that the host's worker lives; nothing where another data directory has taken the name over."""
    await Host.filter(name=name, data_directory_id=data_directory_id).update(last_seen_at=now())


def is_silent(host: Host) -> bool:
    """Whether nothing was heard of the host's worker for 45 seconds, by the wall clocks of both."""
    return host.last_seen_at is None or now() - host.last_seen_at > SILENT_AFTER


async def give_up(job_id: int, attempt: int, reason: str, *, keep_lane: bool) -> bool:
    """Inside a unit: end a running job as `failed`, `host_lost`; False where that attempt does not run any more.

    `reason` says why nothing more will be heard of it, unless its host returns.
    """
    running = Job.filter(id=job_id, attempt=attempt, status=JobStatus.RUNNING)
    # Looked at under a lock: a job that another gave up meanwhile would else count as ended late.
    if await running.select_for_update().first() is None:
        return False
    ending = Ending(JobStatus.FAILED, error_code=HOST_LOST, error_message=reason, keep_lane=keep_lane)
    await lifecycle.end(job_id, attempt, ending)
    return True


def if_gone_for_good(job_id: int) -> str:
    """What an administrator can do about a job whose host will not return."""
    return f"If it is gone for good: `locutus jobs forget {job_id}`."


async def _register(name: str, key: HostKey, columns: dict[str, object], *, replace: bool) -> None:
    await Host.get_or_create(name=name)
    # Locked, as a claim does it: no job is claimed under the old key after its jobs were given up (PostgreSQL).
    host = await Host.filter(name=name).select_for_update().get()
    if host.data_directory_id not in {None, key.id}:
        if not replace:
            raise HostTakenError(
                f"The host name {name} belongs to another data directory ({host.data_directory_id}, this one is "
                f"{key.id}). Set LOCUTUS_HOST to another name, or start with --replace-host if this one takes over."
            )
        await _give_up_replaced(host)
    host.update_from_dict({**columns, "data_directory_id": key.id, "public_key": key.public, "last_seen_at": now()})
    await host.save()


async def _give_up_replaced(host: Host) -> None:
    for job in await Job.filter(host=host.name, data_directory_id=host.data_directory_id, status=JobStatus.RUNNING):
        reason = (
            f"Another data directory has taken over the host name {host.name}; what became of the run in the old one "
            f"is unknown. {if_gone_for_good(job.id)}"
        )
        await give_up(job.id, job.attempt, reason, keep_lane=True)
