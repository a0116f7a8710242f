"""The run directory `runs/<job>-<attempt>/`: what the supervisor of one run leaves there, and what that means.

`lock` is held while the supervisor lives, `borg.lock` while borg or something it left behind does: locks of the open
file description (fcntl_locking(2)), which the kernel frees with their last holder and which can be asked about without
being taken. The directory must be on a local file system. docs/architecture.md has the table that `judge` follows.
"""

import dataclasses
import fcntl
import json
import math
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from worker.supervisor import VERSION, WHOLE_FILE

EXIT_SIZE = 4096
"""Bytes of `exit`, whose blocks are allocated before anything starts."""


ORDER = (
    "timeout_s",
    "start_before_s",
    "interrupt_first",
    "interrupt_patience_s",
    "terminate_patience_s",
    "version",
    "working_directory",
)
"""The part of a specification that the supervisor needs beside the command."""


class RunState(StrEnum):
    ENDED = "ended"
    """An exit stands. The lane is free once `borg_alive` is False too."""
    STARTING = "starting"
    RUNNING = "running"
    ORPHAN = "orphan"
    """The supervisor was killed; borg, or something it left, lives."""
    VANISHED = "vanished"
    """It will never report; whether borg ran is unknown."""
    NEVER_STARTED = "never_started"
    """borg has not run; `supervision.refuse` makes sure that it never will."""


class ExitReason(StrEnum):
    EXITED = "exited"
    CANCELLED = "cancelled"
    """Somebody asked for the end; `code` is None where borg was not even started."""
    TIMEOUT = "timeout"
    NOT_STARTED = "not_started"
    """borg has not run and never will in this attempt; `errno` says what hindered the supervisor, if anything did."""
    SPAWN_FAILED = "spawn_failed"
    """The program could not be executed: see `errno`."""


class UnknownVersionError(ValueError):
    """A file was written by a version of Locutus that this one can't read."""


@dataclass(frozen=True, slots=True)
class RunSpecification:
    """What the supervisor runs, and for how long. It is stored and readable: no secret belongs into it.

    `start_before_s` is on CLOCK_BOOTTIME, after which borg is not started; `timeout_s` counts from borg's start. With
    `interrupt_first` (borg create) the end begins with SIGINT; then, or else at once, come SIGTERM and SIGKILL, each
    after the patience of the step before, and only the last to the whole group. Raises ValueError.
    """

    job_id: int
    attempt: int
    kind: str
    argv: tuple[str, ...]
    timeout_s: float
    start_before_s: float
    interrupt_first: bool = False
    working_directory: str = "/"
    interrupt_patience_s: float = 30.0
    terminate_patience_s: float = 10.0
    version: int = VERSION

    def __post_init__(self) -> None:
        if not math.isfinite(self.timeout_s):
            raise ValueError("A run needs a time limit.")
        if not self.argv or any("\0" in argument for argument in (*self.argv, self.working_directory)):
            raise ValueError("A run needs a program, and its arguments can't hold a NUL byte.")

    def order(self) -> Iterator[str]:
        """What the supervisor is told beside the command: NAME=VALUE, the values numbers but for the directory."""
        for name in ORDER:
            value = getattr(self, name)
            yield f"{name}={int(value) if isinstance(value, bool) else value}"

    def to_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Raises UnknownVersionError, or another ValueError where the content is no specification."""
        fields = json.loads(content)
        _require_version(int(fields["version"]), "specification")
        return cls(**{**_known(fields, cls), "argv": tuple(fields["argv"])})


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended. `code` is borg's exit status, or minus the signal that killed it; None if borg never ran.

    Times are Unix seconds, `duration_s` is monotonic; `cpu_s` and `rss_kb` (the peak) are those of borg and of the
    children it waited for; `lost_bytes` were not written to `log` and `stdout`.
    """

    reason: ExitReason
    code: int | None
    errno: int | None
    begun_at: float | None
    ended_at: float
    duration_s: float | None
    cpu_s: float | None
    rss_kb: int | None
    lost_bytes: int

    @classmethod
    def parse(cls, content: bytes) -> Self | None:
        """None unless the record is complete and its checksum right. Raises UnknownVersionError."""
        match = re.match(rb"([0-9a-f]{8}) ((\d+) (.+))\n", content)
        if match is None or zlib.crc32(match[2]) != int(match[1], 16):
            return None
        _require_version(int(match[3]), "exit record")
        fields = json.loads(match[4])
        return cls(**{**_known(fields, cls), "reason": ExitReason(fields["reason"])})


def _known(fields: Mapping[str, Any], record: type[Any]) -> dict[str, Any]:
    """What this release knows of a record; what the next one adds under the same version is passed over."""
    return {field.name: fields[field.name] for field in dataclasses.fields(record) if field.name in fields}


def _require_version(version: int, what: str) -> None:
    if version != VERSION:
        raise UnknownVersionError(f"This {what} has version {version}; this worker reads version {VERSION}: update it.")


def judge(*, lock: bool, borg_lock: bool, started: bool, exited: bool) -> RunState:
    """The meaning of the two locks (held or not) and the two files (there, valid or not)."""
    if exited:
        return RunState.ENDED
    if lock:
        return RunState.RUNNING if started else RunState.STARTING
    if borg_lock:
        return RunState.ORPHAN
    return RunState.VANISHED if started else RunState.NEVER_STARTED


@dataclass(frozen=True, slots=True)
class RunDirectory:
    path: Path

    @classmethod
    def of(cls, runs: Path, job_id: int, attempt: int) -> Self:
        return cls(runs / f"{job_id}-{attempt}")

    @classmethod
    def all_in(cls, runs: Path) -> Iterator[Self]:
        """Every run that has a directory; other entries of `runs` are passed over."""
        with os.scandir(runs) as entries:
            for entry in entries:
                if re.fullmatch(r"\d+-\d+", entry.name):
                    yield cls(Path(entry.path))

    @property
    def job_id(self) -> int:
        return int(self.path.name.partition("-")[0])

    @property
    def attempt(self) -> int:
        return int(self.path.name.partition("-")[2])

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def borg_lock(self) -> Path:
        return self.path / "borg.lock"

    @property
    def spec_file(self) -> Path:
        return self.path / "spec.json"

    @property
    def started_file(self) -> Path:
        return self.path / "started"

    @property
    def exit_file(self) -> Path:
        return self.path / "exit"

    @property
    def cancel_file(self) -> Path:
        return self.path / "cancel"

    @property
    def log(self) -> Path:
        """The stderr of borg without progress events; the worker may write a header before the start."""
        return self.path / "log"

    @property
    def stdout(self) -> Path:
        return self.path / "stdout"

    @property
    def inventory(self) -> Path:
        """Of a restore: what it has to write (`jobs.borg.inventory`)."""
        return self.path / "inventory"

    @property
    def progress(self) -> Path:
        return self.path / "progress"

    def state(self) -> RunState:
        """What this run is doing now. Raises UnknownVersionError.

        The order makes it right: `started` first, for after it nobody may start; the exit last, for it is written under
        the lock. Only NEVER_STARTED may be out of date at once, so `supervision.refuse` looks again under the lock.
        """
        started = self.started_file.exists()
        lock, borg_lock = self.supervised(), self.borg_alive()
        return judge(lock=lock, borg_lock=borg_lock, started=started, exited=self.exit() is not None)

    def supervised(self) -> bool:
        return is_held(self.lock)

    def borg_alive(self) -> bool:
        """True while borg, or something it left behind, lives: the repository is still taken."""
        return is_held(self.borg_lock)

    def specification(self) -> RunSpecification:
        """Raises FileNotFoundError where the run was never started, UnknownVersionError, ValueError."""
        return RunSpecification.from_json(self.spec_file.read_bytes())

    def exit(self) -> Exit | None:
        content = _read(self.exit_file)
        return None if content is None else Exit.parse(content)

    def newest_progress(self) -> bytes | None:
        """The newest progress event, a line of JSON."""
        return _read(self.progress)

    def cancel_reason(self) -> str | None:
        content = _read(self.cancel_file)
        return None if content is None else content.decode()

    def supervisor(self) -> dict[str, Any] | None:
        """The supervisor's `identity` as it recorded it: its pid may be another process's by now."""
        content = _read(self.started_file)
        return None if content is None else json.loads(content)

    def remove(self) -> None:
        """Remove the directory of a run whose end the database knows."""
        shutil.rmtree(self.path)


def is_held(lock: Path) -> bool:
    """Whether anybody holds this lock; asking takes nothing, so it hinders nobody who wants it."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, WHOLE_FILE)
    finally:
        os.close(descriptor)
    return int.from_bytes(answer[:2], sys.byteorder) != fcntl.F_UNLCK


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
