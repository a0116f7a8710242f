"""A log as server-sent events: its lines, each with the place at which a client that was cut off goes on. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re

from jobs.log_store import Position
from jobs.view import JobStatus

MEDIA_TYPE = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"
_PLACE = re.compile(r"([0-9]{1,9})-([0-9]{1,18})")


def place_of(last_event_id: str | None) -> Position:
    """Where to go on; the beginning where the client does not say, or says what is none of our ids."""
    match = _PLACE.fullmatch(last_event_id or "")
    return Position(int(match[1]), int(match[2])) if match else Position()


class LogEvents:
    """Cuts pieces of text, of any size, into events of whole lines; of its memory a piece is the most."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes, after: Position) -> bytes:
        """The event of the lines that a piece ends, of which `after` is the position behind it; empty if it ends none.

        A line that is longer than a piece is sent in parts, so that the place to go on is always within the last one.
        """
        text, line_end, self._rest = (self._rest + piece).rpartition(b"\n")
        if len(self._rest) >= len(piece):
            text, line_end, self._rest = text + line_end + self._rest, b"\n", b""
        if not line_end:
            return b""
        return _event(text, Position(after.number, after.start - len(self._rest)))

    def end(self, status: JobStatus) -> bytes:
        """What is left, and that nothing follows: `event: end` with the job's state."""
        rest = _data(self._rest) + b"\n" if self._rest else b""
        self._rest = b""
        return rest + f"event: end\ndata: {status}\n\n".encode()


def _event(text: bytes, place: Position) -> bytes:
    return f"id: {place.number}-{place.start}\n".encode() + _data(text) + b"\n"


def _data(text: bytes) -> bytes:
    # A carriage return would end a line of the stream, too.
    return b"".join(b"data: " + line.replace(b"\r", b" ") + b"\n" for line in text.split(b"\n"))
