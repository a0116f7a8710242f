"""Recording runs: what they say while they run, and how they ended. All writes of a worker's runs go through here."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import structlog

from jobs import archives, lifecycle, log_store
from jobs.claim import Claimant
from jobs.clock import now
from jobs.database.unit import unit
from jobs.lifecycle import Ending, StaleMoveError
from jobs.models import Job, Repository
from jobs.secrets import HostKey
from jobs.settings import Settings
from jobs.view import JobStatus
from worker import supervision
from worker.archive_search import find_archive
from worker.ending import Conclusion, conclude, found_archive, vanished
from worker.following import Following
from worker.preparation import CannotPrepareError
from worker.run_directory import ExitReason, RunDirectory, RunState

RETRY_START_AFTER = timedelta(seconds=30)

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

    async def tick(self, followings: Collection[Following]) -> None:
        """Store the news of all runs in one transaction."""
        async with self._storing:
            for following in followings:
                await following.look()
            news = [following for following in followings if following.has_news]
            if news:
                await unit(partial(_store_all, news))
                for following in news:
                    following.stored()

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
            hindered = record is not None and record.errno is not None
            await self.put_back(following.job, directory, later=hindered)
            return
        await self._store_rest(following)
        if record is not None:
            conclusion = await asyncio.to_thread(conclude, following, record)
        else:
            conclusion = await self._conclude_vanished(following)
        await self._end(following, conclusion)

    async def put_back(self, job: Job, directory: RunDirectory, *, later: bool = False) -> None:
        """Have a job claimed anew whose run never started. The refused directory stays: a late starter must find it."""
        if not await asyncio.to_thread(supervision.refuse, directory):
            return
        # What hindered this start would hinder the next one in the same instant.
        not_before = now() + RETRY_START_AFTER if later else None
        try:
            await unit(partial(lifecycle.put_back, job.id, job.attempt, not_before=not_before))
        except StaleMoveError:
            _log.warning("job_was_moved_elsewhere")

    async def end_unprepared(self, job: Job, error: CannotPrepareError) -> None:
        """End a claimed job that can't be run as it stands."""
        await unit(partial(_end_unprepared, job, error))

    async def _conclude_vanished(self, following: Following) -> Conclusion:
        repository = await following.job.get_repository()
        if following.kind.makes_archive and repository is not None:
            borg, key = self._identity.settings.borg, self._identity.key
            if archive := await find_archive(borg, repository, following.run, key):
                return found_archive(following, archive)
        return vanished(following)

    async def _store_rest(self, following: Following) -> None:
        async with self._storing:
            while await following.look():
                await unit(following.store)
                following.stored()
            following.say(await asyncio.to_thread(following.reader.read_last_line))

    async def _end(self, following: Following, conclusion: Conclusion) -> None:
        borg_alive = await asyncio.to_thread(following.directory.borg_alive)
        try:
            async with self._storing:
                following.say(conclusion.footer.encode())
                await unit(partial(_end_job, following, conclusion, keep_lane=borg_alive))
                following.stored()
        except StaleMoveError:
            _log.warning("job_was_ended_elsewhere")
        if not borg_alive:
            await asyncio.to_thread(following.directory.remove)


async def _store_all(followings: Collection[Following]) -> None:
    for following in followings:
        await following.store()


async def _end_job(following: Following, conclusion: Conclusion, *, keep_lane: bool) -> None:
    job, result = following.job, conclusion.result
    await following.store_text()
    await lifecycle.end(job.id, job.attempt, replace(conclusion.ending, keep_lane=keep_lane))
    if result is None or job.repository_id is None:
        return
    if result.archive is not None:
        await archives.record(job.repository_id, job.id, result.archive)
    if result.repository:
        await Repository.filter(id=job.repository_id).update(**result.repository)


async def _end_unprepared(job: Job, error: CannotPrepareError) -> None:
    log = f"{error.header}Locutus: borg did not run. {error.sentence}\n"
    await log_store.append(job.id, await log_store.position(job.id), log.encode())
    ending = Ending(JobStatus.FAILED, error_code=error.code, error_message=error.sentence)
    await lifecycle.end(job.id, job.attempt, ending)
