import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.borg.log_text import brief, harmless, readable, shortened

SAMPLES = Path(__file__).parents[1] / "samples" / "borg"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"type": "log_message", "message": "Done", "levelname": "INFO", "name": "borg"}\n', "Done"),
        (b'{"type": "log_message", "message": "Oh", "levelname": "WARNING", "name": "borg"}\n', "WARNING: Oh"),
        (b'{"type": "log_message", "message": "a\\nb\\n", "levelname": "ERROR", "name": "x"}\n', "ERROR: a ↵ b"),
        (b'{"type": "log_message", "message": "", "levelname": "INFO", "name": "borg.output.stats"}\n', None),
        (b'{"type": "log_message", "message": "0%", "levelname": "INFO", "name": "borg.output.progress"}\n', None),
        (b'{"type": "file_status", "status": "A", "path": "a\\u001b[2Jb"}\n', "A a\\x1b[2Jb"),
        (b'{"type": "archive_progress", "finished": true}\n', None),
        (b'{"type": "progress_percent", "current": 1}\n', None),
        (b'{"type": "progress_message", "message": "Saving"}\n', None),
        (b"plain\ttext \x07\r\n", "plain\ttext \\x07"),
        ("name\u202egpj".encode(), "name\\u202egpj"),
        (b"Remote: ssh://me:hunter2@backup/photos\n", "Remote: ssh://me@backup/photos"),
        (b"\n", None),
    ],
)
def test_line_as_the_log_stores_it(line, text):
    assert readable(line) == text


def assert_harmless(text: str | None):
    assert text is None or not [sign for sign in text if unicodedata.category(sign) in {"Cc", "Cs"} and sign != "\t"]


@given(st.binary())
def test_no_bytes_raise_or_leave_a_control_character(line):
    assert_harmless(readable(line))


@given(st.text(st.characters(), min_size=1))
def test_no_message_raises_or_leaves_a_control_character(message):
    document = {"type": "log_message", "message": message, "levelname": message, "name": "borg"}
    assert_harmless(readable(json.dumps(document).encode()))
    assert_harmless(harmless(message))
    assert_harmless(brief(message))
    assert_harmless(shortened(message))


def test_recorded_logs_are_readable():
    for path in SAMPLES.glob("*/*/stderr.jsonl"):
        texts = [readable(line) for line in path.read_bytes().splitlines(keepends=True)]
        assert not [text for text in texts if text and text.startswith('{"')]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("/a/b: open: [Errno 13] Permission denied: 'b'", "/a/b: Permission denied"),
        ("/a: b: [Errno 2] No such file or directory: '/a: b'", "/a: No such file or directory"),
        ("/a: file changed while we backed it up", "/a: file changed while we backed it up"),
    ],
)
def test_warning_about_a_file_is_shortened(message, text):
    assert shortened(message) == text


def test_brief_text_is_bounded():
    assert len(brief("x" * 10_000)) == 200
