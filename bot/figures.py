"""A job's progress in words: the share done and of what, the figures so far, the age of the last activity. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bot import wording
from jobs.estimate import ARCHIVE
from jobs.view import Progress

SEPARATOR = " · "
STALLED_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A share from 0 to 1, and of what."""

    fraction: float
    caption: str


def share_done(progress: Progress) -> Bar | None:
    """The share done, if it is known of what; an estimate that was passed already is worth nothing and not shown."""
    percent = progress.progress_percent if progress.progress_percent is not None else progress.progress
    if percent is None or _outgrown(progress):
        return None
    shown = min(max(percent, 0.0), 99.0)
    about = "≈ " if progress.percent_is_estimate else ""
    percent_words = f"{about}{shown:.0f} %" if shown >= 1 else "under 1 %"
    return Bar(shown / 100, percent_words + _of_total(progress))


def figures_of(progress: Progress, *, alive: bool, new_in: str = "") -> str | None:
    """`1,204 files · 19.3 GB · 1.2 GB new · 84.2 MB/s · about 2 min left`, as far as known; None if nothing is.

    Speed and time left are those of a run that is heard of (`alive`); `new_in` follows the size of what is new.
    """
    return SEPARATOR.join((*_done(progress, new_in), *(_pace(progress) if alive else ()))) or None


def last_activity(progress: Progress, now: datetime, *, told_by_bar: bool) -> str | None:
    """`last activity 12 s ago`; where a bar tells that the run is alive, only when it stalls."""
    if progress.last_activity_at is None:
        return None
    age_s = (now - progress.last_activity_at).total_seconds()
    if told_by_bar and age_s < STALLED_AFTER_S:
        return None
    return "last activity just now" if age_s < 1 else f"last activity {wording.duration(age_s)} ago"


def _done(progress: Progress, new_in: str) -> Iterator[str]:
    if progress.nfiles is not None:
        yield wording.count(progress.nfiles, "file")
    if progress.original_size is not None:
        expected = f" (expected{_of_total(progress).removeprefix(' of')})" if _outgrown(progress) else ""
        yield wording.size(progress.original_size) + expected
    if progress.deduplicated_size is not None:
        yield f"{wording.size(progress.deduplicated_size)} new{new_in}"
    if progress.freed_size is not None:
        yield f"{wording.size(progress.freed_size)} freed"


def _pace(progress: Progress) -> Iterator[str]:
    if progress.backup_speed:
        yield f"{wording.size(progress.backup_speed * 1e6)}/s"
    if progress.eta_s is not None and not _outgrown(progress):
        yield f"{wording.rough_duration(progress.eta_s)} left"


def _outgrown(progress: Progress) -> bool:
    """Whether more was read than the estimate expected, so that it says nothing any more."""
    done, total = progress.original_size, progress.total_size
    return progress.percent_is_estimate and done is not None and total is not None and done > total


def _of_total(progress: Progress) -> str:
    """` of the previous archive's 31.2 GB`, ` of the 31.2 GB a scan found`, or nothing where no total is known."""
    if progress.total_size is not None and progress.total_from != ARCHIVE:
        total = wording.size(progress.total_size)
    elif progress.total_files is not None:
        total = wording.count(progress.total_files, "file")
    else:
        return ""
    sources = {"previous archive": f" of the previous archive's {total}", "scan": f" of the {total} a scan found"}
    return sources.get(progress.total_from or "", f" of {total}") if progress.percent_is_estimate else f" of {total}"
