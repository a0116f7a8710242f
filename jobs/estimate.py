"""What borg does not say of a running backup: percentage, speed and time left, by a total from elsewhere."""

from dataclasses import dataclass
from datetime import datetime

from jobs.view import Progress

ARCHIVE = "archive"
"""Where the totals of a restore come from."""
SMOOTHING = 0.3
HIGHEST_RUNNING_PERCENT = 99.0
LOWEST_SPEED = 1.0
"""Bytes a second; below, a time left would be a number without a meaning."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the whole backup is expected to be, in bytes and files, and where that is known from."""

    size: int
    files: int
    source: str


@dataclass(frozen=True, slots=True)
class Pace:
    """The first and last look at a run (monotonic seconds, bytes) and the smoothed speed in bytes a second."""

    at_s: float
    size: int
    speed: float | None = None
    changed_at: datetime | None = None
    first: "Pace | None" = None

    def after(self, at_s: float, size: int, wall: datetime) -> "Pace":
        """The pace after another look."""
        if size == self.size:
            return self
        first = self.first or self
        if at_s <= self.at_s:
            return Pace(at_s, size, self.speed, wall, first)
        newest = max(0.0, (size - self.size) / (at_s - self.at_s))
        speed = newest if self.speed is None else SMOOTHING * newest + (1 - SMOOTHING) * self.speed
        return Pace(at_s, size, speed, wall, first)

    @property
    def forecast_speed(self) -> float | None:
        """Half the speed of late, half that of the whole run: small files and large ones take turns."""
        if self.speed is None or self.first is None or self.at_s <= self.first.at_s:
            return self.speed
        overall = max(0.0, (self.size - self.first.size) / (self.at_s - self.first.at_s))
        return (self.speed + overall) / 2


def estimated(progress: Progress, pace: Pace, totals: Totals | None) -> Progress:
    """`progress` with speed and, when totals are known, an estimated percentage and time left; unknown stays None."""
    update: dict[str, object] = {
        "backup_speed": round(pace.speed / 1e6, 2) if pace.speed is not None else None,
        "last_activity_at": pace.changed_at,
    }
    if totals is not None and totals.size > 0 and progress.original_size is not None:
        update |= _against(progress.original_size, pace, totals)
    return progress.model_copy(update=update)


def counted(progress: Progress, files: int, totals: Totals) -> Progress:
    """The progress of a restore: the percentage is that of its files, all of which are known."""
    percent = min(100 * files / totals.files, HIGHEST_RUNNING_PERCENT) if totals.files else None
    return progress.model_copy(
        update={
            "nfiles": files,
            "progress_percent": None if percent is None else round(percent, 1),
            "percent_is_estimate": False,
            "total_files": totals.files,
            "total_size": totals.size,
            "total_from": totals.source,
        }
    )


def _against(done: int, pace: Pace, totals: Totals) -> dict[str, object]:
    left, speed = totals.size - done, pace.forecast_speed
    return {
        "progress_percent": round(min(100 * done / totals.size, HIGHEST_RUNNING_PERCENT), 1),
        "percent_is_estimate": True,
        "eta_s": round(left / speed, 1) if speed and speed >= LOWEST_SPEED and left > 0 else None,
        "total_size": totals.size,
        "total_files": totals.files,
        "total_from": totals.source,
    }
