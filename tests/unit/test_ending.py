"""What a run's end makes of its job: another try, or an end that tells of the tries and of the repository's lock."""

from datetime import UTC, datetime, timedelta

import pytest

from bot.card import job_card, progress_message
from jobs.job_type import RetryPolicy
from jobs.lifecycle import Ending
from jobs.models import Job
from jobs.present import view
from jobs.types.backup import Backup
from jobs.view import JobStatus, Progress
from worker.ending import Conclusion, next_try, tried_out, with_lock
from worker.lock_check import LockReport

NOW = datetime(2026, 11, 23, 14, 3, tzinfo=UTC)
POLICY = RetryPolicy(retries=3, first_s=30, factor=4, jitter=0)
FAILED = Ending(JobStatus.FAILED, error_code="connection_lost", error_message="The connection broke.")
BROKEN = Conclusion(FAILED, "Locutus: exited, exit status 81 after 1.0 s\n", passing="The connection to /r broke.")
CANCELLED = Conclusion(Ending(JobStatus.CANCELLED, progress=Progress(nfiles=3)), "Locutus: cancelled\n", stopped=True)
FREE, HELD = LockReport("It is not locked."), LockReport("It is locked.", locked=True)


def job(**columns):
    given = {"id": 7, "kind": "backup", "status": "running", "host": "nas", "repository_name": "photos"}
    return Job(**{**given, "requested_by": "token:ci", "origin": "api", "created_at": NOW, **columns})


@pytest.mark.parametrize(
    ("attempt", "retries", "after_s", "numbers"),
    [
        (1, 0, 30, ("1 of 4", "2 of 4")),
        (2, 1, 120, ("2 of 4", "3 of 4")),
        (4, 2, 480, ("4 of 5", "5 of 5")),  # one attempt never started, which cost no retry
    ],
)
def test_failure_that_may_pass_is_tried_again_later_and_later(attempt, retries, after_s, numbers):
    again = next_try(job(attempt=attempt, retries=retries), POLICY, BROKEN, NOW, 0.5)
    assert again is not None
    assert again.not_before == NOW + timedelta(seconds=after_s)
    assert again.failure.sentence == f"Attempt {numbers[0]} failed: The connection to /r broke."
    moment = f"{again.not_before:%Y-%m-%d %H:%M:%S} UTC"
    assert again.footer == (
        f"Locutus: exited, exit status 81 after 1.0 s; tried again at {moment}, attempt {numbers[1]}\n"
    )


@pytest.mark.parametrize(
    ("conclusion", "retries"), [(BROKEN, 3), (Conclusion(FAILED, "\n"), 0), (CANCELLED, 0)], ids=str
)
def test_all_else_ends_the_job(conclusion, retries):
    assert next_try(job(retries=retries), POLICY, conclusion, NOW, 0.5) is None


@pytest.mark.parametrize(
    ("retries", "told"), [(0, "The connection broke."), (3, "The connection broke. It was tried 4 times.")]
)
def test_last_failure_says_how_often_it_was_tried(retries, told):
    assert tried_out(job(retries=retries), BROKEN).ending.error_message == told


def test_lock_of_a_cancelled_run_is_told_in_log_and_thread():
    told = with_lock(CANCELLED, FREE)
    assert told.footer == "Locutus: cancelled\nLocutus: It is not locked.\n"
    assert told.ending.progress == Progress(nfiles=3, progress_message="It is not locked.")
    assert told.ending.error_message is None


@pytest.mark.parametrize(
    ("status", "report", "message"),
    [
        (JobStatus.FAILED, FREE, "It took too long."),
        (JobStatus.FAILED, HELD, "It took too long. It is locked."),
        (JobStatus.COMPLETED, HELD, "It took too long."),
    ],
)
def test_lock_that_is_held_is_part_of_the_reason_of_a_failure(status, report, message):
    told = with_lock(Conclusion(Ending(status, error_message="It took too long."), "Locutus: timeout\n"), report)
    assert told.ending.error_message == message
    assert told.footer.endswith(f"Locutus: {report.sentence}\n")


@pytest.mark.parametrize(("report", "lines"), [(FREE, ("It is not locked.",)), (HELD, ("It is locked.",))])
def test_thread_of_a_cancelled_job_tells_of_the_lock_once(report, lines):
    ending = with_lock(CANCELLED, report).ending
    assert ending.progress is not None
    progress = ending.progress.model_dump(mode="json")
    ended = job(status="cancelled", progress=progress, error_message=ending.error_message, completed_at=NOW)
    assert progress_message(view(ended), now=NOW).lines == lines


@pytest.mark.parametrize(
    ("status", "nfiles", "buttons"),
    [
        ("pending", 1, ["job.cancel"]),
        ("running", None, ["job.cancel", "job.log"]),
        ("running", 1, ["job.log"]),
        ("cancelled", 1, ["job.retry", "job.log"]),
    ],
)
def test_card_offers_no_cancel_past_the_point_of_no_return(monkeypatch, status, nfiles, buttons):
    monkeypatch.setattr(Backup, "cancellable", lambda _, progress: progress.nfiles is None)
    shown = view(job(status=status, progress={"nfiles": nfiles}))
    assert [button.action for button in job_card(shown).buttons] == buttons
