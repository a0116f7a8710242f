"""What a run's traces mean for its job: from exit record, log and output to an ending. Pure but for reading the
output.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from jobs.borg.outcome import Outcome, Verdict, spawn_failure
from jobs.borg.statistics import ArchiveStatistics
from jobs.job_type import Result
from jobs.lifecycle import Ending
from jobs.view import JobStatus, Progress
from worker.following import Following
from worker.run_directory import Exit, ExitReason

RESULT_UNREADABLE = "result_unreadable"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """An ending, the result of a success, and the log's last line."""

    ending: Ending
    footer: str
    result: Result | None = None


def conclude(following: Following, record: Exit) -> Conclusion:
    """The job's end by its exit record; blocking, as it reads the output of a success."""
    conclusion = _conclude(following, record, _footer(record))
    ended_at = datetime.fromtimestamp(record.ended_at, UTC)
    return replace(conclusion, ending=replace(conclusion.ending, ended_at=ended_at))


def found_archive(following: Following, archive: ArchiveStatistics) -> Conclusion:
    """The end of a run that nobody saw end, whose archive stands in the repository."""
    result = following.kind.result_of_archive(archive)
    footer = f"Locutus: Worker restarted; the archive {archive.name} is in the repository, so the job is completed.\n"
    return Conclusion(Ending(JobStatus.COMPLETED, progress=_final(following, result)), footer, result)


def vanished(following: Following) -> Conclusion:
    """The end of a run that left nothing behind."""
    sentence = "Worker restarted: the run was lost before it ended, and nothing tells how far it came. Run it again."
    return Conclusion(failed(following, "worker_restarted", sentence), "Locutus: Worker restarted; the run was lost.\n")


def failed(following: Following, code: str | None, sentence: str | None) -> Ending:
    """A failure, with the last figures that were seen."""
    return Ending(
        JobStatus.FAILED,
        progress=following.progress,
        error_code=code or "failed",
        error_message=sentence or "It failed; the log says why.",
    )


def _conclude(following: Following, record: Exit, footer: str) -> Conclusion:
    if record.reason is ExitReason.CANCELLED:
        return Conclusion(Ending(JobStatus.CANCELLED, progress=following.progress), footer)
    if record.reason is ExitReason.TIMEOUT:
        hours = following.kind.timeout_s / 3600
        noun = following.kind.words.noun
        sentence = f"{noun} took longer than {hours:g} h and was stopped. Run it again when it can finish."
        return Conclusion(failed(following, "timeout", sentence), footer)
    if record.reason is ExitReason.SPAWN_FAILED:
        outcome = spawn_failure(record.errno or 0, following.directory.specification().argv[0])
    else:
        target = following.run.target
        outcome = following.reader.diagnosis.outcome(record.code or 0, repository=target.name, location=target.location)
    if outcome.verdict not in {Verdict.SUCCESS, Verdict.WARNING}:
        return Conclusion(failed(following, outcome.code, outcome.sentence), footer)
    return _succeeded(following, outcome, footer)


def _succeeded(following: Following, outcome: Outcome, footer: str) -> Conclusion:
    try:
        result = following.kind.read_result(following.run, following.reader.read_stdout())
    except (ValueError, OSError) as error:
        sentence = (
            f"borg ended well, but its result can't be read ({error}). Look at the archive before you rely on it."
        )
        return Conclusion(failed(following, RESULT_UNREADABLE, sentence), footer)
    ending = Ending(
        JobStatus.COMPLETED,
        progress=_final(following, result),
        warnings=outcome.warnings,
        error_code=outcome.code,
        error_message=outcome.sentence,
    )
    return Conclusion(ending, footer, result)


def _final(following: Following, result: Result) -> Progress:
    seen = following.progress
    kept = {"current_file": seen.current_file, "last_activity_at": seen.last_activity_at}
    return result.progress.model_copy(update=kept)


def _footer(record: Exit) -> str:
    status = "borg did not run" if record.code is None else f"exit status {record.code}"
    lasted = "" if record.duration_s is None else f" after {record.duration_s:.1f} s"
    lost = f"; {record.lost_bytes:,} bytes of the log could not be written" if record.lost_bytes else ""
    return f"Locutus: {record.reason}, {status}{lasted}{lost}\n"
