"""Every run of this host: claimed, started, followed, adopted after a restart, and recorded once it has ended.

A run outlives this process: what is cancelled here at a stop is only the following. What can't be finished now (the
database is away, say) leaves its run directory, which the next sweep adopts.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from jobs import archives, hosts, lifecycle, log_store
from jobs.claim import Claimant, claim_next
from jobs.clock import now
from jobs.database.unit import reader, unit
from jobs.lifecycle import Ending, StaleMoveError
from jobs.models import Job, Repository
from jobs.secrets import HostKey
from jobs.settings import Settings
from jobs.types import job_type
from jobs.view import JobStatus
from worker import supervision
from worker.archive_search import find_archive
from worker.borg_version import borg_version
from worker.ending import Conclusion, conclude, found_archive, vanished
from worker.following import LOG_START, Following
from worker.preparation import CannotPrepareError, Preparation, prepare, run_of
from worker.run_directory import ExitReason, RunDirectory, RunState
from worker.scan import scan

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


class HostRuns:
    """The runs of one worker; `run` owns their tasks."""

    def __init__(self, identity: HostIdentity) -> None:
        self._identity = identity
        self._settings = identity.settings
        self._active: dict[int, Following | None] = {}
        self._claiming = asyncio.Lock()
        self._storing = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Store the progress of all runs at each tick, until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            await self.sweep()
            while True:
                await asyncio.sleep(self._settings.progress_interval.total_seconds())
                await self._guarded("tick", self._tick())

    async def claim(self) -> None:
        """Take every pending job that may run here now, and pass on what people want cancelled."""
        await self._cancel_requested()
        async with self._claiming:
            while job := await claim_next(self._identity.claimant):
                self._own(job.id, self._start(job))

    async def sweep(self) -> None:
        """Adopt what earlier workers left, put back what never started, take what waits, and show that this host
        lives.
        """
        await hosts.seen(self._settings.host)
        await borg_version(self._settings.borg)
        async with self._claiming:
            await self._adopt_directories()
            await self._settle_unstarted()
            await self._free_lanes()
        await self.claim()

    def _own(self, job_id: int, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            work.close()
            return
        self._active[job_id] = None
        self._tasks.create_task(self._owned(job_id, work))

    async def _owned(self, job_id: int, work: Coroutine[Any, Any, None]) -> None:
        with structlog.contextvars.bound_contextvars(job_id=job_id):
            try:
                await self._guarded("run", work)
            finally:
                self._active.pop(job_id, None)
        await self._guarded("claim", self.claim())

    async def _guarded(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - named edge: one run's trouble must not end the others; the sweep repairs
            _log.exception("worker_step_failed", step=what)

    async def _start(self, job: Job) -> None:
        directory = RunDirectory.of(self._settings.runs, job.id, job.attempt)
        try:
            preparation = await prepare(job, self._settings.borg, self._identity.key)
        except CannotPrepareError as error:
            await unit(partial(_end_unprepared, job, error))
            return
        following = Following(job, job_type(job.kind), preparation.run, directory)
        try:
            log_start = await following.begin()
            await asyncio.to_thread(_launch, directory, preparation, log_start)
        except supervision.AlreadyStartedError:
            return
        except OSError as error:
            _log.warning("run_not_started", reason=str(error))
            await self._put_back(job, directory, later=True)
            return
        await self._follow(following)

    async def _follow(self, following: Following) -> None:
        self._active[following.job.id] = following
        scanning = asyncio.create_task(self._find_totals(following))
        try:
            await supervision.ended(following.directory)
        finally:
            following.scan_stop.set()
            await asyncio.gather(scanning, return_exceptions=True)
        await self._record(following)

    async def _find_totals(self, following: Following) -> None:
        if not following.kind.makes_archive or following.job.repository_id is None:
            return
        following.totals = await archives.previous_totals(following.job.repository_id)
        if following.totals is None:
            sources = following.run.target.source_directories
            following.totals = await asyncio.to_thread(scan, sources, following.scan_stop)

    async def _record(self, following: Following) -> None:
        directory = following.directory
        state = await asyncio.to_thread(directory.state)
        if state in {RunState.STARTING, RunState.RUNNING}:
            return
        if state is RunState.ORPHAN:
            await supervision.end_orphan(directory)
        record = await asyncio.to_thread(directory.exit)
        if state is RunState.NEVER_STARTED or (record and record.reason is ExitReason.NOT_STARTED):
            hindered = record is not None and record.errno is not None
            await self._put_back(following.job, directory, later=hindered)
            return
        await self._store_rest(following)
        if record is not None:
            conclusion = await asyncio.to_thread(conclude, following, record)
        else:
            conclusion = await self._conclude_vanished(following)
        await self._end(following, conclusion)

    async def _conclude_vanished(self, following: Following) -> Conclusion:
        repository = await following.job.get_repository()
        if following.kind.makes_archive and repository is not None:
            archive = await find_archive(self._settings.borg, repository, following.run, self._identity.key)
            if archive is not None:
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

    async def _put_back(self, job: Job, directory: RunDirectory, *, later: bool = False) -> None:
        if not await asyncio.to_thread(supervision.refuse, directory):
            return
        # What hindered this start would hinder the next one in the same instant.
        not_before = now() + RETRY_START_AFTER if later else None
        try:
            await unit(partial(lifecycle.put_back, job.id, job.attempt, not_before=not_before))
        except StaleMoveError:
            _log.warning("job_was_moved_elsewhere")
        await asyncio.to_thread(directory.remove)

    async def _tick(self) -> None:
        async with self._storing:
            followings = [following for following in self._active.values() if following is not None]
            for following in followings:
                await following.look()
            news = [following for following in followings if following.has_news]
            if news:
                await unit(partial(_store_all, news))
                for following in news:
                    following.stored()

    async def _adopt_directories(self) -> None:
        for directory in await asyncio.to_thread(_directories, self._settings):
            if directory.job_id in self._active:
                continue
            job = await Job.get_or_none(id=directory.job_id)
            if job is not None and job.status == JobStatus.RUNNING and job.attempt == directory.attempt:
                self._own(job.id, self._adopt(job, directory))
            elif not await asyncio.to_thread(_in_use, directory):
                await asyncio.to_thread(directory.remove)

    async def _adopt(self, job: Job, directory: RunDirectory) -> None:
        repository = await job.get_repository()
        if repository is None:
            repository = Repository(name=job.repository_name or "", location="")
        following = Following(job, job_type(job.kind), run_of(job, repository), directory)
        await following.resume()
        await self._follow(following)

    async def _settle_unstarted(self) -> None:
        mine = Job.filter(host=self._settings.host, status=JobStatus.RUNNING, data_directory_id=self._identity.key.id)
        for job in await mine:
            directory = RunDirectory.of(self._settings.runs, job.id, job.attempt)
            if job.id not in self._active and not await asyncio.to_thread(directory.path.exists):
                await self._put_back(job, directory)

    async def _free_lanes(self) -> None:
        held = Job.filter(host=self._settings.host, completed_at__isnull=False, running_lock__isnull=False)
        for job in await held.using_db(reader()):
            directory = RunDirectory.of(self._settings.runs, job.id, job.attempt)
            if not await asyncio.to_thread(directory.borg_alive):
                await unit(partial(lifecycle.free_lane, job.id))

    async def _cancel_requested(self) -> None:
        wanted = Job.filter(id__in=list(self._active), cancel_requested_by__isnull=False, status=JobStatus.RUNNING)
        for job in await wanted if self._active else []:
            directory = RunDirectory.of(self._settings.runs, job.id, job.attempt)
            await asyncio.to_thread(supervision.cancel, directory, job.cancel_requested_by or "")


async def _store_all(followings: list[Following]) -> None:
    for following in followings:
        await following.store()


async def _end_job(following: Following, conclusion: Conclusion, *, keep_lane: bool) -> None:
    job, result = following.job, conclusion.result
    await following.store_text()
    ending = conclusion.ending
    await lifecycle.end(job.id, job.attempt, replace(ending, keep_lane=keep_lane))
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


def _launch(directory: RunDirectory, preparation: Preparation, log_start: int) -> None:
    directory.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory.path / LOG_START).write_text(str(log_start))
    with directory.log.open("ab") as log:
        log.write(preparation.header.encode())
    supervision.start(directory, preparation.specification, preparation.environment, preparation.secret)


def _directories(settings: Settings) -> list[RunDirectory]:
    settings.runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    return list(RunDirectory.all_in(settings.runs))


def _in_use(directory: RunDirectory) -> bool:
    return directory.supervised() or directory.borg_alive()
