"""Digests: what a channel would be told in a day, gathered in one delivery that is due at its hour."""

import json
import secrets

from jobs.events import Event
from jobs.models import Delivery, NotificationChannel
from jobs.notification_rules import moment_of

DIGEST = "digest"
MOST_EVENTS = 200
"""So many are kept of a day; the rest is counted."""


async def add(channel: NotificationChannel, happened: Event) -> None:
    """Inside a unit: put an event into the channel's next digest."""
    # One at a time: two that end together must not write over each other (PostgreSQL).
    locked = await NotificationChannel.filter(id=channel.id).select_for_update().first()
    if locked is None or locked.digest_at is None:
        return
    waiting = Delivery.filter(notification_channel_id=channel.id, event=DIGEST, attempts=0, claimed_until__isnull=True)
    row = await waiting.filter(state="waiting").first()
    if row is None:
        await _begin(locked, happened)
        return
    unclaimed = Delivery.filter(id=row.id, payload=row.payload, attempts=0, claimed_until__isnull=True)
    if not await unclaimed.update(payload=_grown(row.payload, happened)):
        await _begin(locked, happened)


async def _begin(channel: NotificationChannel, happened: Event) -> None:
    due_at = moment_of(happened.timestamp, str(channel.digest_at), channel.timezone)
    empty = {"type": DIGEST, "timestamp": happened.timestamp.isoformat(), "data": {"events": [], "more": 0}}
    await Delivery.create(
        notification_channel_id=channel.id,
        webhook_id=f"msg_{secrets.token_urlsafe(18)}",
        event=DIGEST,
        payload=_grown(json.dumps(empty), happened),
        due_at=due_at,
        held=True,
    )


def _grown(payload: str, happened: Event) -> str:
    document = json.loads(payload)
    data = document["data"]
    if len(data["events"]) < MOST_EVENTS:
        data["events"].append(happened.model_dump(mode="json"))
    else:
        data["more"] += 1
    return json.dumps(document)
