"""Who holds a repository's lock, by the names that borg gives its lock files. Pure but for reading the repository.

Source: borg's `locking.py` and `platform/base.py`, 1.2 and 1.4: `lock.exclusive/` holds one file for the exclusive
holder, called `<host>@<node>.<pid>-<thread>`; `lock.roster` is JSON that names all holders.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_NAME = re.compile(r"(?P<host>.+)@(?P<node>[0-9]+)\.(?P<pid>[0-9]+)-[0-9a-f]+")
_HOST_ID = re.compile(r"(?P<host>.+)@(?P<node>[0-9]+)")


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A process that holds the lock, as it called itself, and since when (UTC), as far as files tell."""

    host: str
    node: int
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
    except OSError:
        return []


def _holder(file: Path) -> LockHolder | None:
    match = _NAME.fullmatch(file.name)
    since = _changed_at(file)
    if match is None or since is None:
        return None
    return LockHolder(match["host"], int(match["node"]), int(match["pid"]), since)


def _in_roster(file: Path) -> list[LockHolder]:
    since = _changed_at(file)
    try:
        roster = json.loads(file.read_bytes())
        rows = [tuple(row) for rows in roster.values() for row in rows]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
    return [LockHolder(host["host"], int(host["node"]), pid, since) for host, pid in map(_row, rows) if host and since]


def _row(row: tuple[object, ...]) -> tuple[re.Match[str] | None, int]:
    match row:
        case (str(host), int(pid), *_):
            return _HOST_ID.fullmatch(host), pid
    return None, 0


def _changed_at(file: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return None
