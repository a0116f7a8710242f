"""From a row to what the outside sees of it."""

from datetime import datetime

from jobs.clock import now
from jobs.models import Job
from jobs.types import JOB_TYPES
from jobs.view import JobStatus, JobView, Progress, Standing

PRIORITIES = {"high": 1, "normal": 0, "low": -1}
_PRIORITY_NAMES = {number: name for name, number in PRIORITIES.items()}
_UNKNOWN = Standing()


def view(job: Job, standing: Standing = _UNKNOWN, *, base_url: str = "") -> JobView:
    """The job as API, webhook and card see it; links are absolute when `base_url` is given.

    Without a standing nothing is said of what the job waits for, nor of its host's silence.
    """
    return JobView(
        id=job.id,
        kind=job.kind,
        status=JobStatus(job.status),
        repository=job.repository_name,
        subject=_subject(job),
        host=job.host,
        progress=Progress.model_validate(job.progress),
        warnings=job.warnings,
        error_code=job.error_code,
        error_message=job.error_message,
        note=job.note,
        late_status=JobStatus(job.late_status) if job.late_status else None,
        archive_name=job.archive_name,
        logs_url=f"{base_url}/api/jobs/{job.id}/logs",
        requested_by=job.requested_by,
        cancelled_by=job.cancel_requested_by,
        origin=job.origin,
        priority=_PRIORITY_NAMES.get(job.priority, "normal"),
        attempt=job.attempt,
        retry_of=job.retry_of,
        parent_id=job.parent_id,
        scheduled_job_id=job.scheduled_job_id,
        follow_ups=tuple(step["kind"] for step in job.follow_ups),
        not_before=job.not_before,
        waits_for=standing.waits_for,
        queue_place=standing.place,
        host_silent_since=standing.host_silent_since,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        duration_s=_duration_s(job.started_at, job.completed_at),
    )


def _subject(job: Job) -> str | None:
    kind = JOB_TYPES.get(job.kind)
    return kind.subject(job.parameters) if kind else None


def _duration_s(started: datetime | None, completed: datetime | None) -> float | None:
    """Never negative: the clock may have been set back meanwhile."""
    return max(0.0, round(((completed or now()) - started).total_seconds(), 3)) if started else None
