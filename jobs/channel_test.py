"""A message that only shows whether a notification channel can be reached, sent as any other is."""

import json
from functools import partial

from jobs import audit, queue
from jobs.access import Principal, Role
from jobs.clock import now
from jobs.database.unit import after_commit, unit
from jobs.errors import ConflictError, NotFoundError
from jobs.models import Delivery, NotificationChannel
from jobs.notification_rules import MONITOR
from jobs.outbox import new_webhook_id

TEST = "notification.test"


async def send(name: str, principal: Principal, *, origin: str, asked_in: str | None) -> Delivery:
    """Owe the channel a test message now, whatever its quiet hours are, and return the delivery.

    Raises `ForbiddenError`, `NotFoundError`, `ConflictError` for a channel that can't be tried out.
    """
    principal.require(Role.ADMINISTER, None, asked_in)
    row = await NotificationChannel.get_or_none(name=name)
    if row is None:
        raise NotFoundError(f"There is no notification channel {name}.")
    require_testable(row)
    return await unit(partial(_owe, row, principal, origin))


def require_testable(channel: NotificationChannel) -> None:
    """Raise `ConflictError` for a channel that no test message can go to."""
    if channel.service == MONITOR:
        raise ConflictError("A monitor takes every ping for news: it is told of the next job, and can't be tried out.")
    if not channel.enabled:
        raise ConflictError(f"The notification channel {channel.name} is switched off.")


async def _owe(channel: NotificationChannel, principal: Principal, origin: str) -> Delivery:
    at = now()
    await audit.record(principal, "notification_channel.test", origin=origin, target=channel.name)
    after_commit(partial(queue.ring, queue.NO_JOB))
    return await Delivery.create(
        notification_channel_id=channel.id,
        webhook_id=new_webhook_id(),
        event=TEST,
        payload=json.dumps({"type": TEST, "timestamp": at.isoformat(), "data": {}}),
        due_at=at,
    )
