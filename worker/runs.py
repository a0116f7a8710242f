"""Every run of this host: claimed, started, followed, adopted after a restart, and recorded once it has ended.

A run outlives this process: what is cancelled here at a stop is only the following. What can't be finished now (the
database is away, say) leaves its run directory, which the next sweep adopts.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from jobs import archives, hosts
from jobs.claim import claim_next
from jobs.database.connection import CAUSES
from jobs.lifecycle import StaleMoveError
from jobs.models import Job
from jobs.types import job_type
from jobs.view import JobStatus
from worker import leftovers, supervision
from worker.archive_search import CannotAskError
from worker.borg_version import borg_version
from worker.ending import found_archive, unasked
from worker.following import LOG_START, Following
from worker.preparation import CannotPrepareError, Preparation, prepare, run_of
from worker.recording import MADE_BEFORE, HostIdentity, Recorder, hindrance_of
from worker.run_directory import RunDirectory
from worker.scan import scan
from worker.ssh_files import publish_missing_keys
from worker.survey import survey

SWEEP_LOOK_S = 15.0
SWEEP_OVERDUE_S = 75.0
DRAIN_LOOK_S = 0.5

T = TypeVar("T")

_log = structlog.get_logger()


class HostRuns:
    """The runs of one worker; `run` owns their tasks."""

    def __init__(self, identity: HostIdentity) -> None:
        self._identity = identity
        self._settings = identity.settings
        self._recorder = Recorder(identity)
        self._active: dict[int, Following | None] = {}
        self._asking: dict[int, asyncio.Timeout] = {}
        self._leftovers_seen_s: dict[RunDirectory, float] = {}
        self._claiming = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None
        self._swept_s = -SWEEP_OVERDUE_S
        self._draining = False

    async def run(self) -> None:
        """Show that this host lives and store the progress of all runs at each tick, until cancelled."""
        self._swept_s = time.monotonic() - SWEEP_OVERDUE_S
        self._active.clear()  # what an earlier turn was about to begin, and did not
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._beat())
            tasks.create_task(self._sweep_when_nobody_does())
            try:
                await self._tick()
            finally:
                self._tasks = None  # what is claimed at this very moment is left to the next worker

    async def drain(self) -> None:
        """Claim nothing any more; return once every run of this host has ended and is recorded."""
        self._draining = True
        waited_for: list[int] | None = None
        while (unfinished := await self._unfinished()) != []:
            if unfinished is not None and unfinished != waited_for:
                _log.info("draining", waits_for_jobs=unfinished)
                waited_for = unfinished
            await asyncio.sleep(DRAIN_LOOK_S)
        _log.info("drained")

    async def claim(self) -> None:
        """Take every pending job that may run here now, and pass on what people want cancelled."""
        await self._cancel_requested()
        async with self._claiming:
            while self._claims and (job := await claim_next(self._identity.claimant)):
                self._own(job.id, self._start(job))

    async def sweep(self) -> None:
        """Go on with what earlier workers left, and take what waits."""
        self._swept_s = time.monotonic()
        await borg_version(self._settings.borg)
        async with self._claiming:
            await self._guarded("adopt", self._adopt())
            await self._guarded("put_back", leftovers.put_back_unstarted(self._identity, self._recorder, self._active))
            await self._guarded("free_lanes", leftovers.free_lanes(self._identity))
        await self._guarded("publish_keys", publish_missing_keys(self._settings))
        await self.claim()

    @property
    def _claims(self) -> bool:
        return self._tasks is not None and not self._draining

    async def _unfinished(self) -> list[int] | None:
        """The jobs that run here, by number; None while the database does not say."""
        mine = Job.filter(host=self._settings.host, data_directory_id=self._identity.key.id, status=JobStatus.RUNNING)
        try:
            return sorted({*self._active, *[job.id for job in await mine]})
        except CAUSES:
            return None

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._settings.progress_interval.total_seconds())
            followings = [following for following in self._active.values() if following is not None]
            await self._guarded("tick", self._recorder.tick(followings))

    async def _beat(self) -> None:
        interval_s = hosts.beat_every(self._settings.host_lost_after).total_seconds()
        while True:
            await self._guarded("beat", hosts.seen(self._settings.host, self._identity.key.id))
            await asyncio.sleep(interval_s)

    async def _sweep_when_nobody_does(self) -> None:
        """At the start, and whenever Redis does not bring the cron job that asks for it."""
        while True:
            if time.monotonic() - self._swept_s >= SWEEP_OVERDUE_S:
                await self._guarded("sweep", self.sweep())
            await asyncio.sleep(SWEEP_LOOK_S)

    async def _adopt(self) -> None:
        async for following in leftovers.unfollowed(self._identity, self._active, self._leftovers_seen_s):
            self._own(following.job.id, self._follow(following))

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
        directory = self._identity.directory(job)
        if await self._is_settled_by_archive(job):
            return
        try:
            await self._survey(job)
            preparation = await prepare(job, self._settings, self._identity.key)
        except CannotPrepareError as error:
            await self._recorder.end_unprepared(job, error)
            return
        except StaleMoveError:  # this worker was paused meanwhile, and another has put the job back
            return
        following = Following(job, job_type(job.kind), preparation.run, directory)
        log_start = await following.begin()
        await self._pass_on_cancel(job.id)  # one that came before this worker knew the job as its own
        try:
            await asyncio.to_thread(_launch, directory, preparation, log_start)
        except supervision.AlreadyStartedError:
            return
        except OSError as error:
            _log.warning("run_not_started", reason=str(error))
            hindrance = hindrance_of(error.strerror or str(error))
            await self._recorder.put_back(job, directory, hindrance=hindrance)
            return
        except ValueError as error:
            failure = CannotPrepareError("not_startable", f"It can't be started: {error}", preparation.header)
            await self._recorder.end_unprepared(job, failure)
            return
        await self._follow(following)

    async def _is_settled_by_archive(self, job: Job) -> bool:
        """Before another try: whether an earlier one made the archive after all, or that can't be asked now."""
        repository = await job.get_repository() if job.retries else None
        if repository is None:
            return False
        following = Following(job, job_type(job.kind), run_of(job, repository), self._identity.directory(job))
        await following.begin()
        try:
            archive = await self._while_wanted(job.id, self._recorder.find(following))
        except TimeoutError:  # called off: the supervisor will find that, and not start borg
            return False
        except CannotAskError as error:
            await self._recorder.settle(following, unasked(following, error))
            return True
        if archive is not None:
            await self._recorder.settle(following, found_archive(following, archive, by=MADE_BEFORE))
        return archive is not None

    async def _survey(self, job: Job) -> None:
        """Before a restore: whether it may and can write where it is to; raises CannotPrepareError."""
        kind = job_type(job.kind)
        if kind.reads_archive:
            with contextlib.suppress(TimeoutError):  # called off, as above
                await self._while_wanted(job.id, survey(job, kind, self._identity))

    async def _while_wanted(self, job_id: int, work: Coroutine[Any, Any, T]) -> T:
        """Await what comes before the start of a job; raises TimeoutError once its end is asked for."""
        try:
            async with asyncio.timeout(None) as self._asking[job_id]:
                await self._pass_on_cancel(job_id)
                return await work
        finally:
            work.close()
            self._asking.pop(job_id, None)

    async def _follow(self, following: Following) -> None:
        self._active[following.job.id] = following
        try:
            await _find_totals(following)
            await supervision.ended(following.directory)
        finally:
            following.scan_stop.set()
        await self._recorder.record(following)

    async def _cancel_requested(self) -> None:
        if self._active:
            await self._pass_on_cancel(*self._active)

    async def _pass_on_cancel(self, *job_ids: int) -> None:
        wanted = Job.filter(id__in=job_ids, cancel_requested_by__isnull=False, status=JobStatus.RUNNING)
        for job in await wanted:
            await self._guarded("cancel", self._call_off(job))

    async def _call_off(self, job: Job) -> None:
        following = self._active.get(job.id)
        if following is not None and not following.kind.cancellable(await self._recorder.newest(following)):
            _log.warning("cancel_came_too_late", job_id=job.id)
            return
        await asyncio.to_thread(supervision.cancel, self._identity.directory(job), job.cancel_requested_by or "")
        if asking := self._asking.pop(job.id, None):
            asking.reschedule(0)


async def _find_totals(following: Following) -> None:
    if not following.kind.makes_archive or following.job.repository_id is None:
        return
    with contextlib.suppress(*CAUSES):  # without it a total is looked for, and no run goes unfollowed
        following.totals = await archives.previous_totals(following.job.repository_id)
    if following.totals is None:
        # Of a thread of its own that nobody waits for: a dead mount among the sources may hold it for ever.
        threading.Thread(target=_scan, args=(following,), daemon=True).start()


def _scan(following: Following) -> None:
    following.totals = scan(following.run.target.source_directories, following.scan_stop)


def _launch(directory: RunDirectory, preparation: Preparation, log_start: int) -> None:
    supervision.make(directory)
    (directory.path / LOG_START).write_text(str(log_start))
    with directory.log.open("ab") as log:
        log.write(preparation.header.encode())
    supervision.start(directory, preparation.specification, preparation.environment, preparation.secret)
