"""The progress of commands that do one thing after another: check, compact, prune.

Each stage counts from nothing, and borg says in each event which one it is: within a stage the shown percentage never
falls, and only a new stage begins anew.
"""

from jobs.borg.events import Event, PercentProgress, ProgressMessage
from jobs.view import Progress


def staged(event: Event, progress: Progress) -> Progress:
    """`progress` after an event: `progress` is the stage's percentage, None where it can't count; an event that only
    ends a stage changes nothing.
    """
    match event:
        case PercentProgress(finished=False, operation=operation, message=message):
            return _at(progress, operation, message, _percent(event))
        case ProgressMessage(finished=False, operation=operation, message=message) if message:
            return _at(progress, operation, message, None)
        case _:
            return progress


def done(said: str | None = None) -> Progress:
    """The progress of a run that has come to its end."""
    return Progress(progress_percent=100.0, progress=100.0, progress_message=said)


def _at(progress: Progress, operation: int | None, message: str | None, percent: float | None) -> Progress:
    same = operation == progress.operation
    if same and None not in {percent, progress.progress} and (percent or 0) < (progress.progress or 0):
        return progress
    said = " ".join(message.split()) if message else progress.progress_message if same else None
    return progress.model_copy(update={"operation": operation, "progress": percent, "progress_message": said})


def _percent(event: PercentProgress) -> float | None:
    """As borg shows it: an item that is being worked on is not done."""
    if not event.total or event.current is None:
        return None
    return round(min(100 * max(event.current - 1, 0) / event.total, 100.0), 1)
