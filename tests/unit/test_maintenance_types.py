"""Check, prune and compact: what they accept, what they run, what they read in the words of real borgs."""

from functools import reduce
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.access import Role
from jobs.borg.events import parse_event
from jobs.errors import InvalidRequestError
from jobs.job_type import Policy, Run, Target
from jobs.types import JOB_TYPES
from jobs.types.check import CheckParameters
from jobs.view import Progress

SAMPLES = Path(__file__).parents[1] / "samples" / "borg"
TARGET = Target("photos", "/r", archive_glob="photos-*", schedule="nightly")
PRUNE, CHECK, COMPACT = (JOB_TYPES[kind] for kind in ("prune", "check", "compact"))


def parameters(kind, **said):
    return kind.parameters.model_validate(said).model_dump(mode="json")


def arguments(kind, **said):
    return kind.arguments(Run(1, TARGET, parameters(kind, **said)))


def read(kind, version, case):
    lines = (SAMPLES / version / case / "stderr.jsonl").read_bytes().splitlines()
    return reduce(lambda progress, line: kind.read_line(parse_event(line), progress), lines, Progress())


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ({}, []),
        ({"repository_only": True}, ["--repository-only"]),
        ({"max_duration": 60}, ["--repository-only", "--max-duration=60"]),
        ({"max_duration": 60, "repository_only": True}, ["--repository-only", "--max-duration=60"]),
        ({"verify_data": True, "repository_only": False}, ["--verify-data"]),
    ],
)
def test_check_runs_as_it_was_asked_and_never_repairs(said, options):
    built = arguments(CHECK, **said)
    assert [option for option in built if option.startswith(("--rep", "--max", "--ver"))] == options
    assert built[-2:] == ("--", "/r")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"max_duration": 60, "repository_only": False}, "repository_only"),
        ({"max_duration": 60, "verify_data": True}, "verify_data"),
        ({"repository_only": True, "verify_data": True}, "verify_data"),
        ({"max_duration": 0}, "max_duration"),
        ({"repair": True}, "repair"),
    ],
)
def test_check_refuses_what_contradicts_itself_by_the_fields_name(said, field):
    with pytest.raises(ValidationError) as refused:
        CheckParameters.model_validate(said)
    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("said", "globs"),
    [
        ({}, ["--glob-archives=photos-*"]),
        ({"archive_name_template": "{schedule}-{now:%Y}-{job}"}, ["--glob-archives=nightly-*-*"]),
        ({"archive_name_template": "-x[{job}"}, ["--glob-archives=-x[[]*"]),
        ({"all": True}, []),
    ],
)
def test_prune_touches_only_what_it_is_meant_for(said, globs):
    built = arguments(PRUNE, keep_daily=7, keep_last=0, **said)
    assert [option for option in built if "glob" in option] == globs
    assert [option for option in built if "keep" in option] == ["--keep-daily=7"]


def test_dry_run_asks_for_no_statistics():
    assert {"--dry-run", "--stats"} & set(arguments(PRUNE, keep_last=1, dry_run=True)) == {"--dry-run"}
    assert {"--dry-run", "--stats"} & set(arguments(PRUNE, keep_last=1)) == {"--stats"}


@pytest.mark.parametrize("said", [{}, {"keep_daily": 0, "keep_last": 0}, {"dry_run": True}, {"all": True}])
def test_prune_that_keeps_nothing_is_refused(said):
    with pytest.raises(InvalidRequestError, match=r"keep_daily.*would remove every archive"):
        PRUNE.check(parameters(PRUNE, **said), TARGET, Policy())


def test_only_what_removes_something_is_asked_about_again():
    assert [kind.destroys({}) for kind in (CHECK, COMPACT, PRUNE)] == [False, True, True]
    assert not PRUNE.destroys({"dry_run": True})
    assert {kind.role for kind in (COMPACT, PRUNE)} == {Role.ADMINISTER}
    assert "archives named photos-* keep 7 daily" in PRUNE.plan({"keep_daily": 7}, TARGET)[0]


@pytest.mark.parametrize("version", ["1.2.4", "1.4.5"])
def test_prune_reads_which_archives_went_and_what_they_held(version):
    seen = read(PRUNE, version, "prune")
    result = PRUNE.read_result(Run(1, TARGET, {}), b"", seen)
    assert [archive.name for archive in seen.removed] == ["two"]
    assert result.removed == {archive.id for archive in seen.removed}
    assert result.repository == {"size": 301_110_000}
    assert result.progress.freed_size in {527, 534}
    assert "removed 1 archive" in result.progress.progress_message


def test_dry_run_counts_as_nothing_done():
    seen = read(PRUNE, "1.2.4", "prune")
    result = PRUNE.read_result(Run(1, TARGET, {"dry_run": True}), b"", seen)
    assert (result.done, result.removed, dict(result.repository)) == (False, frozenset(), {})
    assert result.progress.archives == ("two",)
    assert result.progress.progress_message == "1 archive would be removed: two"


def test_compact_reads_what_it_freed():
    line = (
        b'{"type": "log_message", "message": "compaction freed about 9.01 MB repository space.",'
        b' "levelname": "INFO", "name": "borg.repository"}'
    )
    seen = COMPACT.read_line(parse_event(line), Progress())
    assert COMPACT.read_result(Run(1, TARGET, {}), b"", seen).progress.freed_size == 9_010_000
