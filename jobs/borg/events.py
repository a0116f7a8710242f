"""What borg says on stderr with `--log-json`: one line in, one typed event out.

Source: borg's manual, "All about JSON: How to develop frontends" (internals/frontends), 1.2 and 1.4.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ArchiveProgress:
    """How far `create` is. Sizes are bytes; the last event says `finished` and has no figures: None is unknown."""

    original_size: int | None
    compressed_size: int | None
    deduplicated_size: int | None
    nfiles: int | None
    path: str | None
    finished: bool


@dataclass(frozen=True, slots=True)
class PercentProgress:
    """How far one operation is; `extract` counts bytes, the others items. `operation` and `msgid` tell them apart."""

    operation: int | None
    msgid: str | None
    message: str | None
    current: int | None
    total: int | None
    finished: bool
    info: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProgressMessage:
    """An operation that cannot count: it only says what it is at."""

    operation: int | None
    msgid: str | None
    message: str | None
    finished: bool


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A line of borg's own log; `msgid` names errors (1.2) and warnings too (1.4), `name` is the logger."""

    level: str
    message: str
    msgid: str | None
    name: str


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file of `create --list`: A added, M modified, U unchanged, E error, C changed meanwhile, d directory …."""

    status: str
    path: str


@dataclass(frozen=True, slots=True)
class Text:
    """Anything else, as text without its line end: a traceback of Python, a usage message, the question of a prompt."""

    text: str


Event = ArchiveProgress | PercentProgress | ProgressMessage | LogMessage | FileStatus | Text
Document = Mapping[str, Any]

_SURROGATE = re.compile("[\ud800-\udfff]")
# getpass asks without ending the line, so that the message after it stands on the same one.
_PROMPT = re.compile(rb"Enter [^{]*(?=\{)")


def parse_event(line: bytes) -> Event:
    """Read one line; what is no event that borg documents becomes `Text`. Never raises."""
    document = _document(line)
    if document is None:
        return _plain(line)
    build = _BUILDERS.get(_text(document, "type") or "")
    event = build(document) if build else None
    if event is not None:
        return event
    message = _text(document, "message")
    return _plain(line) if message is None else Text(message)


def _plain(line: bytes) -> Text:
    return Text(_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", line.decode(errors="replace").rstrip("\r\n")))


def _document(line: bytes) -> Document | None:
    prompt = _PROMPT.match(line)
    candidate = line[prompt.end() :] if prompt else line
    if not candidate.startswith(b"{"):
        return None
    try:
        document = json.loads(candidate)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _text(document: Document, key: str) -> str | None:
    """Return a string that can be encoded: borg writes the undecodable bytes of a file name as lone surrogates."""
    value = document.get(key)
    if not isinstance(value, str):
        return None
    return value if value.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)


def _count(document: Document, key: str) -> int | None:
    value = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _archive_progress(document: Document) -> Event:
    return ArchiveProgress(
        original_size=_count(document, "original_size"),
        compressed_size=_count(document, "compressed_size"),
        deduplicated_size=_count(document, "deduplicated_size"),
        nfiles=_count(document, "nfiles"),
        path=_text(document, "path"),
        finished=document.get("finished") is True,
    )


def _percent_progress(document: Document) -> Event:
    info = document.get("info")
    return PercentProgress(
        operation=_count(document, "operation"),
        msgid=_text(document, "msgid"),
        message=_text(document, "message"),
        current=_count(document, "current"),
        total=_count(document, "total"),
        finished=document.get("finished") is True,
        info=tuple(filter(None, (_text({"": part}, "") for part in info))) if isinstance(info, list) else (),
    )


def _progress_message(document: Document) -> Event:
    return ProgressMessage(
        operation=_count(document, "operation"),
        msgid=_text(document, "msgid"),
        message=_text(document, "message"),
        finished=document.get("finished") is True,
    )


def _log_message(document: Document) -> Event | None:
    message = _text(document, "message")
    if message is None:
        return None
    level, name = _text(document, "levelname"), _text(document, "name")
    return LogMessage(level=level or "INFO", message=message, msgid=_text(document, "msgid"), name=name or "")


def _file_status(document: Document) -> Event | None:
    status, path = _text(document, "status"), _text(document, "path")
    return None if status is None or path is None else FileStatus(status, path)


_BUILDERS: dict[str, Callable[[Document], Event | None]] = {
    "archive_progress": _archive_progress,
    "progress_percent": _percent_progress,
    "progress_message": _progress_message,
    "log_message": _log_message,
    "file_status": _file_status,
}
