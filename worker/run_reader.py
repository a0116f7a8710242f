"""Reading a run directory as it grows: progress, readable log text and a diagnosis, in constant memory.

Everything here blocks on the disk: called in a thread, by one caller at a time.
"""

from jobs.borg.events import parse_event
from jobs.borg.log_text import text_of
from jobs.job_type import JobType
from jobs.view import Progress
from worker.run_directory import RunDirectory

READ_BYTES = 262_144
LONGEST_LINE = 65_536
STDOUT_LIMIT = 16 * 1024 * 1024


class RunReader:
    """Follows one run's files from their beginning, so that an adopted run gets the same diagnosis."""

    def __init__(self, run: RunDirectory, job_type: JobType) -> None:
        self.diagnosis = job_type.diagnosis()
        self.progress = Progress()
        self._run = run
        self._job_type = job_type
        self.offset = 0
        self._rest = b""
        self._newest: bytes | None = None

    def read_progress(self) -> Progress:
        """The progress after the newest event."""
        line = self._run.newest_progress()
        if line and line != self._newest:
            self._newest = line
            self.progress = self._job_type.read_progress(parse_event(line), self.progress)
        return self.progress

    def read_log(self) -> bytes:
        """The next readable lines, of at most 256 KiB of log; empty when there are none yet."""
        lines = self._next_lines()
        return b"".join(self._readable(line) for line in lines)

    def read_last_line(self) -> bytes:
        """What stands after the last newline, once the run has ended."""
        line, self._rest = self._rest, b""
        return self._readable(line) if line else b""

    def read_stdout(self) -> bytes:
        """The command's standard output, at most 16 MiB of it."""
        with self._run.stdout.open("rb") as file:
            return file.read(STDOUT_LIMIT)

    def _next_lines(self) -> list[bytes]:
        try:
            with self._run.log.open("rb") as file:
                file.seek(self.offset)
                block = file.read(READ_BYTES)
        except FileNotFoundError:
            return []
        self.offset += len(block)
        *lines, self._rest = (self._rest + block).split(b"\n")
        # An endless line is cut at fixed places, wherever the reading was: a worker that reads it again cuts the same.
        *endless, self._rest = _cut(self._rest)
        return [piece for line in lines for piece in _cut(line)] + endless

    def _readable(self, line: bytes) -> bytes:
        event = parse_event(line)
        self.diagnosis.feed(event)
        self.progress = self._job_type.read_line(event, self.progress)
        text = text_of(event)
        return b"" if text is None else text.encode() + b"\n"


def _cut(line: bytes) -> list[bytes]:
    return [line[start : start + LONGEST_LINE] for start in range(0, len(line), LONGEST_LINE)] or [b""]
