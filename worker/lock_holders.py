"""Who holds a repository's lock: whether that process lives, and whether it is a job of ours."""

import asyncio
import contextlib
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from bot import wording
from jobs.borg.lock import LockHolder, lock_holders
from jobs.borg.log_text import harmless
from jobs.models import Repository
from jobs.settings import Settings
from worker.run_directory import RunDirectory

CLOCK_TICKS = timedelta(seconds=2)
"""By how much a process may seem to have started later than it took the lock: file times are coarse."""


class Life(StrEnum):
    """What is known of the process that a lock names."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Held:
    """A holder, whether it lives, and the number of the job of ours that it is."""

    holder: LockHolder
    life: Life
    job_id: int | None

    @property
    def sentence(self) -> str:
        """`Process 4411 of nas-2 has held the lock since 23 Nov 03:12 UTC; it lives and is no job of this host.`"""
        holder = self.holder
        what = {
            Life.ALIVE: f"it lives and is {f'job #{self.job_id}' if self.job_id else 'no job of this host'}",
            Life.DEAD: "it is dead",
            Life.UNKNOWN: "whether it lives can only be seen there",
        }[self.life]
        name = holder.host.partition(".")[0]
        who = f"Process {holder.pid} of {name}" if holder.pid else f"A process that calls itself {holder.host}"
        return harmless(f"{who} has held the lock since {wording.moment(holder.since)}; {what}.")


async def held_by(settings: Settings, repository: Repository) -> tuple[Held, ...] | None:
    """Who holds the lock of a repository; None where that can't be seen, as it is on a server."""
    if not repository.location.startswith("/"):
        return None
    return await asyncio.to_thread(_held_by, settings, Path(repository.location))


async def described(settings: Settings, repository: Repository) -> str:
    """Who holds the lock, in sentences."""
    held = await held_by(settings, repository)
    if held is None:
        return "Who holds the lock can only be seen on the server."
    return " ".join(each.sentence for each in held)


def _held_by(settings: Settings, location: Path) -> tuple[Held, ...]:
    found = []
    for holder in lock_holders(location):
        life = _life(holder)
        found.append(Held(holder, life, _job_of(settings, holder.pid) if life is Life.ALIVE else None))
    return tuple(found)


def _life(holder: LockHolder) -> Life:
    """A process of this host is dead when it is gone, or when its pid is that of one that started after the lock."""
    if holder.node != uuid.getnode() or holder.host not in _own_names():
        return Life.UNKNOWN
    started_at = _started_at(holder.pid)
    if started_at is None or started_at > (holder.since + CLOCK_TICKS).timestamp():
        return Life.DEAD
    return Life.ALIVE


def _own_names() -> set[str]:
    """The names under which borg may have seen this host: its own, and the canonical one of the resolver."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        addresses = socket.getaddrinfo(name, None, 0, socket.SOCK_DGRAM, 0, socket.AI_CANONNAME)
        return {name, *(canonical for _, _, _, canonical, _ in addresses if canonical)}
    return {name}


def _started_at(pid: int) -> float | None:
    """When a process started, in Unix seconds; None without such a process (proc_pid_stat(5))."""
    with contextlib.suppress(OSError, ValueError):
        ticks = int(_stat(pid)[19])
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return boot + ticks / 100  # USER_HZ
    return None


def _job_of(settings: Settings, pid: int) -> int | None:
    """The job whose supervisor started this process."""
    with contextlib.suppress(OSError, ValueError):
        parent = int(_stat(pid)[1])
        for run in RunDirectory.all_in(settings.runs):
            supervisor = run.supervisor()
            if supervisor is not None and supervisor["pid"] == parent and run.supervised():
                return run.job_id
    return None


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
