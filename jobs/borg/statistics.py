"""What an archive holds, read from `borg create --json` and from `borg info --json REPOSITORY::ARCHIVE`."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


class MalformedStatistics(ValueError):
    """Borg's JSON does not hold the figures of one archive."""


@dataclass(frozen=True, slots=True)
class ArchiveStatistics:
    """One archive. Sizes are bytes, `started_at` is UTC; `cache_unique_csize` is what the repository holds in all.

    `deduplicated_size` from `create` is what the archive added; from `info` it is what no other archive holds *now*.
    In 1.4 both are the same while the archive is the newest; in 1.2 they differ by the archive's metadata, which
    `create` counts in all sizes, and `info` in this one only.
    """

    id: str
    name: str
    started_at: datetime
    duration_s: float
    original_size: int
    compressed_size: int
    deduplicated_size: int
    nfiles: int
    repository_id: str
    cache_unique_csize: int | None


def parse_create(stdout: bytes) -> ArchiveStatistics:
    """Read the whole stdout of `borg create --json`; raises MalformedStatistics."""
    document = _document(stdout, "create")
    return _statistics(document, document.get("archive"), "create")


def parse_info_archives(stdout: bytes) -> ArchiveStatistics | None:
    """Read the whole stdout of `borg info --json` for one archive, by its name or by a pattern that matches only it.

    None where the pattern matches none; raises MalformedStatistics.
    """
    document = _document(stdout, "info")
    match document.get("archives"):
        case [archive]:
            return _statistics(document, archive, "info")
        case []:
            return None
        case _:
            raise MalformedStatistics("borg info --json did not describe exactly one archive.")


def _document(stdout: bytes, command: str) -> dict[str, Any]:
    try:
        document = json.loads(stdout)
    except (ValueError, RecursionError) as error:
        raise MalformedStatistics(f"borg {command} --json printed no JSON document ({len(stdout)} bytes).") from error
    if not isinstance(document, dict):
        raise MalformedStatistics(f"borg {command} --json printed JSON that is no object.")
    return document


def _statistics(document: dict[str, Any], archive: Any, command: str) -> ArchiveStatistics:
    try:
        stats = archive["stats"]
        return ArchiveStatistics(
            id=_text(archive["id"]),
            name=_text(archive["name"]),
            started_at=_utc(archive["start"]),
            duration_s=float(archive["duration"]),
            original_size=_count(stats["original_size"]),
            compressed_size=_count(stats["compressed_size"]),
            deduplicated_size=_count(stats["deduplicated_size"]),
            nfiles=_count(stats["nfiles"]),
            repository_id=_text(document["repository"]["id"]),
            cache_unique_csize=_cache_size(document.get("cache")),
        )
    except KeyError as error:
        raise MalformedStatistics(f"borg {command} --json printed a document without {error}.") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedStatistics(f"borg {command} --json printed a figure that cannot be read: {error}.") from error


def _cache_size(cache: Any) -> int | None:
    match cache:
        case {"stats": {"unique_csize": int(size)}}:
            return size
        case _:
            return None


def _utc(value: Any) -> datetime:
    """Read borg's ISO time: it names no zone, and with TZ=UTC, which our environment sets, it is UTC."""
    moment = datetime.fromisoformat(_text(value))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r:.40} is no count")
    return value
