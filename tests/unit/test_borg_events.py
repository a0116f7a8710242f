import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.borg.events import (
    ArchiveProgress,
    FileStatus,
    LogMessage,
    PercentProgress,
    ProgressMessage,
    Text,
    parse_event,
)

SAMPLES = Path(__file__).parents[1] / "samples" / "borg"
LINES = sorted({line for path in SAMPLES.glob("*/*/stderr.jsonl") for line in path.read_bytes().splitlines(True)})

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "original_size",
    "nfiles",
    "path",
    "finished",
    "operation",
    "message",
    "current",
    "info",
    "levelname",
    "status",
]
TYPES = st.sampled_from(["archive_progress", "progress_percent", "progress_message", "log_message", "file_status", "x"])
DOCUMENTS = st.builds(
    lambda kind, fields: fields | {"type": kind}, TYPES, st.dictionaries(st.sampled_from(FIELDS), JSON)
)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            (
                b'{"original_size": 3, "compressed_size": 2, "deduplicated_size": 1, "nfiles": 4, "path": "a/b",'
                b' "time": 1.5, "type": "archive_progress", "finished": false}\n'
            ),
            ArchiveProgress(3, 2, 1, 4, "a/b", finished=False),
        ),
        (
            b'{"time": 1.5, "type": "archive_progress", "finished": true}\n',
            ArchiveProgress(None, None, None, None, None, finished=True),
        ),
        (
            (
                b'{"message": " 0.8% Extracting: a", "current": 5, "total": 9, "info": ["a"], "operation": 1,'
                b' "msgid": "extract", "type": "progress_percent", "finished": false}\n'
            ),
            PercentProgress(1, "extract", " 0.8% Extracting: a", 5, 9, finished=False, info=("a",)),
        ),
        (
            b'{"operation": 2, "msgid": "cache.commit", "type": "progress_message", "finished": true}\n',
            ProgressMessage(2, "cache.commit", None, finished=True),
        ),
        (
            b'{"type": "log_message", "message": "m", "levelname": "ERROR", "name": "borg.x", "msgid": "LockTimeout"}',
            LogMessage("ERROR", "m", "LockTimeout", "borg.x"),
        ),
        (b'{"type": "file_status", "status": "A", "path": "caf\\u00e9 \\udce9"}\n', FileStatus("A", "café \ufffd")),
        (b'{"type": "question_prompt", "msgid": "X", "message": "Go on? [yN]"}\n', Text("Go on? [yN]")),
        (b'{"type": "log_message", "message": 7}\n', Text('{"type": "log_message", "message": 7}')),
        (b'{"type": "archive_prog', Text('{"type": "archive_prog')),
        (b"plain \xff text\r\n", Text("plain \ufffd text")),
        (b"", Text("")),
    ],
)
def test_line_becomes_its_event(line, event):
    assert parse_event(line) == event


def test_figure_of_the_wrong_type_is_unknown():
    line = b'{"type": "archive_progress", "original_size": "3", "nfiles": true, "compressed_size": -1, "path": []}'
    assert parse_event(line) == ArchiveProgress(None, None, None, None, None, finished=False)


def test_message_behind_an_unended_prompt_is_found():
    message = (
        b'{"type": "log_message", "message": "m", "levelname": "ERROR", "name": "n", "msgid": "NoPassphraseFailure"}'
    )
    event = parse_event(b"Enter passphrase for key /data/sealed: " + message)
    assert event == LogMessage("ERROR", "m", "NoPassphraseFailure", "n")


@pytest.mark.parametrize("line", [b'{"a":' * 100_000, b"{" + b"[" * 100_000, b'{"nfiles": ' + b"9" * 5000 + b"}"])
def test_hostile_json_is_text(line):
    assert isinstance(parse_event(line), Text)


def test_every_recorded_json_line_is_understood():
    for line in LINES:
        if line.startswith(b"{") and b'"type": "question_' not in line:
            assert not isinstance(parse_event(line), Text), line


@given(st.binary())
@example(b'{"type": "log_message", "message": "\\ud800"}')
def test_any_bytes_give_an_event_that_can_be_encoded(line):
    repr(parse_event(line)).encode()


@given(DOCUMENTS)
def test_any_types_inside_give_an_event_that_can_be_encoded(document):
    event = parse_event(json.dumps(document).encode())
    for name in event.__slots__:
        json.dumps(getattr(event, name), ensure_ascii=False).encode()


@given(st.sampled_from(LINES), st.integers(0, 400))
def test_cut_line_never_raises(line, length):
    parse_event(line[:length])
