import dataclasses
import itertools
import json
import py_compile
import signal
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import supervision
from worker.run_directory import (
    EXIT_SIZE,
    Exit,
    ExitReason,
    RunDirectory,
    RunSpecification,
    RunState,
    UnknownVersionError,
    judge,
)
from worker.supervisor import LINE_LIMIT, Log, exit_line, exit_record, stop_steps

SPECIFICATION = RunSpecification(7, 1, "backup", ("borg", "create"), timeout_s=60.0, start_before_s=1.5)
PROGRESS = b'{"original_size": 1, "time": 2.5, "type": "archive_progress", "path": "a \\" b"}'


@pytest.mark.parametrize(
    ("lock", "borg_lock", "started", "exited", "state"),
    [
        *[(lock, borg, started, True, "ended") for lock in (0, 1) for borg in (0, 1) for started in (0, 1)],
        *[(True, borg, False, False, "starting") for borg in (0, 1)],
        *[(True, borg, True, False, "running") for borg in (0, 1)],
        (False, True, True, False, "orphan"),
        (False, True, False, False, "orphan"),
        (False, False, True, False, "vanished"),
        (False, False, False, False, "never_started"),
    ],
)
def test_locks_and_files_mean_one_state(lock, borg_lock, started, exited, state):
    found = judge(lock=bool(lock), borg_lock=bool(borg_lock), started=bool(started), exited=exited)
    assert found == RunState(state)


@given(
    st.lists(
        st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")), min_size=1
    )
)
def test_specification_survives_storage_whatever_bytes_its_paths_have(argv):
    specification = dataclasses.replace(SPECIFICATION, argv=tuple(argv), working_directory="/srv", interrupt_first=True)
    assert RunSpecification.from_json(specification.to_json()) == specification


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"argv": ()}, "program"),
        ({"argv": ("borg", "a\0b")}, "NUL"),
        ({"working_directory": "/\0"}, "NUL"),
        ({"timeout_s": float("inf")}, "time limit"),
    ],
)
def test_specification_that_could_not_be_run_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SPECIFICATION, **fields)


def test_specification_of_another_version_is_not_guessed_at():
    stored = json.dumps({"version": 2, "job": "7"}).encode()
    with pytest.raises(UnknownVersionError, match="version 2"):
        RunSpecification.from_json(stored)


RECORD = exit_record("exited", code=-9, begun_at=1.0, ended_at=2.0, duration_s=1.0, cpu_s=0.5, rss_kb=9, lost_bytes=3)
LINE = exit_line(RECORD)


def test_exit_is_read_as_it_was_written():
    found = Exit.parse(LINE.ljust(EXIT_SIZE, b"\0"))
    assert found == Exit(ExitReason.EXITED, -9, None, 1.0, 2.0, 1.0, 0.5, 9, 3)


@pytest.mark.parametrize("reason", ExitReason)
def test_every_reason_can_be_recorded_and_read(reason):
    found = Exit.parse(exit_line(exit_record(reason, errno=2)))
    assert found is not None
    assert (found.reason, found.errno, found.code) == (reason, 2, None)


@given(st.integers(0, len(LINE) - 1))
def test_exit_that_was_cut_short_is_no_exit(length):
    assert Exit.parse(LINE[:length]) is None
    assert Exit.parse(LINE[:length].ljust(EXIT_SIZE, b"\0")) is None


@given(st.integers(0, len(LINE) - 1), st.integers(1, 255))
def test_exit_with_a_wrong_byte_is_no_exit(position, difference):
    wrong = bytearray(LINE)
    wrong[position] ^= difference
    assert Exit.parse(bytes(wrong)) is None


@given(st.binary(max_size=EXIT_SIZE))
def test_arbitrary_bytes_are_no_exit(content):
    assert Exit.parse(content) is None


def test_valid_exit_of_another_version_is_not_taken_for_none():
    body = b'2 {"reason": "exited"}'
    with pytest.raises(UnknownVersionError, match="version 2"):
        Exit.parse(b"%08x %s\n" % (zlib.crc32(body), body))


def test_largest_exit_fits_its_reserved_blocks():
    largest = dict.fromkeys(RECORD, 1.7976931348623157e308) | {"reason": "not_started", "lost_bytes": 1 << 63}
    assert len(exit_line(largest)) <= EXIT_SIZE


def test_directory_is_named_by_job_and_attempt(tmp_path):
    run = RunDirectory.of(tmp_path, 12, 3)
    assert (run.path.name, run.job_id, run.attempt) == ("12-3", 12, 3)


@pytest.mark.parametrize(
    ("interrupt_first", "expected"),
    [
        (True, [(signal.SIGINT, 30.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)]),
        (False, [(signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)]),
    ],
)
def test_borg_is_asked_before_it_is_killed(interrupt_first, expected):
    specification = dataclasses.replace(SPECIFICATION, interrupt_first=interrupt_first)
    assert stop_steps(dataclasses.asdict(specification)) == expected


class KeptLog(Log):
    """A log that keeps what it would write."""

    def __init__(self):
        super().__init__(-1)
        self.kept = b""

    def write(self, data):
        self.kept += data


def fed(chunks):
    log = KeptLog()
    for chunk in chunks:
        log.feed(chunk)
    return log.kept + log.rest, log.progress


LINES = st.lists(st.one_of(st.just(PROGRESS), st.binary(max_size=20).filter(lambda line: b"\n" not in line)))


@given(LINES, st.lists(st.integers(0, 400)))
def test_log_keeps_every_byte_but_progress_however_it_arrives(lines, cuts):
    content = b"".join(line + b"\n" for line in lines)
    edges = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    chunks = [content[begin:end] for begin, end in itertools.pairwise(edges)]
    kept = b"".join(line + b"\n" for line in lines if line != PROGRESS)
    assert fed(chunks) == (kept, PROGRESS if PROGRESS in lines else b"")


def test_endless_line_is_passed_on_in_pieces_and_never_taken_for_progress():
    endless = b"x" * (LINE_LIMIT + 1)
    assert fed([endless, PROGRESS, b"\n", PROGRESS, b"\n"]) == (endless + PROGRESS + b"\n", PROGRESS)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "log_message", "message": "\\"type\\": \\"archive_progress\\""}',
        b'{"type": "file_status", "status": "A", "path": "x"}',
        b'a "type": "archive_progress" in the middle',
    ],
)
def test_line_that_only_looks_like_progress_stays_in_the_log(line):
    assert fed([line + b"\n"]) == (line + b"\n", b"")


def test_compiled_supervisor_is_used_only_while_it_is_that_of_the_source(tmp_path):
    source = tmp_path / "supervisor.py"
    source.write_text("pass\n")
    assert supervision._compiled(source) == source
    compiled = Path(py_compile.compile(str(source)))
    assert supervision._compiled(source) == compiled
    source.write_text("pass  # changed\n")
    assert supervision._compiled(source) == source
