"""Job logs in the database: compressed pieces, head and tail kept, the middle dropped and said; read piece by piece."""

import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tortoise.exceptions import IntegrityError

from jobs.database.unit import reader
from jobs.models import Job, LogChunk

CHUNK_BYTES = 65_536
MERGED_BYTES = 4_096
"""A last piece is filled up to this size, so that a log that comes in drops is not a row for each of them."""
HEAD_BYTES = 32 * CHUNK_BYTES
TAIL_BYTES = 32 * CHUNK_BYTES
PAGE = 16


class LogMovedError(IntegrityError):
    """The log is not where the writer left it: another follower has stored meanwhile. Nothing was stored."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log has been stored or read: the next piece's number and the byte at which it starts."""

    number: int = 0
    start: int = 0


async def position(job_id: int) -> Position:
    """Where the next piece of the job's log belongs."""
    return _after(await _last(job_id))


async def append(job_id: int, at: Position, text: bytes) -> Position:
    """Inside a unit: store `text` in pieces of at most 64 KiB and drop the middle of a log that has grown too long.

    Raises `LogMovedError` where the log does not end at `at`: of two followers one stores a text, and only once.
    """
    if not text:
        return at
    # One writer at a time: what is read here must still be so when the piece is written (PostgreSQL).
    await Job.filter(id=job_id).only("id").select_for_update().first()
    last = await _last(job_id)
    if _after(last) != at:
        raise LogMovedError(f"The log of job {job_id} does not end at byte {at.start} any more.")
    if last is not None and await _merged(last, text):
        return Position(at.number, at.start + len(text))
    for offset in range(0, len(text), CHUNK_BYTES):
        piece = text[offset : offset + CHUNK_BYTES]
        await LogChunk.create(
            job_id=job_id, number=at.number, start=at.start, size=len(piece), data=zlib.compress(piece)
        )
        at = Position(at.number + 1, at.start + len(piece))
    kept_from = at.start - TAIL_BYTES - CHUNK_BYTES
    if kept_from > HEAD_BYTES:
        await LogChunk.filter(job_id=job_id, start__gte=HEAD_BYTES, start__lt=kept_from).delete()
    return at


async def read(job_id: int, at: Position) -> AsyncIterator[tuple[bytes, Position]]:
    """The stored pieces from `at` on, each with the position after it; a dropped middle is said in a line."""
    while True:
        # The piece before `at` is looked at again: it may have been filled up.
        rows = LogChunk.filter(job_id=job_id, number__gte=at.number - 1).using_db(reader())
        chunks = await rows.order_by("number").limit(PAGE)
        for chunk in chunks:
            if chunk.start + chunk.size <= at.start:
                continue
            if chunk.start > at.start:
                yield _dropped(chunk.start - at.start), at
            unread = zlib.decompress(chunk.data)[max(0, at.start - chunk.start) :]
            at = Position(chunk.number + 1, chunk.start + chunk.size)
            yield unread, at
        if len(chunks) < PAGE:
            return


async def tail(job_id: int, lines: int) -> list[str]:
    """The last `lines` lines of the log, as far as its last pieces have them."""
    newest = LogChunk.filter(job_id=job_id).using_db(reader()).order_by("-number")
    text = b""
    for chunk in await newest.limit(PAGE):
        text = zlib.decompress(chunk.data) + text
        if text.count(b"\n") > lines:
            break
    return text.decode(errors="replace").splitlines()[-lines:]


async def _last(job_id: int) -> LogChunk | None:
    return await LogChunk.filter(job_id=job_id).order_by("-number").first()


def _after(last: LogChunk | None) -> Position:
    return Position(last.number + 1, last.start + last.size) if last else Position()


async def _merged(last: LogChunk, text: bytes) -> bool:
    if last.size + len(text) > MERGED_BYTES:
        return False
    last.data = zlib.compress(zlib.decompress(last.data) + text)
    last.size += len(text)
    await last.save(update_fields=["data", "size"])
    return True


def _dropped(size: int) -> bytes:
    return f"\n… {size:,} bytes of the log were dropped here …\n".encode()
