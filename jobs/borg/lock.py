"""Who holds a repository's lock, by the names that borg gives its lock files. Pure but for reading the repository.

Source: borg's `locking.py` and `platform/base.py`, 1.2 and 1.4: `lock.exclusive/` holds one file for the exclusive
holder, called `<host>@<node>.<pid>-<thread>`; `lock.roster` is JSON that names all holders.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_NAME = re.compile(r"(?P<id>.+)\.(?P<pid>[0-9]+)-[0-9a-f]+")
_HOST_ID = re.compile(r"(?P<host>.+)@(?P<node>[0-9]+)")


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A process that holds the lock, as it called itself, and since when (UTC), as far as files tell.

    `node` is None where it called itself otherwise than borg does by itself (`BORG_HOST_ID`).
    """

    host: str
    node: int | None
    pid: int
    since: datetime


def lock_holders(location: Path) -> tuple[LockHolder, ...]:
    """The holders of a local repository's lock; what changes while it is looked at is passed over. Blocking."""
    exclusive = [_holder(file) for file in _files(location / "lock.exclusive")]
    found = [holder for holder in (*exclusive, *_in_roster(location / "lock.roster")) if holder]
    by_process = {(holder.host, holder.node, holder.pid): holder for holder in reversed(found)}
    return tuple(reversed(by_process.values()))


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        return [directory]  # it is held, and who does can't be seen


def _holder(file: Path) -> LockHolder | None:
    """Of every file: one whose name is not understood holds the lock as much as any other."""
    match, since = _NAME.fullmatch(file.name), _changed_at(file)
    if since is None:
        return None
    return _called(match["id"], int(match["pid"]), since) if match else LockHolder(file.name, None, 0, since)


def _in_roster(file: Path) -> list[LockHolder]:
    since = _changed_at(file)
    try:
        roster = json.loads(file.read_bytes())
        rows = [tuple(row) for rows in roster.values() for row in rows]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
    return [_called(host, pid, since) for row in rows if since for host, pid in [_row(row)]]


def _row(row: tuple[object, ...]) -> tuple[str, int]:
    match row:
        case (str(host), int(pid), *_):
            return host, pid
    return str(row), 0


def _called(host_id: str, pid: int, since: datetime) -> LockHolder:
    match = _HOST_ID.fullmatch(host_id)
    return LockHolder(match["host"], int(match["node"]), pid, since) if match else LockHolder(host_id, None, pid, since)


def _changed_at(file: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return None
