"""Following one run: what it says goes to the job's row and log, in the units of work of whoever asks for it."""

import asyncio
import threading
import time
from contextlib import suppress

from jobs import lifecycle, log_store
from jobs.borg.inventory import Inventory
from jobs.clock import now
from jobs.estimate import Pace, Totals, counted, estimated
from jobs.job_type import JobType, Run
from jobs.models import Job
from jobs.view import Progress
from worker.run_directory import RunDirectory
from worker.run_reader import RunReader

LOG_START = "log.start"
"""In the run directory: how many bytes the job's log had before this attempt."""
UNSTORED_LIMIT = 1024 * 1024
"""Bytes of log text that wait in memory while the database does not take them; the rest waits in the file."""


class Following:
    """A run of this host, from its start or adoption to its record."""

    def __init__(self, job: Job, kind: JobType, run: Run, directory: RunDirectory) -> None:
        self.job = job
        self.kind = kind
        self.run = run
        self.directory = directory
        self.reader = RunReader(directory, kind)
        self.totals: Totals | None = None
        self.scan_stop = threading.Event()
        self.progress = Progress()
        self.inventory: Inventory | None = None
        self._pace: Pace | None = Pace(time.monotonic(), 0)
        self._position = self._next = log_store.Position()
        self._skip = 0
        self._text = b""
        self._shown = Progress()

    async def begin(self) -> int:
        """Add to what earlier attempts left in the log; returns its length in bytes, for LOG_START."""
        if self.job.attempt > 1:
            await self._find_position()
        await self._take_inventory()
        return self._position.start

    async def resume(self) -> None:
        """Find out how much of the log is stored: after a worker's restart it is read again, but not stored again."""
        await self._find_position()
        await self._take_inventory()
        self._pace = None  # of what was read before, and how fast, nothing is known
        self._skip = self._position.start - await asyncio.to_thread(_log_start, self.directory)

    async def resynchronise(self) -> None:
        """After a commit that nobody knows the end of: what turns out to be stored is not stored again."""
        stored = await log_store.position(self.job.id)
        self._text = self._text[max(0, stored.start - self._position.start) :]
        self._position = self._next = stored

    def reached_the_end(self) -> None:
        """Nothing more is to be read: what is said from here on is new, however much was stored before."""
        self._skip = 0

    async def _take_inventory(self) -> None:
        """Of a restore: what there is to write, as it was listed before the start."""
        if self.kind.reads_archive:
            with suppress(FileNotFoundError):
                self.inventory = await asyncio.to_thread(Inventory, self.directory.inventory)
                self.totals = self.inventory.totals

    async def _find_position(self) -> None:
        self._position = self._next = await log_store.position(self.job.id)

    async def look(self) -> bool:
        """Read what is new, waiting for the disk in a thread; whether any of the log was."""
        before = self.reader.offset
        while len(self._text) < UNSTORED_LIMIT:
            offset = self.reader.offset
            self.say(await asyncio.to_thread(self.reader.read_log))
            if self.reader.offset == offset:
                break
        progress = await asyncio.to_thread(self.reader.read_progress)
        if progress.original_size is not None:
            seen = Pace(time.monotonic(), progress.original_size)
            self._pace = self._pace.after(seen.at_s, seen.size, now()) if self._pace else seen
            progress = estimated(progress, self._pace, self.totals)
        self.progress = await asyncio.to_thread(self._counted, progress)
        return self.reader.offset != before

    def _counted(self, progress: Progress) -> Progress:
        """Of a restore, with the files among what borg has named; what it named last it is still about to write."""
        if self.inventory is None:
            return progress
        files = self.inventory.files_among(max(0, progress.items - 1))
        return counted(progress, files, self.inventory.totals)

    def say(self, text: bytes) -> None:
        """Add text to what must be stored, less what was stored before this worker adopted the run."""
        skipped = min(self._skip, len(text))
        self._skip -= skipped
        self._text += text[skipped:]

    @property
    def has_news(self) -> bool:
        """Whether there is anything to store."""
        return bool(self._text) or self.progress != self._shown

    async def store(self) -> None:
        """Inside a unit: the newest progress to the row, new text to the log. `stored` must follow the commit."""
        if self.progress != self._shown:
            await lifecycle.report(self.job.id, self.job.attempt, self.progress)
        await self.store_text()

    async def store_text(self) -> None:
        """Inside a unit: new text to the log. `stored` must follow the commit."""
        self._next = await log_store.append(self.job.id, self._position, self._text)

    def stored(self) -> None:
        """After the commit: what was stored is not stored again."""
        self._position, self._text, self._shown = self._next, b"", self.progress


def _log_start(directory: RunDirectory) -> int:
    try:
        return int((directory.path / LOG_START).read_text())
    except (FileNotFoundError, ValueError):
        return 0
