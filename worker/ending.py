"""What a run's traces mean for its job: from exit record, log and output to an ending. Pure but for reading the
output.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from jobs.borg.outcome import TRANSIENT, Outcome, Verdict, what_happened
from jobs.borg.statistics import ArchiveStatistics
from jobs.job_type import Result, RetryPolicy
from jobs.lifecycle import Ending, Failure
from jobs.models import Job
from jobs.view import JobStatus, Progress
from worker import archive_listing
from worker.archive_search import CannotAskError
from worker.following import Following
from worker.lock_check import LockReport
from worker.run_directory import Exit, ExitReason

RESULT_UNREADABLE = "result_unreadable"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """An ending, the result of a success, and the log's last line.

    `passing` says what happened where a failure may pass by itself. A run that was `stopped` before its time may have
    left a lock behind.
    """

    ending: Ending
    footer: str
    result: Result | None = None
    passing: str | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class NextTry:
    """When a job is tried again, why it has to be, and the log's last line until then."""

    not_before: datetime
    failure: Failure
    footer: str


def conclude(following: Following, record: Exit) -> Conclusion:
    """The job's end by its exit record; blocking, as it reads the output of a success."""
    conclusion = _conclude(following, record, _footer(following, record))
    ended_at = datetime.fromtimestamp(record.ended_at, UTC)
    return replace(conclusion, ending=replace(conclusion.ending, ended_at=ended_at))


def next_try(job: Job, policy: RetryPolicy, conclusion: Conclusion, at: datetime, random: float) -> NextTry | None:
    """How a job goes on whose attempt failed at `at`; None where it ends. `random` is drawn from [0, 1)."""
    left = policy.retries - job.retries
    if not conclusion.passing or left <= 0:
        return None
    not_before = at + timedelta(seconds=policy.delay_s(job.retries, random))
    attempts = job.attempt + left
    moment = f"{not_before.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    footer = f"{conclusion.footer.rstrip()}; tried again at {moment}, attempt {job.attempt + 1} of {attempts}\n"
    sentence = f"Attempt {job.attempt} of {attempts} failed: {conclusion.passing}"
    return NextTry(not_before, Failure(conclusion.ending.error_code, sentence), footer)


def _passing(following: Following, code: str | None) -> str | None:
    target = following.run.target
    return what_happened(code, repository=target.name, location=target.location) if code in TRANSIENT else None


def tried_out(job: Job, conclusion: Conclusion) -> Conclusion:
    """The conclusion for good: a failure that did not pass by itself says how often it was tried."""
    if not conclusion.passing or not job.retries:
        return conclusion
    sentence = f"{conclusion.ending.error_message} It was tried {job.retries + 1} times."
    return replace(conclusion, ending=replace(conclusion.ending, error_message=sentence))


def with_lock(conclusion: Conclusion, report: LockReport) -> Conclusion:
    """The same, saying what became of the repository's lock: in the log, and where people look for why it ended."""
    ending, said = conclusion.ending, report.sentence
    if ending.status is JobStatus.CANCELLED and ending.progress is not None:
        message = _joined(ending.progress.progress_message, said)
        ending = replace(ending, progress=ending.progress.model_copy(update={"progress_message": message}))
    if report.locked and ending.status is not JobStatus.COMPLETED:
        ending = replace(ending, error_message=_joined(ending.error_message, said))
    return replace(conclusion, ending=ending, footer=f"{conclusion.footer}Locutus: {said}\n")


def found_archive(following: Following, archive: ArchiveStatistics, *, by: str) -> Conclusion:
    """The end of a job whose archive stands in the repository, though no run was seen to make it: `by` says why."""
    result = following.kind.result_of_archive(archive)
    footer = f"Locutus: {by}; the archive {archive.name} is in the repository, so the job is completed.\n"
    outcome = _outcome(following, int(following.reader.diagnosis.warned))
    return Conclusion(_completed(following, result, outcome), footer, result)


def unasked(following: Following, error: CannotAskError) -> Conclusion:
    """The end of an attempt that was not begun, as an earlier one may have made the archive."""
    sentence = f"Whether an earlier attempt made the archive could not be asked. {error.sentence}"
    footer = "Locutus: borg did not run, as the repository could not be asked for the archive of an earlier attempt\n"
    return Conclusion(failed(following, error.code, sentence), footer, passing=_passing(following, error.code))


def vanished(following: Following) -> Conclusion:
    """The end of a run that left nothing behind."""
    sentence = "Worker restarted: the run was lost before it ended, and nothing tells how far it came. Run it again."
    return Conclusion(failed(following, "worker_restarted", sentence), "Locutus: Worker restarted; the run was lost.\n")


def called_off(following: Following) -> Conclusion:
    """The end of a run that left nothing behind, when somebody wanted its end."""
    progress = _given_up(following)
    footer = "Locutus: Worker restarted; the run was lost, and its end had been asked for.\n"
    return Conclusion(Ending(JobStatus.CANCELLED, progress=progress), footer, stopped=True)


def failed(following: Following, code: str | None, sentence: str | None) -> Ending:
    """A failure, with the last figures that were seen, and what the run left behind."""
    left = following.kind.left_behind(following.run, following.progress)
    return Ending(
        JobStatus.FAILED,
        progress=following.progress,
        error_code=code or "failed",
        error_message=_joined(sentence or "It failed; the log says why.", left),
    )


def _given_up(following: Following) -> Progress:
    """How far a cancelled run came: the phase in which it was is none any more, what it left behind is said instead."""
    left = following.kind.left_behind(following.run, following.progress)
    return following.progress.model_copy(update={"progress_message": left})


def _joined(*sentences: str | None) -> str:
    return " ".join(filter(None, sentences))


def _conclude(following: Following, record: Exit, footer: str) -> Conclusion:
    # Whoever came too late with an end has changed nothing: the command went on to its own.
    unstoppable = record.code is not None and not following.kind.cancellable(following.progress)
    if record.reason is ExitReason.CANCELLED and not unstoppable:
        ending = Ending(JobStatus.CANCELLED, progress=_given_up(following))
        return Conclusion(ending, footer, stopped=record.code is not None)
    if record.reason is ExitReason.TIMEOUT and not unstoppable:
        hours = following.kind.timeout_s / 3600
        noun = following.kind.words.noun
        sentence = f"{noun} took longer than {hours:g} h and was stopped. Run it again when it can finish."
        return Conclusion(failed(following, "timeout", sentence), footer, stopped=True)
    if record.reason is ExitReason.SPAWN_FAILED:
        outcome = following.reader.diagnosis.unstarted(record.errno or 0, following.directory.specification().argv[0])
    else:
        outcome = _outcome(following, record.code or 0)
    if outcome.verdict not in {Verdict.SUCCESS, Verdict.WARNING}:
        passing = _passing(following, outcome.code)
        return Conclusion(failed(following, outcome.code, outcome.sentence), footer, passing=passing)
    return _succeeded(following, outcome, footer)


def _succeeded(following: Following, outcome: Outcome, footer: str) -> Conclusion:
    try:
        result = _result(following)
    except (ValueError, OSError) as error:
        program, thing = following.kind.program, "archive" if following.kind.makes_archive else "log"
        sentence = (
            f"{program} ended well, but its result can't be read ({error}). Look at the {thing} before you rely on it."
        )
        return Conclusion(failed(following, RESULT_UNREADABLE, sentence), footer)
    return Conclusion(_completed(following, result, outcome), footer, result)


def _result(following: Following) -> Result:
    if not following.kind.lists_archives:
        return following.kind.read_result(following.run, following.reader.read_stdout(), following.progress)
    number = archive_listing.count(following.directory.stdout)
    result = following.kind.read_result(following.run, b"", following.progress)
    said = f"{number:,} archive{'' if number == 1 else 's'}"
    return replace(result, progress=result.progress.model_copy(update={"progress_message": said}))


def _outcome(following: Following, exit_status: int) -> Outcome:
    target = following.run.target
    return following.reader.diagnosis.outcome(exit_status, repository=target.name, location=target.location)


def _completed(following: Following, result: Result, outcome: Outcome) -> Ending:
    return Ending(
        JobStatus.COMPLETED,
        progress=_final(following, result),
        warnings=outcome.warnings,
        error_code=outcome.code,
        error_message=outcome.sentence,
    )


def _final(following: Following, result: Result) -> Progress:
    seen = following.progress
    kept = {"current_file": seen.current_file, "last_activity_at": seen.last_activity_at}
    return result.progress.model_copy(update=kept)


def _footer(following: Following, record: Exit) -> str:
    status = f"{following.kind.program} did not run" if record.code is None else f"exit status {record.code}"
    lasted = "" if record.duration_s is None else f" after {record.duration_s:.1f} s"
    lost = f"; {record.lost_bytes:,} bytes of the log could not be written" if record.lost_bytes else ""
    return f"Locutus: {record.reason}, {status}{lasted}{lost}\n"
