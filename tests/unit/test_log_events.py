"""A log's events hold its lines whole, however it comes in pieces, and each says where to go on."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.log_store import Position
from jobs.view import JobStatus
from webhooks.api.log_events import LogEvents, place_of

PIECES = st.lists(st.binary(min_size=1, max_size=30).map(lambda piece: piece.replace(b"\r", b"")), max_size=20)


def events_of(stream):
    for block in stream.split(b"\n\n")[:-1]:
        fields = [line.partition(b": ")[::2] for line in block.split(b"\n")]
        yield dict(fields).get(b"id"), b"\n".join(value for name, value in fields if name == b"data")


@given(PIECES)
def test_client_that_is_cut_off_anywhere_gets_every_byte_once(pieces):
    whole, at, events = b"".join(pieces), Position(), LogEvents()
    told = b""
    for piece in filter(None, pieces):
        at = Position(at.number + 1, at.start + len(piece))
        for place, data in events_of(events.feed(piece, at)):
            told += data + b"\n"
            resumed = place_of(place.decode())
            assert resumed.number == at.number
            assert at.start - len(piece) <= resumed.start <= at.start
            assert told.replace(b"\n", b"") == whole[: resumed.start].replace(b"\n", b"")
    told += b"".join(data for place, data in events_of(events.end(JobStatus.FAILED)) if data != b"failed")
    assert told.replace(b"\n", b"") == whole.replace(b"\n", b"")


def test_carriage_return_ends_no_line_of_the_stream():
    assert LogEvents().feed(b"a\rb\n", Position(1, 4)) == b"id: 1-4\ndata: a b\n\n"
