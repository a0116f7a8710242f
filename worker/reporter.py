"""The reporter: compares what every thread shows with what its job is, and calls the platform for the difference.

It is driven by levels, not events: whatever was lost, the next look shows the newest state, so that a thread ends with
one card, one progress message and the last state (`worker/posting.py`).
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from bot.platform import ChannelRefused, ChatError, ChatPlatform, MessageGone, Refused
from jobs import lifecycle
from jobs.clock import now
from jobs.database.unit import reader, unit
from jobs.models import ChatMessage, Job
from jobs.queue import Queue
from jobs.threads import CARD, END, FAILURE, PROGRESS, find_another_place
from jobs.view import JobStatus, JobView
from worker import posting
from worker.budget import Budget, edit_interval_s
from worker.thread_view import seen, wanted

LOOK_EVERY_S = 1.0
SETTLE_S = 0.15
THREADS_AT_ONCE = 4
PAGE = 500
REOPENED_FOR = timedelta(days=7)
PARTS = (CARD, PROGRESS, FAILURE, END)
MOVED = "not shown where it was asked"
"""What the note of a job says whose thread is in another channel."""
UNSHOWN = ("refused", "held")
"""Rows that are not to be shown: the platform took none, or the channel wants only what fails."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Pause:
    """When a job's thread is looked at again (monotonic seconds); at once when its state is not `status` any more."""

    until_s: float = 0.0
    status: str | None = None

    def is_over(self, now_s: float, status: str) -> bool:
        """Whether to look; without a status it is the platform that asked for the pause, whatever the job does."""
        return now_s >= self.until_s or self.status not in {None, status}


class Reporter:
    """Keeps every thread on one platform true; `run` until cancelled."""

    def __init__(self, platform: ChatPlatform, queue: Queue, budget: Budget) -> None:
        self._platform = platform
        self._queue = queue
        self._budget = budget
        self._pauses: dict[int, Pause] = {}
        self._busy: set[int] = set()
        self._slots = asyncio.Semaphore(THREADS_AT_ONCE)

    async def run(self) -> None:
        """Look at every unsettled thread when the bell rings, at least once a second."""
        await self._reopen()
        async with asyncio.TaskGroup() as tasks:
            with self._queue.ear() as ear:
                while True:
                    await self._look(tasks)
                    await ear.wait(LOOK_EVERY_S, SETTLE_S)

    async def _reopen(self) -> None:
        """Try again, at each start, what was refused of late: a person may have mended token or channel since."""
        recent = now() - REOPENED_FOR
        refused = ChatMessage.filter(platform=self._platform.name, state="refused", settled=False)
        ids = await refused.filter(job__created_at__gte=recent).values_list("id", flat=True)
        await ChatMessage.filter(id__in=list(ids), address__isnull=True).update(state="unsent")
        await ChatMessage.filter(id__in=list(ids), address__isnull=False).update(state="sent")

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        try:
            threads = await self._unsettled()
        except Exception:  # noqa: BLE001 - named edge: the database is away; the next look tries again
            _log.exception("reporter_look_failed")
            return
        self._pauses = {job_id: self._pause(job_id) for job_id in threads}
        room = self._budget.room(time.monotonic())  # of many threads only so many are looked up as can be shown
        for job_id in sorted(threads, key=lambda number: self._rank(number, threads[number]))[:PAGE]:
            over = self._pauses[job_id].is_over(time.monotonic(), threads[job_id])
            if over and job_id not in self._busy and room > 0:
                room -= 1
                self._busy.add(job_id)
                tasks.create_task(self._guarded(job_id))

    def _rank(self, job_id: int, status: str) -> tuple[bool, float]:
        """Ends first; then whoever has waited longest, so that every thread moves when there are too many."""
        return not JobStatus(status).final, self._pauses[job_id].until_s

    async def _unsettled(self) -> dict[int, str]:
        """The jobs whose thread is not yet shown whole, and their states."""
        rows = ChatMessage.filter(platform=self._platform.name, settled=False).exclude(state__in=UNSHOWN)
        found = rows.using_db(reader()).values_list("job_id", "job__status")
        return {job_id: str(status) for job_id, status in await found}

    async def _guarded(self, job_id: int) -> None:
        try:
            async with self._slots:
                await self._show(job_id)
        except Exception:  # noqa: BLE001 - named edge: one thread's trouble must not end the others
            _log.exception("thread_not_shown", job_id=job_id)
            self._pauses[job_id] = Pause(time.monotonic() + posting.FAILURE_DELAY_S)
        finally:
            self._busy.discard(job_id)

    async def _show(self, job_id: int) -> None:
        job = await Job.get(id=job_id)
        await self._show_parts(job)
        if JobStatus(job.status).final and not await Job.filter(id=job_id, revision=job.revision).exists():
            # Something was learned of an ended job while its end was shown: none of its messages is the last word.
            await ChatMessage.filter(job_id=job_id, platform=self._platform.name).update(settled=False)

    async def _show_parts(self, job: Job) -> None:
        shown = await seen(job)
        rows = {row.part: row for row in await ChatMessage.filter(job_id=job.id, platform=self._platform.name)}
        card = rows.get(CARD) or await self._card_of(job)
        for part in PARTS:
            row = rows.get(part)
            if row is None or row.settled or row.state in UNSHOWN:
                continue
            if part != CARD and card.address is None:
                if card.state == "refused":
                    await ChatMessage.filter(id=row.id).update(state="refused")  # as its card was: there is no thread
                return
            if not await self._show_part(shown, row, card.address):
                return
            await row.refresh_from_db()
        running_for_s = (now() - (job.started_at or job.created_at)).total_seconds()
        self._pauses[job.id] = Pause(time.monotonic() + edit_interval_s(running_for_s), job.status)

    async def _card_of(self, step: Job) -> ChatMessage:
        """The card of a chain's first job, in whose thread its further steps are shown."""
        return await ChatMessage.get(job_id=step.parent_id, part=CARD, platform=self._platform.name)

    async def _show_part(self, job: JobView, row: ChatMessage, root: str | None) -> bool:
        """Show one message if it shows something else; False when the rest of the thread has to wait."""
        content = await wanted(job, row.part)
        final = job.status.final
        if content.digest == row.shown_digest:
            if final:
                await ChatMessage.filter(id=row.id, shown_digest=content.digest).update(settled=True)
            return True
        if not self._budget.take(time.monotonic(), urgent=final or _is_urgent_card(job, row)):
            return False
        try:
            return await posting.show(self._platform, row, content, None if row.part == CARD else root, final=final)
        except ChatError as error:
            await self._failed(job.id, row, error)
            return False

    async def _failed(self, job_id: int, row: ChatMessage, error: ChatError) -> None:
        at = time.monotonic()
        _log.warning("chat_call_failed", job_id=job_id, part=row.part, platform=row.platform, reason=str(error))
        if isinstance(error, Refused) and await unit(partial(_refused, job_id, row, error)):
            self._pauses[job_id] = Pause()
            return
        if isinstance(error, MessageGone) and row.part != CARD and row.address is None:
            first_id = (await Job.get(id=job_id)).parent_id or job_id
            card = ChatMessage.filter(job_id=first_id, platform=row.platform, part=CARD)
            await card.update(**posting.UNPOSTED, settled=False)
        if error.retry_after_s is not None and error.everywhere:
            self._budget.block(at, error.retry_after_s)
        self._pauses[job_id] = Pause(at + posting.delay_s(error, row.failures))

    def _pause(self, job_id: int) -> Pause:
        return self._pauses.setdefault(job_id, Pause())


async def _refused(job_id: int, row: ChatMessage, error: Refused) -> bool:
    """Inside a unit: nothing of the thread can be posted. True where it had not begun, and another channel is left."""
    await ChatMessage.filter(job_id=job_id, platform=row.platform, address__isnull=True).update(state="refused")
    if not isinstance(error, ChannelRefused) or row.part != CARD or row.address is not None:
        return False
    job = await Job.get(id=job_id)
    moved = MOVED in (job.note or "")
    if not await find_another_place(job, row.platform, row.channel, moved=moved):
        return False
    said = f"nor in the repository's channel: {error}" if moved else f"{MOVED}: {error}"
    await lifecycle.note(job_id, "; ".join(filter(None, (job.note, said))))
    return True


def _is_urgent_card(job: JobView, row: ChatMessage) -> bool:
    """Whether a card may use what is saved for the ends: where a job waits, it tells a place, which others change."""
    return row.part == CARD and (row.address is None or job.status is not JobStatus.PENDING)
