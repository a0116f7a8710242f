"""From a schedule to the request that each of its runs is: the same for checking it when it is made."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from jobs.access import Principal, Role, everywhere
from jobs.models import ScheduledJob
from jobs.submit import JobRequest

ORIGIN = "schedule"
BACKUP = "backup"
FIELD_OF: Final[Mapping[str, str]] = {"prune_after": "run_prune_after", "compact_after": "run_compact_after"}
"""What a backup's parameter is called in a schedule."""


def principal_of(schedule: ScheduledJob) -> Principal:
    """A schedule may what whoever made it might: that was looked at then, and holds until it is removed."""
    return everywhere(f"schedule:{schedule.name}", Role.ADMINISTER)


def request_of(schedule: ScheduledJob, planned_at: datetime, repository: str | None) -> JobRequest:
    """The request of one run; its key makes it one, whoever asks how often."""
    return JobRequest(
        kind=schedule.kind,
        principal=principal_of(schedule),
        origin=ORIGIN,
        repository=repository,
        host=schedule.host,
        parameters=parameters_of(schedule),
        request_key=f"schedule:{schedule.id}:{planned_at.isoformat()}",
        channel=schedule.channel,
        priority=schedule.priority,
        scheduled_job_id=schedule.id,
        schedule=schedule.name,
        template=schedule.template,
    )


def parameters_of(schedule: ScheduledJob) -> dict[str, Any]:
    """The kind's parameters: its own, and for a backup what it is called and what follows it."""
    if schedule.kind != BACKUP:
        return {**schedule.parameters, **schedule.retention}
    after: dict[str, Any] = {}
    if schedule.archive_name_template:
        after["archive_name_template"] = schedule.archive_name_template
    if schedule.run_prune_after:
        after["prune_after"] = True
        after |= schedule.retention
    if schedule.run_compact_after:
        after["compact_after"] = True
    return {**schedule.parameters, **after}
