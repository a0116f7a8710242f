"""What earlier workers of this host left: runs to go on with, jobs that never started, lanes to free."""

import asyncio
import time
from collections.abc import AsyncIterator, Container, MutableMapping
from functools import partial

import structlog

from jobs import lifecycle
from jobs.database.unit import reader, unit
from jobs.models import Job
from jobs.types import job_type
from jobs.view import JobStatus
from worker import supervision
from worker.following import Following
from worker.preparation import START_WITHIN_S, run_of
from worker.recording import HostIdentity, Recorder
from worker.run_directory import ExitReason, RunDirectory, RunState

_log = structlog.get_logger()

KEPT_S = 4 * START_WITHIN_S
"""How long a directory that means nothing any more is kept: a paused starter may still wake up and must find it."""


async def unfollowed(
    identity: HostIdentity, active: Container[int], seen_s: MutableMapping[RunDirectory, float]
) -> AsyncIterator[Following]:
    """The runs that nobody here follows yet; directories of jobs that moved on are removed on the way.

    `seen_s` keeps from sweep to sweep when each of those was first seen, in monotonic seconds.
    """
    found = await asyncio.to_thread(_directories, identity)
    for gone in seen_s.keys() - set(found):
        del seen_s[gone]
    for directory in found:
        if directory.job_id in active:
            continue
        try:
            following = await _adoptable(directory, seen_s)
        except Exception:  # noqa: BLE001 - named edge: one run that can't be read must not keep the others waiting
            _log.exception("leftover_skipped", job_id=directory.job_id)
            continue
        if following is not None:
            yield following


async def put_back_unstarted(identity: HostIdentity, recorder: Recorder, active: Container[int]) -> None:
    """Put back the jobs that this data directory claimed and never even made a directory for."""
    claimed = Job.filter(host=identity.settings.host, status=JobStatus.RUNNING, data_directory_id=identity.key.id)
    for job in await claimed:
        directory = identity.directory(job)
        if job.id not in active and not await asyncio.to_thread(directory.path.exists):
            await recorder.put_back(job, directory)


async def free_lanes(identity: HostIdentity) -> None:
    """Let go of the lanes that ended jobs still hold, once nothing uses the repository any more.

    A job that was given up with this host keeps its lane until its run has been recorded, or turns out to have never
    started.
    """
    mine = Job.filter(host=identity.settings.host, data_directory_id=identity.key.id)
    holding = mine.filter(completed_at__isnull=False, running_lock__isnull=False)
    for job in await holding.using_db(reader()):
        if await asyncio.to_thread(_is_done_with, job, identity.directory(job)):
            await unit(partial(lifecycle.free_lane, job.id))


def is_given_up(job: Job) -> bool:
    """Whether the job was ended because its host was gone, and nobody has yet said what became of its run."""
    return job.status == JobStatus.FAILED and job.error_code == lifecycle.HOST_LOST and job.late_status is None


async def _adoptable(directory: RunDirectory, seen_s: MutableMapping[RunDirectory, float]) -> Following | None:
    job = await Job.get_or_none(id=directory.job_id)
    if job is not None and job.attempt == directory.attempt:
        given_up = is_given_up(job) and await asyncio.to_thread(_was_started, directory)
        if job.status == JobStatus.RUNNING or given_up:
            return await _following(job, directory)
    old = time.monotonic() - seen_s.setdefault(directory, time.monotonic()) > KEPT_S
    if old and await asyncio.to_thread(_is_over, directory):
        await asyncio.to_thread(directory.remove)
        del seen_s[directory]
    return None


async def _following(job: Job, directory: RunDirectory) -> Following:
    following = Following(job, job_type(job.kind), run_of(job, await job.get_repository()), directory)
    await following.resume()
    return following


def _directories(identity: HostIdentity) -> list[RunDirectory]:
    return list(RunDirectory.all_in(identity.settings.runs))


def _was_started(directory: RunDirectory) -> bool:
    found = directory.exit()
    started = found is None or found.reason is not ExitReason.NOT_STARTED
    return started and directory.state() is not RunState.NEVER_STARTED


def _is_done_with(job: Job, directory: RunDirectory) -> bool:
    if is_given_up(job):
        return supervision.refuse(directory)
    return not directory.borg_alive()


def _is_over(directory: RunDirectory) -> bool:
    return not directory.supervised() and not directory.borg_alive()
