"""What the outside sees of a job: one shape for the API, the completion webhook, the command line and the cards."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class JobStatus(StrEnum):
    """The states of a job; `jobs/lifecycle.py` says what may follow what."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True when no other state follows."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class RemovedArchive:
    """An archive that a prune removes, by borg's id and its name."""

    id: str
    name: str


class Progress(BaseModel):
    """How far a job is. Sizes are bytes, `backup_speed` is MB/s (10^6), percentages are 0 to 100; unknown is None,
    never 0.
    """

    model_config = ConfigDict(frozen=True)

    progress_percent: float | None = None
    percent_is_estimate: bool = False
    current_file: str | None = None
    nfiles: int | None = None
    original_size: int | None = None
    compressed_size: int | None = None
    deduplicated_size: int | None = None
    backup_speed: float | None = None
    eta_s: float | None = None
    progress: float | None = None
    progress_message: str | None = None
    total_size: int | None = None
    total_files: int | None = None
    total_from: str | None = None
    """Where the totals come from: "previous archive", "scan", or of a restore "archive"."""
    last_activity_at: datetime | None = None
    freed_size: int | None = None
    """What a compact gave back to the disk, or a prune made superfluous."""
    narchives: int | None = None
    """How many archives a prune removed, or would remove."""
    archives: tuple[str, ...] | None = None
    """The names of the first hundred of them."""
    items: int = Field(default=0, exclude=True)
    """How many files, directories and links a restore has named, while the run is read."""
    operation: int | None = Field(default=None, exclude=True)
    """Which of its stages borg is in, while the run is read."""
    repository_size: int | None = Field(default=None, exclude=True)
    """What the whole repository holds, while the run is read."""
    removed: tuple[RemovedArchive, ...] = Field(default=(), exclude=True)
    """The archives that were seen to go, while the run is read."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job that has not ended stands, as `JobView` says it; `jobs/waiting.py` finds out."""

    waits_for: str | None = None
    place: int | None = None
    host_silent_since: datetime | None = None


class JobView(BaseModel):
    """A job as everybody outside sees it; times are UTC, `duration_s` is seconds."""

    model_config = ConfigDict(frozen=True)

    id: int
    kind: str
    status: JobStatus
    repository: str | None
    subject: str | None = None
    """What it is about beside its repository or host, such as the package to install."""
    host: str
    progress: Progress
    warnings: int
    error_code: str | None
    error_message: str | None
    note: str | None = None
    """What people should know beside its state, such as that it catches up on a run that was missed."""
    late_status: JobStatus | None
    archive_name: str | None
    logs_url: str
    requested_by: str
    cancelled_by: str | None
    origin: str
    priority: str
    attempt: int
    retry_of: int | None
    parent_id: int | None
    scheduled_job_id: int | None
    follow_ups: tuple[str, ...] = ()
    """The kinds of the jobs that its success starts, one after another."""
    not_before: datetime | None
    waits_for: str | None
    """What a pending job stands behind, such as `#5 (backup, running)`; None while it waits for `not_before`."""
    queue_place: int | None
    """Its place, from 1, among the jobs that wait for the same; None where it is in no queue."""
    host_silent_since: datetime | None
    """When its host was last heard of, where that is too long ago and the job has not ended."""
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_s: float | None
