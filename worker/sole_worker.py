"""One worker at a time follows the runs of a data directory; a second one waits, ready to take over."""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

LOOK_AGAIN_S = 0.5

_log = structlog.get_logger()


@asynccontextmanager
async def sole_worker(data_dir: Path) -> AsyncIterator[None]:
    """Hold `DATA_DIR/worker.lock`, waiting for whoever has it; the kernel frees it with the process that holds it."""
    path = data_dir / "worker.lock"
    with await asyncio.to_thread(path.open, "w") as lock:
        waited = False
        while not _locked(lock.fileno()):
            if not waited:
                _log.warning("waiting_for_another_worker", data_dir=str(data_dir))
            waited = True
            await asyncio.sleep(LOOK_AGAIN_S)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
