"""Logs in the database: every byte below the limits; above them head and tail, and how much is missing."""

import asyncio
import re
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import lifecycle, log_store
from jobs.database.unit import unit
from jobs.lifecycle import NewJob
from jobs.log_store import Position
from jobs.models import LogChunk

FAST = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def small(monkeypatch):
    """Limits that a test reaches with a few bytes."""
    limits = {"CHUNK_BYTES": 16, "MERGED_BYTES": 8, "HEAD_BYTES": 64, "TAIL_BYTES": 64}
    for name, value in limits.items():
        monkeypatch.setattr(log_store, name, value)


async def job():
    new = NewJob(kind="backup", host="a", requested_by="x", origin="cli")
    return (await unit(partial(lifecycle.create, new))).id


async def append(job_id, text):
    return await unit(partial(log_store.append, job_id, await log_store.position(job_id), text))


async def stored(job_id, at=None):
    return [piece async for piece, _ in log_store.read(job_id, at or Position())]


@FAST
@given(pieces=st.lists(st.binary(max_size=40), max_size=4))
async def test_every_byte_comes_back_in_order(opened_sqlite, small, pieces):
    job_id = await job()
    for piece in pieces:
        await append(job_id, piece)
    text = b"".join(pieces)[:150]
    assert b"".join(await stored(job_id))[:150] == text[:150]
    assert (await log_store.position(job_id)).start == len(b"".join(pieces))


@FAST
@given(pieces=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12))
async def test_follower_gets_every_byte_once_however_the_pieces_fall(opened_sqlite, small, pieces):
    job_id, at, followed = await job(), Position(), b""
    for piece in pieces:
        await append(job_id, piece)
        async for text, reached in log_store.read(job_id, at):
            followed += text
            at = reached
    assert followed == b"".join(pieces)


@FAST
@given(sizes=st.lists(st.integers(1, 60), min_size=5, max_size=20), data=st.data())
async def test_long_log_keeps_head_and_tail_and_says_what_is_missing(opened_sqlite, small, sizes, data):
    job_id = await job()
    whole = bytes(65 + number % 26 for number in range(sum(sizes)))
    at = 0
    for size in sizes:
        await append(job_id, whole[at : at + size])
        at += size
    text = b"".join(await stored(job_id))
    gap = re.search(rb"\n\xe2\x80\xa6 ([0-9,]+) bytes of the log were dropped here \xe2\x80\xa6\n", text)
    if gap is None:
        assert text == whole
        return
    head, tail, dropped = text[: gap.start()], text[gap.end() :], int(gap[1].replace(b",", b""))
    assert len(head) >= 64
    assert len(tail) >= 64
    assert head + whole[len(head) : len(head) + dropped] + tail == whole
    assert len(head) + len(tail) <= 64 + 64 + 4 * 16


async def test_log_that_comes_in_drops_loses_nothing_and_takes_few_rows(opened_sqlite):
    job_id = await job()
    at = Position()
    for number in range(300):
        at = await unit(partial(log_store.append, job_id, at, b"line %d\n" % number))
    assert b"".join(await stored(job_id)) == b"".join(b"line %d\n" % number for number in range(300))
    assert await LogChunk.filter(job_id=job_id).count() == 1


async def test_log_is_read_on_from_a_position(opened, small):
    job_id = await job()
    await append(job_id, b"a" * 20)
    at = await append(job_id, b"b" * 20)
    assert await stored(job_id, at) == []
    await append(job_id, b"c" * 3)
    assert b"".join(await stored(job_id, at)) == b"ccc"


async def test_reader_whose_place_was_dropped_is_told_so(opened_sqlite, small):
    job_id = await job()
    at = await append(job_id, b"a" * 80)
    await append(job_id, b"b" * 400)
    first, *_ = await stored(job_id, at)
    assert b"bytes of the log were dropped" in first


async def test_piece_is_as_long_as_a_row_may_be(opened_sqlite):
    job_id = await job()
    await append(job_id, b"x" * (2 * log_store.CHUNK_BYTES + 1))
    sizes = await LogChunk.filter(job_id=job_id).order_by("number").values_list("size", flat=True)
    assert sizes == [log_store.CHUNK_BYTES, log_store.CHUNK_BYTES, 1]


async def test_nothing_written_is_nothing_read(opened_sqlite):
    job_id = await job()
    assert await append(job_id, b"") == Position()
    assert await stored(job_id) == []
    assert await log_store.tail(job_id, 5) == []


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"one\ntwo\nthree\n"], ["two", "three"]),
        ([b"one\n", b"two\n", b"three\n"], ["two", "three"]),
        ([b"one\ntwo\nthr", b"ee"], ["two", "three"]),
        ([b"one\n"], ["one"]),
        (["ä\nöü\n".encode()[:4], "ä\nöü\n".encode()[4:]], ["ä", "öü"]),
        ([b"\xff\n"], ["\ufffd"]),
    ],
)
async def test_tail_is_the_last_lines_wherever_the_pieces_fall(opened_sqlite, small, pieces, lines):
    job_id = await job()
    for piece in pieces:
        await append(job_id, piece)
    assert await log_store.tail(job_id, 2) == lines


async def test_tail_reaches_back_over_many_short_pieces(opened_sqlite, small):
    job_id = await job()
    for number in range(40):
        await append(job_id, b"number%02d\n" % number)
    assert await log_store.tail(job_id, 5) == [f"number{number:02}" for number in range(35, 40)]


async def test_log_of_a_unit_that_fails_is_not_stored(opened):
    job_id = await job()

    async def fails():
        await log_store.append(job_id, Position(), b"text")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await unit(fails)
    assert await stored(job_id) == []


@pytest.mark.parametrize("size", [4, 200])
async def test_of_two_followers_one_stores_a_text_and_the_other_is_told(opened, small, size):
    job_id = await job()
    at = await append(job_id, b"begun ")
    text = b"x" * size
    tries = (unit(partial(log_store.append, job_id, at, text)) for _ in range(4))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(result) for result in results].count(log_store.LogMovedError) == 3
    assert (await log_store.position(job_id)).start == len(b"begun ") + size


async def test_writer_that_comes_back_with_an_old_position_stores_nothing(opened_sqlite, small):
    job_id = await job()
    old = await append(job_id, b"a")
    await append(job_id, b"bc")
    for text in (b"bc", b"b" * 100):
        with pytest.raises(log_store.LogMovedError):
            await unit(partial(log_store.append, job_id, old, text))
    assert b"".join(await stored(job_id)) == b"abc"
