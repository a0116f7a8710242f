"""Recording runs: what they say while they run, and how they ended. All writes of a worker's runs go through here."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from jobs import archives, lanes, lifecycle, log_store, packages
from jobs.borg.statistics import ArchiveStatistics
from jobs.claim import Claimant
from jobs.clock import now
from jobs.database.connection import CAUSES
from jobs.database.unit import unit
from jobs.job_type import Result
from jobs.lifecycle import Ending, StaleMoveError
from jobs.models import Job, Repository
from jobs.secrets import HostKey
from jobs.settings import Settings
from jobs.types.list_archives import ListArchives
from jobs.view import JobStatus, Progress
from worker import archive_listing, supervision
from worker.archive_search import CannotAskError, find_archive
from worker.ending import (
    RESULT_UNREADABLE,
    Conclusion,
    NextTry,
    called_off,
    conclude,
    found_archive,
    next_try,
    tried_out,
    vanished,
    with_lock,
)
from worker.explanation import explained
from worker.following import Following
from worker.lock_check import STILL_IN_USE, LockReport, check_lock
from worker.preparation import CannotPrepareError
from worker.repository_identity import identity_of
from worker.run_directory import Exit, ExitReason, RunDirectory, RunState

START_AGAIN_AFTER, START_AGAIN_WITHIN = timedelta(seconds=30), timedelta(hours=1)
CLOCKS_DIFFER = timedelta(hours=1)
"""By how much the clocks of a host and of the gateway may differ, at most."""
MADE_BEFORE = "An earlier attempt came further than it could tell"
ENDED_FROM_OUTSIDE = "borg was ended from outside"
ASKED_FOR_S = 3600.0
"""How long a repository that can't be asked for an archive is asked again, at each sweep."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """Who runs jobs here."""

    settings: Settings
    key: HostKey

    @property
    def claimant(self) -> Claimant:
        """As the claim sees this host."""
        return Claimant(self.settings.host, self.key.id, self.settings.max_jobs)

    def directory(self, job: Job) -> RunDirectory:
        """Where the job's present attempt leaves its traces."""
        return RunDirectory.of(self.settings.runs, job.id, job.attempt)


class Recorder:
    """Stores what this worker's runs say; one at a time, so that no text is stored twice."""

    def __init__(self, identity: HostIdentity) -> None:
        self._identity = identity
        self._storing = asyncio.Lock()
        self._asked_since_s: dict[RunDirectory, float] = {}
        self._chance = random.SystemRandom()

    async def tick(self, followings: Collection[Following]) -> None:
        """Store the news of all runs in one transaction."""
        async with self._storing:
            news = [following for following in followings if await _looked(following) and following.has_news]
            try:
                await unit(partial(_store_all, news))
            except CAUSES:
                await self._store_each(news)
            else:
                for following in news:
                    following.stored()

    async def _store_each(self, news: Collection[Following]) -> None:
        """One run's trouble must not keep the others' news from being stored."""
        for following in news:
            try:
                await unit(following.store)
                following.stored()
            except CAUSES:
                _log.warning("news_not_stored", job_id=following.job.id, exc_info=True)
                await following.resynchronise()

    async def record(self, following: Following) -> None:
        """Record how a run ended whose supervisor is gone; one that turns out to be alive is left to the next sweep."""
        directory = following.directory
        state = await asyncio.to_thread(directory.state)
        if state in {RunState.STARTING, RunState.RUNNING}:
            return
        if state is RunState.ORPHAN:
            await supervision.end_orphan(directory)
        record = await asyncio.to_thread(directory.exit)
        if state is RunState.NEVER_STARTED or (record and record.reason is ExitReason.NOT_STARTED):
            number = record.errno if record else None
            await self.put_back(
                following.job, directory, hindrance=hindrance_of(os.strerror(number)) if number else None
            )
            return
        await self._store_rest(following)
        try:
            conclusion = await self._conclude(following, record)
        except CannotAskError as error:
            _log.warning("archive_not_asked_for", job_id=following.job.id, reason=str(error))
            return
        if repository := await following.job.get_repository():
            conclusion = await explained(self._identity.settings, repository, conclusion)
        if conclusion.stopped or state is RunState.ORPHAN:
            conclusion = await self._with_lock(following, conclusion)
        await self.settle(following, await self._with_identity(following, conclusion))

    async def put_back(self, job: Job, directory: RunDirectory, *, hindrance: str | None = None) -> None:
        """Have a job claimed anew whose run never started. The refused directory stays: a late starter must find it.

        `hindrance` is what kept the caller's own start from happening.
        """
        if not await asyncio.to_thread(_refused, directory, hindered=hindrance is not None):
            return
        # What hindered this start, or keeps supervisors from beginning, would do so in the next instant too.
        delay = start_delay(job.attempt if hindrance else job.attempt - 1)
        not_before = now() + delay if delay else None
        try:
            await unit(partial(lifecycle.put_back, job.id, job.attempt, not_before=not_before, reason=hindrance))
        except StaleMoveError:
            _log.warning("job_was_moved_elsewhere")

    async def end_unprepared(self, job: Job, error: CannotPrepareError) -> None:
        """End a claimed job that can't be run as it stands."""
        await unit(partial(_end_unprepared, job, error))

    async def newest(self, following: Following) -> Progress:
        """How far a run is at this moment."""
        async with self._storing:
            await following.look()
        return following.progress

    async def find(self, following: Following) -> ArchiveStatistics | None:
        """The archive of the job, where its repository has it; raises `CannotAskError`."""
        repository = await following.job.get_repository()
        if repository is None or not following.kind.makes_archive:
            return None
        archive = await find_archive(self._identity.settings, repository, following.run, self._identity.key)
        older = archive is not None and archive.started_at < following.job.created_at - CLOCKS_DIFFER
        return None if older else archive  # somebody else's, of the same name

    async def settle(self, following: Following, conclusion: Conclusion) -> None:
        """End the job; or put it back for another try, where its failure may pass by itself."""
        job, directory = await Job.get(id=following.job.id), following.directory
        borg_alive = await asyncio.to_thread(directory.borg_alive)
        given_up = job.status != JobStatus.RUNNING  # with its host, while this worker did not reach the database
        policy = following.kind.retry
        again = None if given_up else next_try(job, policy, conclusion, now(), self._chance.random())
        if again is None:
            ended = tried_out(job, conclusion)
            await self._move(following, ended.footer, partial(_end_job, following, ended, keep_lane=borg_alive))
        elif borg_alive:
            return  # the repository is in use until then: the next sweep looks again
        else:
            await self._move(following, again.footer, partial(_put_back, following, again))
        self._asked_since_s.pop(directory, None)
        if not borg_alive:
            await asyncio.to_thread(_remove, directory)

    async def _conclude(self, following: Following, record: Exit | None) -> Conclusion:
        """From the exit record; without one, or without a readable result, the repository knows more."""
        conclusion = await self._without_archive(following, record)
        by = "Worker restarted" if record is None else _doubt(following.job, conclusion)
        if not by:
            return conclusion
        try:
            archive = await self.find(following)
        except CannotAskError:
            since_s = self._asked_since_s.setdefault(following.directory, time.monotonic())
            enough = by == ENDED_FROM_OUTSIDE or conclusion.ending.status is JobStatus.CANCELLED
            if enough or time.monotonic() - since_s > ASKED_FOR_S:
                return conclusion
            raise
        return found_archive(following, archive, by=by) if archive else conclusion

    async def _without_archive(self, following: Following, record: Exit | None) -> Conclusion:
        if record is not None:
            return await asyncio.to_thread(conclude, following, record)
        job = await Job.get(id=following.job.id)
        return called_off(following) if job.cancel_requested_by else vanished(following)

    async def _with_lock(self, following: Following, conclusion: Conclusion) -> Conclusion:
        repository = await following.job.get_repository()
        if repository is None:
            return conclusion
        if await asyncio.to_thread(following.directory.borg_alive):
            return with_lock(conclusion, LockReport(STILL_IN_USE, locked=True))
        return with_lock(conclusion, await check_lock(self._identity.settings, repository))

    async def _with_identity(self, following: Following, conclusion: Conclusion) -> Conclusion:
        """With the id of a repository that a run went well in for the first time."""
        result = conclusion.result
        repository = await following.job.get_repository() if result else None
        if result is None or repository is None or repository.borg_id or "borg_id" in result.repository:
            return conclusion
        borg_id = await identity_of(self._identity.settings, repository, self._identity.key)
        known = {"borg_id": borg_id} if borg_id else {}
        return replace(conclusion, result=replace(result, repository={**result.repository, **known}))

    async def _store_rest(self, following: Following) -> None:
        async with self._storing:
            while True:
                await unit(following.store)  # first: what waits already keeps the next from being read
                following.stored()
                if not await following.look():
                    break
            following.say(await asyncio.to_thread(following.reader.read_last_line))
            following.reached_the_end()

    async def _move(self, following: Following, footer: str, move: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._storing:
                following.say(footer.encode())
                await unit(move)
                following.stored()
        except StaleMoveError:
            _log.warning("job_was_ended_elsewhere")


def start_delay(failed_starts: int) -> timedelta:
    """How long until a run that has failed to start so often is started again."""
    if not failed_starts:
        return timedelta()
    doubled: timedelta = START_AGAIN_AFTER * (1 << min(failed_starts, 10) - 1)
    return min(doubled, START_AGAIN_WITHIN)


def hindrance_of(reason: str) -> str:
    return f"The last start was hindered: {reason}. Look at the disk and the data directory of the host."


async def _looked(following: Following) -> bool:
    """Whether the run could be read: one that can't must not keep the news of the others."""
    try:
        await following.look()
    except (OSError, ValueError) as error:
        _log.warning("run_unreadable", job_id=following.job.id, reason=str(error))
        return False
    return True


async def _store_all(followings: Collection[Following]) -> None:
    for following in followings:
        await following.store()


def _doubt(job: Job, conclusion: Conclusion) -> str | None:
    """Why the archive may be there although the run did not tell of it; None where it told enough."""
    if conclusion.ending.error_code == RESULT_UNREADABLE:
        return "The result can't be read"
    if conclusion.ending.error_code == "archive_exists" and job.retries:
        return MADE_BEFORE
    if conclusion.ending.error_code in {"killed", "borg_crashed"}:  # perhaps after its last write
        return ENDED_FROM_OUTSIDE
    return None


def _refused(directory: RunDirectory, *, hindered: bool) -> bool:
    try:
        return supervision.refuse(directory)
    except OSError:
        # A full disk does not take the refusal either; but who was to start this run is the one that asks.
        if hindered and directory.state() is RunState.NEVER_STARTED:
            return True
        raise


def _remove(directory: RunDirectory) -> None:
    with contextlib.suppress(FileNotFoundError):  # borg was not even to be started
        directory.remove()


async def _put_back(following: Following, again: NextTry) -> None:
    job = following.job
    await following.store_text()
    await lifecycle.put_back(job.id, job.attempt, not_before=again.not_before, failure=again.failure)


async def _end_job(following: Following, conclusion: Conclusion, *, keep_lane: bool) -> None:
    job, result = following.job, conclusion.result
    await following.store_text()
    if result is not None and job.repository_id is not None and (borg_id := result.repository.get("borg_id")):
        await lanes.unite(job.repository_id, borg_id)  # first: the end may write a follow-up that refers to the row
    ended = await lifecycle.end(job.id, job.attempt, replace(conclusion.ending, keep_lane=keep_lane))
    if _may_have_removed_more(following, result):
        await lifecycle.add_step(ended, ListArchives.kind)
    if result is None:
        return
    if result.package is not None:
        await packages.record(job, result.package)
    if job.repository_id is not None:
        await _keep(following, result, job.repository_id, ended.completed_at)


def _may_have_removed_more(following: Following, result: Result | None) -> bool:
    """Whether archives may be gone without a result that says which: borg alone knows what a broken run left."""
    broke_before = following.kind.removes_archives and following.job.retries > 0
    return broke_before or (result is None and bool(following.reader.progress.removed))


async def _keep(following: Following, result: Result, repository_id: int, completed_at: datetime | None) -> None:
    """What a success leaves in the repository's row and among its archives."""
    if result.archive is not None:
        await archives.record(repository_id, following.job.id, result.archive)
    if result.removed:
        await archives.forget(repository_id, result.removed)
    if following.kind.lists_archives:
        await archives.replace_listing(repository_id, archive_listing.pages(following.directory.stdout))
    done_at = following.kind.done_at if result.done else None
    columns = dict(result.repository) | ({done_at: completed_at} if done_at else {})
    if columns:
        await Repository.filter(id=repository_id).update(**columns)


async def _end_unprepared(job: Job, error: CannotPrepareError) -> None:
    log = f"{error.header}Locutus: borg did not run. {error.sentence}\n"
    await log_store.append(job.id, await log_store.position(job.id), log.encode())
    ending = Ending(JobStatus.FAILED, error_code=error.code, error_message=error.sentence)
    await lifecycle.end(job.id, job.attempt, ending)
