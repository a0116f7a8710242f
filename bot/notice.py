"""What a notification says of an event: a title, a text, and how good the news is. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from bot import wording
from bot.card import progress_message
from jobs.channel_test import TEST
from jobs.digest import DIGEST
from jobs.events import EVENT_MODELS, BackupOverdue, Event, EventName, HostSilent, ScheduleMissed
from jobs.types import JOB_TYPES
from jobs.view import JobView


class Tone(StrEnum):
    """How good the news is, in the words that apprise has for it."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


_TONES = {
    "job.started": Tone.INFO,
    "job.completed": Tone.SUCCESS,
    "job.failed": Tone.FAILURE,
    "job.cancelled": Tone.WARNING,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to people, as plain text. `title` is one line."""

    title: str
    text: str
    tone: Tone


TEST_NOTICE = Notice(
    "Locutus can reach you here", "This is a test that somebody asked for; it is of no job.", Tone.INFO
)


def notice_of(document: Mapping[str, Any]) -> Notice:
    """The notice of a delivery's parsed payload, an event, a digest or a test."""
    if document["type"] == TEST:
        return TEST_NOTICE
    if document["type"] == DIGEST:
        return _digest(document["data"])
    return _notice(_event(document))


def _event(document: Mapping[str, Any]) -> Event:
    return EVENT_MODELS[cast("EventName", document["type"])].model_validate(document)


def _notice(event: Event) -> Notice:
    match event.data:
        case JobView():
            return _of_job(event.type, event.data, event.timestamp)
        case ScheduleMissed() as missed:
            what = missed.name or f"schedule {missed.scheduled_job_id}"
            title = f"Schedule {what} missed its time"
            text = f"{missed.reason} It was planned for {wording.moment(missed.planned_at)}."
            return Notice(wording.one_line(title), text, Tone.FAILURE)
        case BackupOverdue() as overdue:
            return _of_overdue(overdue)
        case HostSilent() as silent:
            since = wording.moment(silent.silent_since)
            text = f"Nothing was heard of it since {since}. Its running jobs stay as they are."
            return Notice(f"Host {silent.host} is silent", text, Tone.FAILURE)
        case _:
            raise TypeError(f"There are no words for {event.type}.")


def _of_job(name: str, job: JobView, at: datetime) -> Notice:
    kind = JOB_TYPES.get(job.kind)
    message = progress_message(job, now=job.completed_at or at, words=kind.words if kind else None)
    tone = Tone.WARNING if name == "job.completed" and job.warnings else _TONES[name]
    text = f"{message.text}\nHost {job.host}, asked by {job.requested_by}. Log: {job.logs_url}"
    return Notice(wording.one_line(f"{message.headline} {message.state}"), text, tone)


def _of_overdue(overdue: BackupOverdue) -> Notice:
    last = f"The last one is of {wording.moment(overdue.last_backup)}" if overdue.last_backup else "There is none yet"
    text = f"{last}; one was expected by {wording.moment(overdue.expected_by)}."
    return Notice(f"Backup of {overdue.repository} is overdue", text, Tone.FAILURE)


def _digest(data: Mapping[str, Any]) -> Notice:
    events = [_event(document) for document in data["events"]]
    notices = [_notice(event) for event in events]
    lines = [
        f"{wording.moment(event.timestamp)}: {notice.title}" for event, notice in zip(events, notices, strict=True)
    ]
    more = [f"… and {wording.count(data['more'], 'more event')}"] if data["more"] else []
    tones = Counter(notice.tone for notice in notices)
    bad = tones[Tone.FAILURE]
    title = f"{wording.count(len(events) + data['more'], 'event')} of the day" + (f", {bad} bad" if bad else "")
    return Notice(title, "\n".join([*lines, *more]), max(tones, key=list(Tone).index))
