"""The progress of check, compact and prune: stage after stage, by what real borgs said and by anything they might."""

from functools import reduce
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.borg.events import PercentProgress, ProgressMessage, parse_event
from jobs.borg.sizes import bytes_of
from jobs.borg.stages import staged
from jobs.view import Progress

SAMPLES = Path(__file__).parents[1] / "samples" / "borg"
VERSIONS = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())

EVENTS = st.one_of(
    st.builds(
        PercentProgress, st.integers(1, 3), st.none(), st.none() | st.text(), st.none() | st.integers(0, 50),
        st.none() | st.integers(0, 40), st.booleans(), st.just(()),
    ),
    st.builds(ProgressMessage, st.integers(1, 3), st.none(), st.none() | st.text(), st.booleans()),
)  # fmt: skip


def seen(version, case):
    lines = (SAMPLES / version / case / "stderr.jsonl").read_bytes().splitlines()
    shown = [Progress()]
    for line in lines:
        shown.append(staged(parse_event(line), shown[-1]))
    return shown


@pytest.mark.parametrize("version", VERSIONS)
def test_stages_of_a_check_come_one_after_another(version):
    stages = list(dict.fromkeys((p.progress_message or "").rpartition(" ")[0] for p in seen(version, "check_data")[1:]))
    assert stages == ["Checking segments", "Verifying data", "Checking archives"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", ["check", "check_data", "check_data_damaged", "compact"])
def test_percentage_falls_only_where_a_new_stage_begins(version, case):
    shown = seen(version, case)[1:]
    falls = [new.operation for old, new in pairwise(shown) if (new.progress or 0) < old.progress]
    assert falls == sorted(set(falls) - {1})
    assert shown[0].progress == 0.0
    assert shown[0].progress_message in {"Checking segments 0.0%", "Compacting segments 0%"}


@given(st.lists(EVENTS, max_size=20))
def test_within_a_stage_nothing_runs_backwards_whatever_borg_says(events):
    progress = Progress()
    for event in events:
        after = staged(event, progress)
        assert after.progress is None or 0 <= after.progress <= 100
        if after.operation == progress.operation and None not in {after.progress, progress.progress}:
            assert after.progress >= progress.progress
        progress = after


def test_stage_that_cannot_count_says_only_what_it_is_at():
    counted = PercentProgress(1, "a", "Checking segments  10.0%", 11, 100, False, ())
    message = ProgressMessage(2, "b", "Rebuilding", finished=False)
    progress = reduce(lambda progress, event: staged(event, progress), (counted, message), Progress())
    assert (progress.progress, progress.progress_message) == (None, "Rebuilding")


def test_stage_is_not_shown_outside():
    assert "operation" not in staged(ProgressMessage(2, "b", "x", finished=False), Progress()).model_dump()


@pytest.mark.parametrize(
    ("text", "size"), [("9.01 MB", 9_010_000), ("-527 B", 527), ("0 B", 0), ("1.20 kB", 1200), ("+3.00 TB", 3 * 10**12)]
)
def test_size_is_read_as_borg_writes_it(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "12", "MB", "1.2.3 MB", "nan B", "5 XB", "9.01 MB\n"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="no size"):
        bytes_of(text)
