"""The catalogue of events: what Locutus tells the outside by itself. Webhooks, notifications and WebSockets carry the
same: a type, a time and the data that this page gives it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, create_model

from jobs.clock import now
from jobs.view import JobView

EventName = Literal[
    "job.started",
    "job.completed",
    "job.failed",
    "job.cancelled",
    "schedule.missed",
    "backup.overdue",
    "host.silent",
]
EVENT_NAMES: tuple[EventName, ...] = get_args(EventName)


class ScheduleMissed(BaseModel):
    """A schedule whose moment passed without a job. Times are UTC."""

    model_config = ConfigDict(frozen=True)

    scheduled_job_id: int
    name: str | None
    repository: str | None
    planned_at: datetime
    reason: str
    """Why there was no job, as a sentence."""


class BackupOverdue(BaseModel):
    """A repository whose newest archive is older than was promised. Times are UTC."""

    model_config = ConfigDict(frozen=True)

    repository: str
    last_backup: datetime | None
    expected_by: datetime


class HostSilent(BaseModel):
    """A host that has said nothing for minutes; its running jobs stay as they are. Times are UTC."""

    model_config = ConfigDict(frozen=True)

    host: str
    silent_since: datetime


EventData = JobView | ScheduleMissed | BackupOverdue | HostSilent


@dataclass(frozen=True, slots=True)
class EventKind:
    """One line of the catalogue: what an event means, and what its data is."""

    meaning: str
    data: type[EventData]


CATALOGUE: Mapping[EventName, EventKind] = {
    "job.started": EventKind("A job has begun to run; a second try begins again.", JobView),
    "job.completed": EventKind("A job has ended well, perhaps with warnings.", JobView),
    "job.failed": EventKind("A job has ended badly: `error_code` and `error_message` say why.", JobView),
    "job.cancelled": EventKind("A job has ended because somebody asked for it.", JobView),
    "schedule.missed": EventKind("A schedule's moment passed without a job.", ScheduleMissed),
    "backup.overdue": EventKind("A repository's newest archive is older than it should be.", BackupOverdue),
    "host.silent": EventKind("A host has said nothing for minutes.", HostSilent),
}


class Event(BaseModel):
    """An event as it is sent: the same bytes to everybody who wants it."""

    # Not `use_attribute_docstrings`: for a model made at run time pydantic searches every module for its source, which
    # costs each process a second of its start.
    model_config = ConfigDict(frozen=True)

    type: str
    timestamp: datetime = Field(description="When it happened, UTC.")
    data: Any


def _model(name: EventName, kind: EventKind) -> type[Event]:
    words = "".join(word.capitalize() for word in name.split("."))
    fields: dict[str, Any] = {"type": (Literal[name], ...), "data": (kind.data, ...)}
    return create_model(f"{words}Event", __base__=Event, __doc__=kind.meaning, **fields)


EVENT_MODELS: Mapping[EventName, type[Event]] = {name: _model(name, kind) for name, kind in CATALOGUE.items()}
"""The exact shape of each event, for descriptions and for those who read one."""


def event(name: EventName, data: EventData) -> Event:
    """The event that has just happened; raises pydantic's `ValidationError` for another event's data."""
    return EVENT_MODELS[name](type=name, timestamp=now(), data=data)
