"""The worker's side of a run: start a supervisor, cancel it, wait for its end; see to it that borg never runs, or ends.

The plain functions block (on the disk, and on the handshake): call them with `asyncio.to_thread`.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import Any

from worker.run_directory import EXIT_SIZE, Exit, ExitReason, RunDirectory, RunSpecification
from worker.secret_pipe import secret_pipe
from worker.supervisor import (
    SECRET_VARIABLE,
    WHOLE_FILE,
    exit_record,
    identity,
    stop_steps,
    sync_directory,
    write_exit,
)


def _compiled(source: Path) -> Path:
    """The module's compiled form if it is up to date: to compile it at each start would cost a fifth of the start.

    The header (PEP 552) holds flags, then the source's time of change and size.
    """
    cached, status = Path(cache_from_source(str(source))), source.stat()
    expected = struct.pack("<III", 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    with contextlib.suppress(OSError), cached.open("rb") as file:
        if file.read(16) == MAGIC_NUMBER + expected:
            return cached
    return source


SOURCE = Path(__file__).with_name("supervisor.py")
LOCK_PATIENCE_S = 1.0
LOCK_RETRY_S = 0.01
PID_RETRY_S = 0.02

_children: dict[Path, subprocess.Popen[bytes]] = {}
"""The supervisors that are this process's own children, for `ended` to reap."""


class AlreadyStartedError(Exception):
    """Somebody else starts, has started or has refused this run; nothing was started here."""


@dataclass(frozen=True, slots=True)
class Started:
    """A supervisor and its borg, by their pids.

    Where `borg_pid` is None borg does not run: `failure` says why, or is None if the supervisor died before it could.
    """

    supervisor_pid: int
    borg_pid: int | None
    failure: Exit | None = None


def make(run: RunDirectory) -> None:
    """Make the directory for good, but not `runs`: without that the data directory is not mounted. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        run.path.mkdir(mode=0o700)
        sync_directory(run.path.parent)


def start(
    run: RunDirectory, specification: RunSpecification, environment: Mapping[str, str], secret: bytes | None
) -> Started:
    """Start borg under a supervisor of its own, in exactly this environment; wait until borg runs, or can't.

    Await `ended` afterwards, whatever came of it. Raises AlreadyStartedError; ValueError for a secret of more than
    SECRET_LIMIT bytes; OSError where the run can't be prepared (a full disk): borg has not run, `refuse` settles it.
    """
    make(run)
    ready, ready_end = os.pipe()
    with os.fdopen(ready, "rb") as handshake:
        with os.fdopen(ready_end, "wb"), _locked(run) as lock, secret_pipe(secret) as secrets:
            _prepare(run, specification)
            given = {SECRET_VARIABLE: str(secrets[0])} if secrets else {}
            descriptors = (lock, ready_end, *secrets)
            child = _start_supervisor(run, specification, {**environment, **given}, descriptors)
        borg_pid = handshake.read()
    return Started(child.pid, int(borg_pid)) if borg_pid else Started(child.pid, None, run.exit())


def cancel(run: RunDirectory, reason: str) -> None:
    """Ask for the end of a run; one that has not begun will not begin. Raises OSError."""
    make(run)
    try:
        run.cancel_file.touch()  # before the pid is looked for: the supervisor does it the other way round
    except OSError:  # not even an empty file has room: to a supervisor on record the signal says it all
        if not _interrupt(run):
            raise
        return
    with contextlib.suppress(OSError):  # a full disk may cost the reason, not the cancel
        run.cancel_file.write_text(reason)
    _interrupt(run)


def _interrupt(run: RunDirectory) -> bool:
    """Signal a supervisor that it is to end borg; whether there is one on record."""
    supervisor = run.supervisor()
    with _process(supervisor["pid"] if supervisor else None) as pidfd:
        if pidfd is None or not _is_there(supervisor):
            return False
        _send(pidfd, signal.SIGINT)
        return True


def refuse(run: RunDirectory) -> bool:
    """See to it that this run never starts borg; False where it has, may have, or is about to. Raises OSError.

    True says that borg has not run: the exit `not_started` stands, and a worker that comes late starts nothing.
    """
    make(run)
    try:
        with _locked(run):
            if (exit_found := run.exit()) is not None:
                return exit_found.reason is ExitReason.NOT_STARTED
            if run.started_file.exists() or run.borg_alive():
                return False
            with _reserved_exit(run) as exit_file:
                write_exit(exit_file, exit_record(ExitReason.NOT_STARTED))
            sync_directory(run.path)
            return True
    except AlreadyStartedError:
        return False


async def ended(run: RunDirectory) -> None:
    """Return when the supervisor is gone, whoever started it, or at least has recorded the exit; at once if it has."""
    while await asyncio.to_thread(run.supervised):
        supervisor = await asyncio.to_thread(run.supervisor)
        with _process(supervisor["pid"] if supervisor else None) as pidfd:
            if pidfd is not None and await asyncio.to_thread(_is_there, supervisor):
                await _end_of(pidfd)
        if await asyncio.to_thread(run.exit) is not None:
            break  # who still holds the lock is a worker that was paused as it shared it with the supervisor
        await asyncio.sleep(PID_RETRY_S)  # only in its first moments has a supervisor no pid on record
    if child := _children.get(run.path):
        await asyncio.to_thread(child.wait)
        _children.pop(run.path, None)  # not before: who is cancelled here leaves it to the next one


async def end_orphan(run: RunDirectory) -> None:
    """End a borg whose supervisor was killed, and all else that holds `borg.lock`, with the supervisor's own patience.

    Ask `borg_alive` afterwards: what sleeps in the kernel, or runs as another user, outlives any signal.
    """
    specification = await asyncio.to_thread(run.specification)
    for number, patience_s in stop_steps(dataclasses.asdict(specification)):
        deadline = time.monotonic() + patience_s
        while await asyncio.to_thread(run.borg_alive):
            await _signal_holders(run.borg_lock, number, patience_s)
            if time.monotonic() > deadline:  # asked last: on a busy host a step may come late, but none is left out
                break


async def _signal_holders(lock: Path, number: int, patience_s: float) -> None:
    """Signal all that hold this lock and wait for their end; what they forked meanwhile is left to the next round."""
    with contextlib.ExitStack() as opened:
        found = await asyncio.to_thread(_holders, lock)
        pidfds = {pid: opened.enter_context(_process(pid)) for pid in found}
        proven = await asyncio.to_thread(_holders, lock)  # looked for again: each pid is now known to be the pidfd's
        holders = [pidfd for pid in proven if (pidfd := pidfds.get(pid)) is not None]
        for pidfd in holders:
            _send(pidfd, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                for pidfd in holders:
                    await _end_of(pidfd)
        if not holders:  # another user's, or between two forks
            await asyncio.sleep(PID_RETRY_S)


@contextlib.contextmanager
def _locked(run: RunDirectory) -> Iterator[int]:
    """Take `lock`, which another may hold for an instant. It is closed, never unlocked: a supervisor may share it."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    with run.lock.open("ab") as file:
        while True:
            try:
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, WHOLE_FILE)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise AlreadyStartedError(f"Another holds run {run.path.name}; nothing was started.") from error
            time.sleep(LOCK_RETRY_S)
        yield file.fileno()


def _prepare(run: RunDirectory, specification: RunSpecification) -> None:
    if run.started_file.exists() or run.exit() is not None:
        raise AlreadyStartedError(f"Run {run.path.name} was started or refused before; nothing was started.")
    with _reserved_exit(run):
        run.spec_file.write_bytes(specification.to_json())


@contextlib.contextmanager
def _reserved_exit(run: RunDirectory) -> Iterator[int]:
    """The exit's descriptor, its blocks allocated: from now on a full disk can't lose it. Raises OSError."""
    run.exit_file.touch(mode=0o600)
    with run.exit_file.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, EXIT_SIZE)
        yield file.fileno()


def _start_supervisor(
    run: RunDirectory,
    specification: RunSpecification,
    environment: Mapping[str, str],
    descriptors: tuple[int, ...],
) -> subprocess.Popen[bytes]:
    lock, ready_end, *_ = descriptors
    where = (run.path.resolve(), str(lock), str(ready_end))
    with run.stdout.open("ab") as stdout, run.log.open("ab") as log:
        _children[run.path] = child = subprocess.Popen(
            [sys.executable, "-I", "-S", _compiled(SOURCE), *where, *specification.order(), "--", *specification.argv],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=log,
            pass_fds=descriptors,
            start_new_session=True,
        )
    return child


@contextlib.contextmanager
def _process(pid: int | None) -> Iterator[int | None]:
    """A pidfd, or None without such a process. Prove whose it is after it was opened: pids are recycled."""
    try:
        pidfd = None if pid is None else os.pidfd_open(pid)
    except ProcessLookupError:
        pidfd = None
    try:
        yield pidfd
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _is_there(recorded: Mapping[str, Any] | None) -> bool:
    """Whether the pid on record is still that process's, if only as a zombie's; a later release may record more."""
    with contextlib.suppress(OSError):
        return recorded is not None and identity(recorded["pid"]).items() <= recorded.items()
    return False


def _send(pidfd: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(pidfd, number)


async def _end_of(pidfd: int) -> None:
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, end.set)
    try:
        await end.wait()
    finally:
        loop.remove_reader(pidfd)


def _holders(lock: Path) -> list[int]:
    """The pids of all that hold this lock."""
    name, holders = str(lock.resolve()), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if any(_holds(descriptor, name) for descriptor in (process / "fd").iterdir()):
                holders.append(int(process.name))
    return holders


def _holds(descriptor: Path, lock: str) -> bool:
    """Whether this entry of /proc/<pid>/fd holds the lock: who asks about it has the file open, and holds nothing."""
    with contextlib.suppress(OSError):  # it was closed meanwhile
        information = descriptor.parents[1] / "fdinfo" / descriptor.name
        return str(descriptor.readlink()) == lock and b"OFDLCK" in information.read_bytes()
    return False
