"""The outbox: an event, and a delivery of it to each subscription and notification channel that wants it, written in
the transaction that made the event true. The bell only says that there is something new.
"""

import secrets
from functools import partial
from typing import Any

from jobs import digest, queue, runtime_settings
from jobs.database.unit import after_commit
from jobs.events import Event, EventData, EventName, event
from jobs.models import Delivery, EventEntry, Job, NotificationChannel, Subscription
from jobs.notification_rules import MONITOR, MONITORS_WANT, end_of_quiet, is_wanted, switches_of
from jobs.present import view
from jobs.view import JobView


async def announce(job: Job, name: EventName) -> None:
    """Inside a unit: publish what became of a job."""
    await publish(name, view(job), repository=job.repository_name)


async def publish(name: EventName, data: EventData, *, repository: str | None) -> None:
    """Inside a unit: write down an event of `repository` (None: of none), and owe it to everybody who wants it."""
    happened = event(name, data)
    job_id = data.id if isinstance(data, JobView) else None
    written: dict[str, Any] = {"job_id": job_id, "payload": happened.model_dump_json()}
    await EventEntry.create(type=name, repository_name=repository, **written)
    for subscription in await Subscription.filter(enabled=True):
        if name in subscription.events and _covers(subscription.repositories, repository):
            await _owe(happened, written, subscription_id=subscription.id, due_at=happened.timestamp)
    await _notify(happened, name, data, written, repository)
    after_commit(partial(queue.ring, job_id or queue.NO_JOB))


async def _notify(
    happened: Event, name: EventName, data: EventData, written: dict[str, Any], repository: str | None
) -> None:
    channels = await NotificationChannel.filter(enabled=True)
    if not channels:
        return
    switches, settings = switches_of(name, data), await runtime_settings.load()
    for channel in channels:
        default = MONITORS_WANT if channel.service == MONITOR else settings.notified
        wanted = default if channel.events is None else channel.events
        if is_wanted(name, switches, wanted) and _covers(channel.repositories, repository):
            await _tell(channel, happened, written)


async def _tell(channel: NotificationChannel, happened: Event, written: dict[str, Any]) -> None:
    if channel.digest_at is not None:
        await digest.add(channel, happened)
        return
    held_until = end_of_quiet(happened.timestamp, channel.quiet_from, channel.quiet_until, channel.timezone)
    when = {"due_at": held_until or happened.timestamp, "held": held_until is not None}
    await _owe(happened, written, notification_channel_id=channel.id, **when)


async def _owe(happened: Event, written: dict[str, Any], **columns: Any) -> None:
    await Delivery.create(webhook_id=new_webhook_id(), event=happened.type, **written, **columns)


def new_webhook_id() -> str:
    """A delivery's own id, the same on every try."""
    return f"msg_{secrets.token_urlsafe(18)}"


def _covers(names: list[str] | None, repository: str | None) -> bool:
    return names is None or repository in names
