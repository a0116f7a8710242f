"""What `locutus doctor` looks at. Each check says how a thing stands and, where it stands badly, how to mend it."""

import asyncio
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import psutil
from redis.exceptions import RedisError

from bot import wording
from cli.api_client import require_database
from cli.composition import SECRET_KEY_FILE, secret_box, storage
from cli.discord_checks import discord
from cli.embedded_redis import embedded_url, server_program
from cli.finding import FAIL, OK, TIMEOUT, WARN, Finding
from cli.slack_checks import slack
from jobs.database.connection import DatabaseNotMigratedError, DatabaseUnavailableError
from jobs.queue import open_queue
from jobs.settings import Settings, SettingsError
from worker.borg_version import borg_version

OLDEST_PYTHON = (3, 11)
OLDEST_BORG, NEXT_BORG = (1, 2, 0), (2, 0, 0)
LITTLE_SPACE, NO_SPACE = 1_000_000_000, 100_000_000
GREATEST_CLOCK_DIFFERENCE_S = 30.0
# A lock (flock, F_OFD_GETLK) is proof of life here, and these do not keep one as a local file system does.
REMOTE_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p", "davfs"}
)


Check = Callable[[Settings], Awaitable[Sequence[Finding]]]


async def python(settings: Settings) -> Sequence[Finding]:
    """The interpreter that runs this."""
    del settings
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return [Finding("python", FAIL, found, "Locutus needs Python 3.11 or newer.")]
    return [Finding("python", OK, found)]


async def borg(settings: Settings) -> Sequence[Finding]:
    """Which borg there is, and what is known against its version."""
    return borg_findings(await borg_version(settings.borg), settings.borg)


def borg_findings(version: str | None, program: str) -> list[Finding]:
    """What is to be said of a borg of this version (None: there is none, or it does not say)."""
    if version is None:
        mend = "Install it (apt-get install borgbackup), or name it in LOCUTUS_BORG."
        return [Finding("borg", FAIL, f"{program} is not there or does not tell its version", mend)]
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if not OLDEST_BORG <= number < NEXT_BORG:
        return [Finding("borg", FAIL, version, "Locutus drives borg 1.2 and 1.4: install one of these.")]
    weaknesses = []
    if number < (1, 2, 5):
        mend = "Follow the upgrade notes of borg 1.2.5, unless your distribution has mended it: forged archives pass."
        weaknesses.append(Finding("borg", WARN, f"{version} has CVE-2023-36811", mend))
    if number < (1, 4, 5):
        mend = "Restore only from repositories that you trust, or install borg 1.4.5 or newer."
        weaknesses.append(Finding("borg", WARN, f"{version} has CVE-2026-62268 (restore)", mend))
    return weaknesses or [Finding("borg", OK, version)]


async def data_directory(settings: Settings) -> Sequence[Finding]:
    """Whose the data directory is, who may read it, and where it lies."""
    path = settings.data_dir
    if not path.is_dir():
        return [
            Finding("data directory", FAIL, f"{path} is not there", "`locutus up` makes it, or set LOCUTUS_DATA_DIR.")
        ]
    status, problems = path.stat(), []
    if status.st_uid != os.geteuid():
        mend = f"Run Locutus as its owner, or: chown -R {os.geteuid()} {path}"
        problems.append(Finding("data directory", FAIL, f"{path} belongs to another user", mend))
    if status.st_mode & 0o077:
        seen = f"{path} is open to others ({stat.filemode(status.st_mode)})"
        problems.append(Finding("data directory", FAIL, seen, f"chmod 700 {path}"))
    if (kind := file_system(path)) in REMOTE_FILE_SYSTEMS or kind.startswith("fuse.sshfs"):
        seen = f"{path} is on {kind}, which keeps no locks as a local file system does"
        problems.append(Finding("data directory", FAIL, seen, "Move it to a local disk: LOCUTUS_DATA_DIR."))
    return problems or [Finding("data directory", OK, f"{path}, private, on {kind or 'an unknown file system'}")]


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, empty where that is not known."""
    place = path.resolve()
    mounts = [mount for mount in psutil.disk_partitions(all=True) if place.is_relative_to(mount.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""


async def disk(settings: Settings) -> Sequence[Finding]:
    """The space left for database and logs."""
    if not settings.data_dir.is_dir():
        return []
    free = (await asyncio.to_thread(shutil.disk_usage, settings.data_dir)).free
    standing = FAIL if free < NO_SPACE else WARN if free < LITTLE_SPACE else OK
    mend = None if standing is OK else f"Make room where {settings.data_dir} is: at least {wording.size(LITTLE_SPACE)}."
    return [Finding("disk", standing, f"{wording.size(free)} free", mend)]


async def database(settings: Settings) -> Sequence[Finding]:
    """Whether the database answers and has this release's schema."""
    try:
        require_database(settings)
    except SettingsError as error:
        return [Finding("database", FAIL, "there is none", str(error))]
    try:
        async with storage(settings):
            return [Finding("database", OK, f"{settings.database_url.partition(':')[0]}, migrated")]
    except DatabaseNotMigratedError:
        return [Finding("database", FAIL, "its schema is older than this release's", "Run `locutus migrate`.")]
    except DatabaseUnavailableError as error:
        seen = f"it does not answer ({wording.one_line(str(error)) or type(error).__name__})"
        return [Finding("database", FAIL, seen, "Start it, or mend LOCUTUS_DATABASE_URL.")]


async def redis(settings: Settings) -> Sequence[Finding]:
    """Whether Redis answers, and whether its clock and ours agree: leases and schedules rely on it."""
    async with open_queue(settings.redis_url or embedded_url(settings.data_dir)) as queue:
        try:
            seconds, microseconds = await queue.redis.time()
        except (RedisError, OSError):
            return [_no_redis(settings)]
        difference_s = abs(seconds + microseconds / 1e6 - time.time())
    clock = f"{difference_s:.1f} s from Redis's"
    if difference_s > GREATEST_CLOCK_DIFFERENCE_S:
        mend = "Let both machines keep time: timedatectl set-ntp true."
        return [Finding("redis", OK, "answers"), Finding("clock", FAIL, clock, mend)]
    return [Finding("redis", OK, "answers"), Finding("clock", OK, clock)]


def _no_redis(settings: Settings) -> Finding:
    if settings.redis_url:
        return Finding("redis", FAIL, "it does not answer", "Start it, or mend LOCUTUS_REDIS_URL.")
    try:
        server_program()
    except SettingsError as error:
        return Finding("redis", FAIL, "there is none", str(error))
    return Finding("redis", WARN, "the embedded one does not run", "`locutus up` starts it.")


async def secret_key(settings: Settings) -> Sequence[Finding]:
    """Whether there is a key for stored secrets, and nobody else reads it."""
    file = settings.data_dir / SECRET_KEY_FILE
    if settings.secret_key is None and file.exists() and file.stat().st_mode & 0o077:
        return [Finding("secret key", FAIL, f"{file} is open to others", f"chmod 600 {file}")]
    try:
        secret_box(settings)
    except SettingsError:
        if settings.redis_url:
            mend = "Set it to the same text of at least 32 characters for gateways and service workers."
            return [Finding("secret key", FAIL, "LOCUTUS_SECRET_KEY is not set", mend)]
        return [Finding("secret key", WARN, "there is none yet", "`locutus up` makes one.")]
    return [Finding("secret key", OK, "present")]


async def gateway(settings: Settings) -> Sequence[Finding]:
    """Whether the gateway of this machine, or of `LOCUTUS_URL`, can accept jobs."""
    base_url = settings.url.rstrip("/") or settings.own_url
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.get(f"{base_url}/readyz") as response:
            answer, status = await response.json(content_type=None), response.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        standing = FAIL if settings.url else WARN
        mend = "Look at LOCUTUS_URL." if settings.url else "`locutus up` starts it."
        return [Finding("gateway", standing, f"nothing answers at {base_url} ({type(error).__name__})", mend)]
    if status != 200 or not isinstance(answer, dict):
        return [Finding("gateway", FAIL, f"{base_url} is not ready (status {status})", "Look at its log.")]
    if answer.get("degraded"):
        seen = f"{base_url} is ready, but waits for {', '.join(map(str, answer['degraded']))}"
        return [Finding("gateway", WARN, seen, "Start what is missing; jobs wait until then.")]
    return [Finding("gateway", OK, f"{base_url} is ready")]


LOCAL: Sequence[Check] = (python, borg, data_directory, disk, database, redis, secret_key, slack, discord, gateway)
REMOTE: Sequence[Check] = (python, gateway)
"""With `LOCUTUS_URL` nothing of this machine matters but the way to the gateway."""
