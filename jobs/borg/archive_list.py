"""The list of a repository's archives, record by record: of a hundred thousand none but the one at hand is held.

Source: borg's manual, "borg list" and its format keys (usage/list), 1.2 and 1.4.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

OPTIONS = ("--sort-by", "id", "--format", "{id} {time:%Y-%m-%dT%H:%M:%S} {barchive}{NUL}")
"""What `borg list` is asked with: all that the manifest has, so that no archive need be opened for it."""
READ_BYTES = 65_536
LONGEST_RECORD = 65_536

_RECORD = re.compile(rb"([0-9a-f]{64}) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d) (.+)", re.DOTALL)


class MalformedListError(ValueError):
    """Borg's output is not the list that it was asked for."""


@dataclass(frozen=True, slots=True)
class ListedArchive:
    """One archive of the list; `id` is 64 hexadecimal digits, the time is UTC."""

    id: str
    name: str
    started_at: datetime


def read_archives(output: BinaryIO) -> Iterator[ListedArchive]:
    """The archives in the order of their ids; raises MalformedListError at a record that is none."""
    before = ""
    for record in _records(output):
        archive = _archive(record)
        if archive.id <= before:
            raise MalformedListError("borg list did not sort the archives by their ids.")
        before = archive.id
        yield archive


def _records(output: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while block := output.read(READ_BYTES):
        *records, rest = (rest + block).split(b"\0")
        yield from records
        if len(rest) > LONGEST_RECORD:
            break
    if rest:
        raise MalformedListError(f"borg list ended in the middle of a record ({len(rest)} bytes).")


def _archive(record: bytes) -> ListedArchive:
    match = _RECORD.fullmatch(record)
    if match is None:
        raise MalformedListError(f"borg list printed what is no archive: {record[:80]!r}.")
    try:
        started_at = datetime.fromisoformat(match[2].decode()).replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedListError(f"borg list printed a time that is none: {error}.") from error
    return ListedArchive(match[1].decode(), match[3].decode(errors="replace"), started_at)
