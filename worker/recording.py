"""Recording runs: what they say while they run, and how they ended. All writes of a worker's runs go through here."""

import asyncio
import os
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import structlog

from jobs import archives, lifecycle, log_store
from jobs.claim import Claimant
from jobs.clock import now
from jobs.database.connection import CAUSES
from jobs.database.unit import unit
from jobs.lifecycle import Ending, StaleMoveError
from jobs.models import Job, Repository
from jobs.secrets import HostKey
from jobs.settings import Settings
from jobs.view import JobStatus
from worker import supervision
from worker.archive_search import CannotAskError, find_archive
from worker.ending import RESULT_UNREADABLE, Conclusion, conclude, found_archive, vanished
from worker.following import Following
from worker.preparation import CannotPrepareError
from worker.run_directory import Exit, ExitReason, RunDirectory, RunState

RETRY_START_AFTER = timedelta(seconds=30)
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

    async def tick(self, followings: Collection[Following]) -> None:
        """Store the news of all runs in one transaction."""
        async with self._storing:
            for following in followings:
                await following.look()
            news = [following for following in followings if following.has_news]
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
        await self._end(following, conclusion)

    async def put_back(self, job: Job, directory: RunDirectory, *, hindrance: str | None = None) -> None:
        """Have a job claimed anew whose run never started. The refused directory stays: a late starter must find it."""
        if not await asyncio.to_thread(supervision.refuse, directory):
            return
        # What hindered this start would hinder the next one in the same instant.
        not_before = now() + RETRY_START_AFTER if hindrance else None
        try:
            await unit(partial(lifecycle.put_back, job.id, job.attempt, not_before=not_before, reason=hindrance))
        except StaleMoveError:
            _log.warning("job_was_moved_elsewhere")

    async def end_unprepared(self, job: Job, error: CannotPrepareError) -> None:
        """End a claimed job that can't be run as it stands."""
        await unit(partial(_end_unprepared, job, error))

    async def _conclude(self, following: Following, record: Exit | None) -> Conclusion:
        """From the exit record; without one, or without a readable result, the repository knows more."""
        conclusion = vanished(following) if record is None else await asyncio.to_thread(conclude, following, record)
        repository = await following.job.get_repository()
        unknown = record is None or conclusion.ending.error_code == RESULT_UNREADABLE
        if not unknown or not following.kind.makes_archive or repository is None:
            return conclusion
        borg, key = self._identity.settings.borg, self._identity.key
        try:
            archive = await find_archive(borg, repository, following.run, key)
        except CannotAskError:
            if await asyncio.to_thread(_is_hopeless, following.directory):
                return conclusion
            raise
        return found_archive(following, archive) if archive else conclusion

    async def _store_rest(self, following: Following) -> None:
        async with self._storing:
            while True:
                await unit(following.store)  # first: what waits already keeps the next from being read
                following.stored()
                if not await following.look():
                    break
            following.say(await asyncio.to_thread(following.reader.read_last_line))
            following.reached_the_end()

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


def hindrance_of(reason: str) -> str:
    return f"The last start was hindered: {reason}. Look at the disk and the data directory of the host."


def _is_hopeless(directory: RunDirectory) -> bool:
    return time.time() - directory.path.stat().st_mtime > ASKED_FOR_S


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
