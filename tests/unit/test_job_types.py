"""Every job type declares all that the rest is derived from."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.borg.events import ArchiveProgress, parse_event
from jobs.borg.statistics import ArchiveStatistics
from jobs.errors import InvalidRequestError
from jobs.job_type import Parameters, RetryPolicy, Run, Target
from jobs.types import JOB_TYPES, job_type
from jobs.view import Progress

RUN = Run(1, Target("photos", "/r", ("/home", "-weird"), ("*.tmp", "-x")), {"package": "r-base"}, "photos-1")
TYPES = pytest.mark.parametrize("declared", JOB_TYPES.values(), ids=JOB_TYPES)


@TYPES
def test_type_is_known_by_its_kind(declared):
    assert job_type(declared.kind) is declared
    assert declared.kind.isidentifier()


def test_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(InvalidRequestError, match=r"'dance'.*backup"):
        job_type("dance")


@TYPES
def test_unknown_parameters_are_refused(declared):
    assert issubclass(declared.parameters, Parameters)
    assert declared.parameters.model_config["extra"] == "forbid"
    assert declared.parameters.model_config["frozen"]


@TYPES
def test_text_from_outside_stands_behind_the_separator(declared):
    arguments = declared.arguments(RUN)
    separator = arguments.index("--")
    assert RUN.target.location not in arguments[:separator]
    assert any(argument.startswith(("/r", "r-base")) for argument in arguments[separator:])
    assert all(isinstance(argument, str) for argument in arguments)


@TYPES
def test_arguments_are_the_same_for_the_same_run(declared):
    assert declared.arguments(RUN) == declared.arguments(RUN)


@TYPES
def test_output_that_is_no_result_is_a_value_error_or_needs_none(declared):
    try:
        declared.read_result(RUN, b"\xff nonsense", Progress())
    except ValueError:
        assert declared.makes_archive or not declared.needs_repository


def test_backup_names_archive_sources_and_excludes():
    arguments = JOB_TYPES["backup"].arguments(RUN)
    assert arguments[arguments.index("--") :] == ("--", "/r::photos-1", "/home", "-weird")
    assert arguments.count("--exclude") == 2
    assert arguments[arguments.index("-x") - 1] == "--exclude"


def test_backup_leaves_behind_what_the_repository_holds():
    archive = ArchiveStatistics(
        "a" * 64, "photos-1", datetime(2026, 1, 2, tzinfo=UTC), 2.0, 30, 20, 10, 3, "b" * 64, 4096
    )
    backup = JOB_TYPES["backup"]
    assert backup.result_of_archive(archive).repository == {
        "last_backup": archive.started_at, "borg_id": "b" * 64, "size": 4096
    }  # fmt: skip
    assert "size" not in backup.result_of_archive(replace(archive, cache_unique_csize=None)).repository


def test_last_event_of_a_backup_does_not_wipe_its_figures():
    backup = JOB_TYPES["backup"]
    seen = Progress(nfiles=5, original_size=10, current_file="/a")
    finished = ArchiveProgress(None, None, None, None, None, finished=True)
    assert backup.read_progress(finished, seen) == seen


@pytest.mark.parametrize(
    ("retries_so_far", "random", "delay_s"),
    [(0, 0.5, 30), (1, 0.5, 120), (2, 0.5, 480), (3, 0.5, 1920), (9, 0.5, 3600), (0, 0.0, 24), (2, 0.0, 384)],
)
def test_each_retry_waits_longer_up_to_a_limit(retries_so_far, random, delay_s):
    assert RetryPolicy().delay_s(retries_so_far, random) == pytest.approx(delay_s)


@given(st.integers(0, 50), st.floats(0, 1, exclude_max=True))
def test_jitter_is_a_share_of_the_delay(retries_so_far, random):
    plain = RetryPolicy(jitter=0.0).delay_s(retries_so_far, random)
    assert 0.8 * plain <= RetryPolicy().delay_s(retries_so_far, random) <= 1.2 * plain


def test_backup_is_tried_four_times_and_a_repository_is_made_once():
    assert (JOB_TYPES["backup"].retry.retries, JOB_TYPES["repository_init"].retry.retries) == (3, 0)


@TYPES
def test_run_that_has_not_begun_can_be_cancelled(declared):
    assert declared.cancellable(Progress())


def test_installation_can_be_cancelled_until_dpkg_writes():
    install = JOB_TYPES["package_install"]
    lines = (
        b'{"type": "progress_message", "msgid": "package.lists", "message": "updating the package lists"}',
        b'{"type": "progress_percent", "msgid": "package.download", "message": "Fetch", "current": 25, "total": 100}',
        b'{"type": "progress_message", "msgid": "package.write", "message": "dpkg is writing"}',
        b'{"type": "progress_percent", "msgid": "package.write", "message": "Unpacking", "current": 60, "total": 100}',
    )
    progress, seen = Progress(), []
    for line in lines:
        progress = install.read_progress(parse_event(line), progress)
        seen.append((progress.progress_message, progress.progress_percent, install.cancellable(progress)))
    assert seen == [
        ("updating the package lists", None, True),
        ("downloading: Fetch", 25.0, True),
        ("dpkg is writing", 25.0, False),
        ("dpkg is writing: Unpacking", 60.0, False),
    ]


@pytest.mark.parametrize(
    ("lines", "status", "code", "words"),
    [
        ([b'{"type": "log_message", "levelname": "ERROR", "msgid": "told", "message": "Why."}'], 1, "told", "Why."),
        ([b"sudo: a password is required"], 1, "sudo_refused", "a password is required. An administrator"),
        ([b"E: anything"], 100, "package_failed", "ended with status 100"),
        ([], -9, "package_failed", "was ended by signal 9"),
    ],
)  # fmt: skip
def test_failed_installation_says_why_and_what_to_do(lines, status, code, words):
    diagnosis = JOB_TYPES["package_install"].diagnosis()
    for line in lines:
        diagnosis.feed(parse_event(line))
    outcome = diagnosis.outcome(status, repository="nas", location="")
    assert (outcome.code, words in str(outcome.sentence)) == (code, True)
