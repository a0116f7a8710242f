"""The list of archives is read record by record, whatever the names hold, and a broken one is told."""

import contextlib
import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.borg.archive_list import ListedArchive, MalformedListError, read_archives
from worker.archive_listing import count

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1)


def record(number, name="photos", at=AT):
    return f"{number:064x} {at:%Y-%m-%dT%H:%M:%S} {name}".encode() + b"\0"


@given(st.lists(NAMES, max_size=50))
def test_every_name_comes_back_whole(names):
    listed = [ListedArchive(f"{number:064x}", name, AT + timedelta(number)) for number, name in enumerate(names)]
    output = b"".join(record(number, name, AT + timedelta(number)) for number, name in enumerate(names))
    assert list(read_archives(io.BytesIO(output))) == listed


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (record(1)[:-9], "middle of a record"),
        (record(2) + record(1), "did not sort"),
        (record(1) + record(1), "did not sort"),
        (b"Enter passphrase: \0", "no archive"),
        (record(1).replace(b"-01-02T", b"-13-02T"), "time that is none"),
        (b"x" * 1_000_000, "middle of a record"),
    ],
)
def test_what_is_no_list_is_refused(output, said):
    with pytest.raises(MalformedListError, match=said):
        list(read_archives(io.BytesIO(output)))


@given(st.binary())
def test_any_output_is_a_list_or_a_value_error(output):
    with contextlib.suppress(ValueError):
        list(read_archives(io.BytesIO(output)))


def test_archives_are_counted_without_holding_them(tmp_path):
    (tmp_path / "stdout").write_bytes(b"".join(map(record, range(3000))))
    assert count(tmp_path / "stdout") == 3000
