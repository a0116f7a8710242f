import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import wording


@pytest.mark.parametrize(
    ("bytes_", "words"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (84_200_000.0, "84.2 MB"),
        (31_200_000_000, "31.2 GB"),
        (4 * 10**12, "4.0 TB"),
        (10**22, "10,000.0 EB"),
    ],
)
def test_sizes_are_decimal_with_one_decimal_place(bytes_, words):
    assert wording.size(bytes_) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "under 1 s"),
        (12, "12 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (252, "4 min 12 s"),
        (3_600, "1 h"),
        (3_659, "1 h"),
        (5_040, "1 h 24 min"),
        (90_000, "1 d 1 h"),
        (1_000_000, "11 d 13 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds, words):
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "about 10 s"),
        (43, "about 40 s"),
        (58, "about 1 min"),
        (141, "about 2 min"),
        (3_580, "about 1 h"),
        (4_300, "about 1 h 10 min"),
        (40_000, "about 11 h"),
    ],
)
def test_time_left_is_rounded_to_what_a_forecast_can_know(seconds, words):
    assert wording.rough_duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 files"), (1, "1 file"), (1_204, "1,204 files")])
def test_counts_have_their_plural(number, words):
    assert wording.count(number, "file") == words


def test_moments_are_told_in_utc():
    assert wording.moment(datetime(2026, 11, 3, 14, 3, tzinfo=UTC)) == "3 Nov 14:03 UTC"
    assert wording.moment(datetime(2026, 11, 3, 0, 3, tzinfo=timezone(timedelta(hours=2)))) == "2 Nov 22:03 UTC"


@pytest.mark.parametrize(
    ("path", "limit", "short"),
    [
        ("/etc/hosts", 10, "/etc/hosts"),
        ("/home/anna/Pictures/2026/11/IMG_2041.CR3", 30, "/home/…/11/IMG_2041.CR3"),
        ("abcdefghijklmnopqrstuvwxyz", 10, "abc…uvwxyz"),
        ("/a-directory-without-end/" + "x" * 40, 20, "/…" + "x" * 13),
        ("abc", 1, "…"),
    ],
)
def test_long_paths_lose_their_middle(path, limit, short):
    assert wording.shorten(path, limit) == short


@given(st.text(), st.integers(1, 80))
def test_shortened_text_keeps_to_its_limit_and_its_end(path, limit):
    short = wording.shorten(path, limit)
    assert len(short) <= limit
    assert path.endswith(short.rpartition("…")[2]) or short == path


@pytest.mark.parametrize(
    ("fraction", "bar"),
    [
        (-1, "░░░░░░░░░░"),
        (0, "░░░░░░░░░░"),
        (0.62, "██████░░░░"),
        (0.999, "█████████░"),
        (1, "██████████"),
        (7, "██████████"),
    ],
)
def test_bar_is_full_only_at_the_end(fraction, bar):
    assert wording.bar(fraction, 10) == bar


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand  more", "two lines and more"),
        ("bell\x07", "bell�"),
        ("not utf-8 \udcff", "not utf-8 �"),
        ("invoice\u202egnp.exe", "invoice�gnp.exe"),
        ("naïve 日本 👩‍💻", "naïve 日本 👩‍💻"),
    ],
)
def test_names_stay_on_one_line_and_hide_nothing(text, shown):
    assert wording.one_line(text) == shown


def test_log_lines_lose_colours_and_keep_their_indent():
    assert wording.log_line("\x1b[31m  error\x1b[0m:\tdisk\r\n") == "  error:    disk"


@given(st.floats(min_value=0, max_value=1e18))
def test_any_duration_can_be_told(seconds):
    assert wording.duration(seconds)
    assert wording.rough_duration(math.floor(seconds)).startswith("about ")


@given(st.text(), st.integers(1, 40))
def test_clipped_text_keeps_to_its_limit(text, limit):
    assert len(wording.clip(text, limit)) <= limit
