import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.borg.statistics import ArchiveStatistics, MalformedStatistics, parse_create, parse_info_archives

SAMPLES = Path(__file__).parents[1] / "samples" / "borg"
VERSIONS = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())
CREATED = (SAMPLES / VERSIONS[-1] / "create_fresh" / "stdout").read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_create_and_info_tell_the_same_archive(version):
    created = parse_create((SAMPLES / version / "create_fresh" / "stdout").read_bytes())
    informed = parse_info_archives((SAMPLES / version / "info_newest" / "stdout").read_bytes())
    assert created.name == informed.name == "one"
    assert created.started_at.tzinfo is UTC
    for name in ("id", "started_at", "duration_s", "nfiles", "repository_id", "cache_unique_csize"):
        assert getattr(created, name) == getattr(informed, name)


@pytest.mark.parametrize("version", VERSIONS)
def test_sizes_of_info_are_those_of_create_but_for_metadata_in_borg_1_2(version):
    created = parse_create((SAMPLES / version / "create_fresh" / "stdout").read_bytes())
    informed = parse_info_archives((SAMPLES / version / "info_newest" / "stdout").read_bytes())
    tolerance = 2000 if version.startswith("1.2") else 0
    for name in ("original_size", "compressed_size", "deduplicated_size"):
        assert abs(getattr(created, name) - getattr(informed, name)) <= tolerance


def test_figures_are_read():
    document = {
        "archive": {
            "id": "a1",
            "name": "photos-1",
            "start": "2026-03-29T02:30:00.000000",
            "duration": 2,
            "stats": {"original_size": 30, "compressed_size": 20, "deduplicated_size": 10, "nfiles": 4},
        },
        "repository": {"id": "b2"},
    }
    start = datetime(2026, 3, 29, 2, 30, tzinfo=UTC)
    expected = ArchiveStatistics("a1", "photos-1", start, 2.0, 30, 20, 10, 4, "b2", None)
    assert parse_create(json.dumps(document).encode()) == expected


def test_time_with_a_zone_is_turned_into_utc():
    stdout = CREATED.replace(b'.000000"', b'+02:00"')
    assert parse_create(stdout).started_at.hour == (parse_create(CREATED).started_at.hour - 2) % 24


@pytest.mark.parametrize(
    "stdout",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        CREATED[:-5],
        CREATED.replace(b'"nfiles": ', b'"nfiles": -'),
        CREATED.replace(b'"nfiles": ', b'"nfiles": 0.'),
        CREATED.replace(b'"original_size"', b'"size"'),
        CREATED.replace(b'"start": "2', b'"start": "x'),
        CREATED.replace(b'"name": "one"', b'"name": null'),
    ],
)
def test_malformed_document_is_refused_with_a_sentence(stdout):
    with pytest.raises(MalformedStatistics, match=r"^borg create --json .*\.$"):
        parse_create(stdout)


def test_info_about_a_pattern_that_matches_nothing_is_no_archive():
    assert parse_info_archives(b'{"archives": []}') is None


@pytest.mark.parametrize("archives", [b"[{}, {}]", b"null"])
def test_info_about_more_than_one_archive_is_refused(archives):
    with pytest.raises(MalformedStatistics, match="exactly one"):
        parse_info_archives(b'{"archives": %s}' % archives)


@given(st.binary() | st.sampled_from(range(0, len(CREATED), 7)).map(lambda cut: CREATED[:cut] + CREATED[cut + 3 :]))
def test_nothing_but_malformed_statistics_is_raised(stdout):
    for parse in (parse_create, parse_info_archives):
        with contextlib.suppress(MalformedStatistics):
            parse(stdout)
