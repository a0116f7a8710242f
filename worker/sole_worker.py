"""One worker at a time follows the runs of a data directory; others stand by, and take over when it dies or is paused.

`DATA_DIR/worker.lock` is held (flock) by the one whose turn it is, which beats by touching the file, whose text names
it. The kernel frees the lock of one that dies. One that is paused keeps it and does not beat: then a worker that stands
by writes its own name, and gets the lock when that becomes free. Who wakes up and finds another's name stands by.
"""

import asyncio
import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog

BEAT_S = 2.0
LOOK_AGAIN_S = 0.5
LOOKS_WITHOUT_BEAT = 20
"""So many looks in a row without a beat between them, 10 s, show that a turn is not used. Looks and not a clock: the
time for which the looker itself was paused counts for nothing."""
_NAME_LENGTH = 32
_WITH_LOCK, _WITHOUT_LOCK = b"+", b"-"

_log = structlog.get_logger()


async def as_sole_worker(data_dir: Path, work: Callable[[], Coroutine[Any, Any, None]], leaving: asyncio.Event) -> None:
    """Run `work` while it is this worker's turn, anew with each turn, until it returns by itself.

    Returns, too, once `leaving` is set while another has the turn.
    """
    with closing(Turn(data_dir / "worker.lock")) as turn:
        while await _turn_came(turn, data_dir, leaving):
            try:
                if await _worked_to_its_end(turn, work):
                    return
            finally:
                turn.let_go()
            _log.warning("another_worker_took_over", data_dir=str(data_dir))


class Turn:
    """One worker's side of the lock file. Its methods touch the disk, for an instant; once closed they do nothing."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._open = True
        self._busy = threading.Lock()
        self._name = secrets.token_hex(_NAME_LENGTH // 2).encode()
        self._has_lock = False
        self._observed: tuple[bytes, int] | None = None
        self._looks = 0

    def look(self) -> bool:
        """Whether it is this worker's turn from now on: nobody has it, or who has it does not use it."""
        with self._busy:
            return self._open and self._look()

    def beat(self) -> bool:
        """Show that the turn is used; False when another has it."""
        with self._busy:
            return self._open and self._beat()

    def let_go(self) -> None:
        """Leave the lock to whoever wants it."""
        with self._busy:
            self._unlock()

    def close(self) -> None:
        """Close the file, and with it let go of the lock: not while a thread that nobody waits for still uses it."""
        with self._busy:
            if self._open:
                os.close(self._descriptor)
            self._open = self._has_lock = False

    def _look(self) -> bool:
        locked = self._lock()
        text = self._read()
        # Who took over from a paused worker is without the lock, and not dead because that is free by now.
        if (locked and not text.endswith(_WITHOUT_LOCK)) or self._is_unused(text):
            self._write()
            return True
        self._unlock()
        return False

    def _beat(self) -> bool:
        text = self._read()
        if text and not text.startswith(self._name):
            return False
        had_lock = self._has_lock
        if self._lock() != had_lock or not text:
            self._write()
        os.utime(self._descriptor)
        return True

    def _is_unused(self, text: bytes) -> bool:
        observed = (text, os.fstat(self._descriptor).st_mtime_ns)
        # A worker of a release without beats wrote no name: it has the turn for as long as it has the lock.
        self._looks = self._looks + 1 if text and observed == self._observed else 0
        self._observed = observed
        return self._looks >= LOOKS_WITHOUT_BEAT

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._has_lock = True
        return True

    def _unlock(self) -> None:
        if self._has_lock:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._has_lock = False

    def _read(self) -> bytes:
        text = os.pread(self._descriptor, _NAME_LENGTH + 1, 0)
        return text if len(text) == _NAME_LENGTH + 1 else b""

    def _write(self) -> None:
        os.pwrite(self._descriptor, self._name + (_WITH_LOCK if self._has_lock else _WITHOUT_LOCK), 0)
        self._looks, self._observed = 0, None


async def _turn_came(turn: Turn, data_dir: Path, leaving: asyncio.Event) -> bool:
    waited = False
    while not await asyncio.to_thread(turn.look):
        if leaving.is_set():
            return False
        if not waited:
            _log.warning("waiting_for_another_worker", data_dir=str(data_dir))
        waited = True
        await asyncio.sleep(LOOK_AGAIN_S)
    if waited:
        _log.info("took_over", data_dir=str(data_dir))
    return True


async def _worked_to_its_end(turn: Turn, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """False when another took the turn: the work was then cancelled."""
    async with asyncio.TaskGroup() as tasks:
        working, beating = tasks.create_task(work()), tasks.create_task(_beat(turn))
        await asyncio.wait((working, beating), return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        beating.cancel()
    return not working.cancelled()


async def _beat(turn: Turn) -> None:
    while True:
        await asyncio.sleep(BEAT_S)
        try:
            if not await asyncio.to_thread(turn.beat):
                return
        except OSError as error:
            _log.warning("beat_failed", reason=str(error))
