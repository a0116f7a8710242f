import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.borg.events import LogMessage, Text, parse_event
from jobs.borg.outcome import SENTENCES, TRANSIENT, Diagnosis, Outcome, Verdict, spawn_failure

SAMPLES = Path(__file__).parents[1] / "samples" / "borg"
VERSIONS = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())
PLAIN_SUCCESS = (Verdict.SUCCESS, None)

Expected = tuple[Verdict, str | None]
EXPECTED: dict[str, Expected | dict[str, Expected]] = {
    "archive_exists": (Verdict.ERROR, "archive_exists"),
    "archive_missing": (Verdict.ERROR, "archive_missing"),
    "archive_name_invalid": (Verdict.ERROR, "command_refused"),
    "cache_disk_full": (Verdict.ERROR, "cache_disk_full"),
    "check": PLAIN_SUCCESS,
    "check_damaged": (Verdict.ERROR, "integrity_error"),
    "check_data": PLAIN_SUCCESS,
    "check_data_damaged": (Verdict.ERROR, "integrity_error"),
    "compact": PLAIN_SUCCESS,
    "connection_dropped": (Verdict.TRANSIENT, "connection_lost"),
    "connection_forbidden": (Verdict.ERROR, "ssh_key_refused"),
    "connection_no_borg": (Verdict.ERROR, "remote_borg_missing"),
    "connection_refused": (Verdict.TRANSIENT, "connection_lost"),
    "connection_unknown_host": (Verdict.ERROR, "host_key_unknown"),
    "create_after_kill": PLAIN_SUCCESS,
    "create_encrypted": PLAIN_SUCCESS,
    "create_fresh": PLAIN_SUCCESS,
    "create_progress": PLAIN_SUCCESS,
    "create_show_rc": PLAIN_SUCCESS,
    "create_sighup": (Verdict.ERROR, "killed"),
    "create_sigint": (Verdict.ERROR, "killed"),
    "create_sigkill": (Verdict.ERROR, "killed"),
    "create_sigterm": (Verdict.ERROR, "killed"),
    "create_unchanged": PLAIN_SUCCESS,
    "disk_full": (Verdict.ERROR, "disk_full"),
    "disk_full_tiny": (Verdict.ERROR, "disk_full"),
    "extract": PLAIN_SUCCESS,
    "extract_damaged": (Verdict.ERROR, "integrity_error"),
    "extract_disk_full": (Verdict.ERROR, "destination_full"),
    "extract_path_missing": (Verdict.ERROR, "path_not_in_archive"),
    "free_space_reserved": (Verdict.ERROR, "disk_full"),
    "info_archive": PLAIN_SUCCESS,
    "info_newest": PLAIN_SUCCESS,
    "init": PLAIN_SUCCESS,
    "init_encrypted": PLAIN_SUCCESS,
    "init_existing": (Verdict.ERROR, "repository_exists"),
    "init_forbidden": (Verdict.ERROR, "permission_denied"),
    "init_parent_missing": (Verdict.ERROR, "borg_failed"),
    "init_passphrase_missing": (Verdict.ERROR, "passphrase_missing"),
    "list_archives": PLAIN_SUCCESS,
    # 1.2 has no message id for it.
    "option_refused": {"1.2.4": (Verdict.ERROR, "borg_failed"), "1.4.5": (Verdict.ERROR, "command_refused")},
    "passphrase_missing": (Verdict.ERROR, "passphrase_missing"),
    "passphrase_wrong": (Verdict.ERROR, "passphrase_wrong"),
    "prune": PLAIN_SUCCESS,
    "quota_exceeded": (Verdict.ERROR, "quota_exceeded"),
    "remote_create": PLAIN_SUCCESS,
    "remote_disk_full": (Verdict.ERROR, "disk_full"),
    "remote_missing": (Verdict.ERROR, "repository_missing"),
    "repository_forbidden": (Verdict.ERROR, "permission_denied"),
    "repository_invalid": (Verdict.ERROR, "repository_invalid"),
    "repository_locked": (Verdict.TRANSIENT, "repository_locked"),
    "repository_missing": (Verdict.ERROR, "repository_missing"),
    "repository_unwritable": (Verdict.ERROR, "permission_denied"),
    "source_missing_all": (Verdict.WARNING, "source_missing"),
    "source_missing_one": (Verdict.WARNING, "source_missing"),
    "source_unreadable": (Verdict.WARNING, "files_skipped"),
    "unencrypted_unexpected": (Verdict.ERROR, "unknown_repository"),
    "usage": (Verdict.ERROR, "command_refused"),
    "warnings_mixed": (Verdict.WARNING, "source_missing"),
}
STEP = r"(Add|Check|Choose|Correct|Find|Free|Give|Import|Install|Look|Mend|Prune|Put|Read|Run|See|Set|Treat) "
RECORDED = [(version, path.name) for version in VERSIONS for path in sorted((SAMPLES / version).iterdir())]


def judged(lines: list[bytes], status: int) -> Outcome:
    diagnosis = Diagnosis()
    for line in lines:
        diagnosis.feed(parse_event(line))
    return diagnosis.outcome(status, repository="photos", location="/backup/photos")


def recorded(version: str, case: str) -> Outcome:
    directory = SAMPLES / version / case
    lines = (directory / "stderr.jsonl").read_bytes().splitlines(keepends=True)
    return judged(lines, int((directory / "status").read_text()))


@pytest.mark.parametrize(("version", "case"), RECORDED)
def test_recorded_run_is_judged(version, case):
    outcome = recorded(version, case)
    expected = EXPECTED[case]
    assert (outcome.verdict, outcome.code) == (expected[version] if isinstance(expected, dict) else expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_expected_case_was_recorded(version):
    assert {case for recorded_version, case in RECORDED if recorded_version == version} == set(EXPECTED)


@pytest.mark.parametrize(("version", "case"), RECORDED)
def test_sentence_of_a_recorded_run_is_one_short_line_without_traceback(version, case):
    outcome = recorded(version, case)
    sentence = outcome.sentence or ""
    assert (sentence == "") == (outcome.verdict is Verdict.SUCCESS)
    assert len(sentence) < 400
    assert not any(word in sentence for word in ("Traceback", 'File "', "\n", "{", "Errno"))


@pytest.mark.parametrize("code", SENTENCES)
def test_each_code_says_what_happened_and_what_to_do(code):
    happened, to_do = SENTENCES[code]
    assert happened.endswith(".")
    assert to_do.endswith(".")
    assert to_do[0].isupper()
    assert re.match(STEP, to_do)


@pytest.mark.parametrize("case", ["source_missing_one", "source_missing_all", "source_unreadable"])
@pytest.mark.parametrize("version", VERSIONS)
def test_warning_is_told_once_with_its_path(version, case):
    outcome = recorded(version, case)
    assert outcome.warnings == 1
    path = "/data/photos/0000.raw: Permission denied" if case == "source_unreadable" else "/data/absent: No such file"
    assert f"Finished with 1 warning: {path}" in (outcome.sentence or "")


@pytest.mark.parametrize("version", VERSIONS)
def test_of_several_warnings_the_gravest_is_told_and_all_are_counted(version):
    outcome = recorded(version, "warnings_mixed")
    assert outcome.warnings == 2
    assert "2 warnings, among them /data/absent: No such file or directory." in (outcome.sentence or "")


@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        (0, Verdict.SUCCESS, None),
        (1, Verdict.WARNING, "borg_warning"),
        (2, Verdict.ERROR, "borg_failed"),
        (13, Verdict.ERROR, "repository_missing"),
        (73, Verdict.TRANSIENT, "repository_locked"),
        (100, Verdict.WARNING, "file_changed"),
        (101, Verdict.ERROR, "path_not_in_archive"),
        (105, Verdict.WARNING, "files_skipped"),
        (107, Verdict.WARNING, "source_missing"),
        (110, Verdict.ERROR, "archive_unsafe"),
        (119, Verdict.WARNING, "borg_warning"),
        (120, Verdict.ERROR, "borg_failed"),
        (127, Verdict.ERROR, "borg_failed"),
        (128, Verdict.ERROR, "borg_failed"),
        (137, Verdict.ERROR, "killed"),
        (-15, Verdict.ERROR, "killed"),
        (-11, Verdict.ERROR, "borg_crashed"),
        (255, Verdict.ERROR, "borg_failed"),
    ],
)
def test_exit_status_alone_is_enough_for_a_verdict(status, verdict, code):
    outcome = judged([], status)
    assert (outcome.verdict, outcome.code) == (verdict, code)


@pytest.mark.parametrize(
    "said",
    [
        "ssh: Could not resolve hostname backup: Name or service not known",
        "ssh: Could not resolve hostname backup: Temporary failure in name resolution",
        "ssh: connect to host backup port 22: No route to host",
        "ssh: connect to host backup port 22: Connection refused",
        "ssh: connect to host backup port 22: Connection timed out",
        "ssh: connect to host backup port 22: Network is unreachable",
        "Connection timed out during banner exchange",
        "kex_exchange_identification: read: Connection reset by peer",
        "Connection closed by 192.0.2.1 port 22",
        "client_loop: send disconnect: Broken pipe",
    ],
)
@pytest.mark.parametrize("status", [2, 81])
def test_host_that_ssh_does_not_reach_is_tried_again(said, status):
    diagnosis = Diagnosis()
    diagnosis.feed(LogMessage("WARNING", f"Remote: {said}", None, "root"))
    closed = "Connection closed by remote host. Is borg working on the server?"
    diagnosis.feed(LogMessage("ERROR", closed, "ConnectionClosedWithHint", "borg.archiver"))
    outcome = diagnosis.outcome(status, repository="photos", location="ssh://backup/photos")
    assert (outcome.verdict, outcome.code) == (Verdict.TRANSIENT, "connection_lost")


def test_only_locks_and_connections_pass_by_themselves():
    assert {"repository_locked", "connection_lost"} == TRANSIENT


def test_python_that_cannot_start_borg_is_no_warning():
    lines = [b"Traceback (most recent call last):\n", b'  File "/usr/bin/borg", line 5\n', b"ImportError: msgpack\n"]
    assert judged(lines, 1).code == "borg_broken"


def test_unexpected_exception_is_named_without_its_traceback():
    text = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nzlib.error: incorrect header\n'
    diagnosis = Diagnosis()
    diagnosis.feed(LogMessage("ERROR", "Local Exception", "Exception", "borg.archiver"))
    diagnosis.feed(LogMessage("ERROR", text, None, "borg.archiver"))
    outcome = diagnosis.outcome(2, repository="photos", location="/backup")
    assert outcome.sentence == "borg failed: an unexpected zlib.error. Read the job's log."


def test_password_in_a_location_stays_out_of_the_sentence():
    outcome = Diagnosis().outcome(13, repository="photos", location="ssh://me:hunter2@backup/photos")
    assert "ssh://me@backup/photos" in (outcome.sentence or "")


def test_words_in_a_name_do_not_decide():
    outcome = judged([], 13)
    assert Diagnosis().outcome(13, repository="{detail} {0}", location="[Errno 28]").code == outcome.code


@pytest.mark.parametrize(
    ("number", "code", "verdict"),
    [
        (2, "borg_missing", Verdict.ERROR),
        (13, "borg_not_executable", Verdict.ERROR),
        (12, "out_of_memory", Verdict.ERROR),
        (24, "spawn_failed", Verdict.ERROR),
    ],
)
def test_failed_start_is_told(number, code, verdict):
    outcome = spawn_failure(number, "borg")
    assert (outcome.code, outcome.verdict) == (code, verdict)
    assert (outcome.sentence or "").endswith(".")


MESSAGES = st.builds(
    LogMessage,
    level=st.sampled_from(["INFO", "WARNING", "ERROR", "CRITICAL"]),
    message=st.text() | st.sampled_from(["x: [Errno 28] a", "Traceback (most recent call last):", "Local Exception"]),
    msgid=st.none() | st.text() | st.sampled_from(["LockTimeout", "Exception", "Archive.AlreadyExists"]),
    name=st.sampled_from(["borg.archiver", "borg.repository", "borg.locking", ""]),
)


@given(events=st.lists(MESSAGES | st.builds(Text, st.text()), max_size=5), status=st.integers(-64, 255))
def test_any_log_and_status_has_an_outcome(events, status):
    diagnosis = Diagnosis()
    for event in events:
        diagnosis.feed(event)
    outcome = diagnosis.outcome(status, repository="photos", location="/backup")
    assert (outcome.verdict is Verdict.SUCCESS) == (status == 0) == (outcome.sentence is None)
    assert outcome.code is None or outcome.code in SENTENCES


def test_diagnosis_does_not_grow_with_the_log():
    diagnosis = Diagnosis()
    for number in range(10_000):
        diagnosis.feed(LogMessage("WARNING", f"/data/{number}{'x' * 1000}: file changed", None, "borg.archiver"))
        diagnosis.feed(LogMessage("ERROR", f"{number}{'y' * 1000}", f"id {number}", "borg.archiver"))
    assert diagnosis._warnings == 10_000
    assert len(repr(vars(diagnosis))) < 1000
