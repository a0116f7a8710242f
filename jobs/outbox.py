"""The outbox: an event for each endpoint that wants it, written in the transaction that made the event true."""

import json
import secrets
from functools import partial
from typing import Literal, get_args

from jobs import queue
from jobs.clock import now
from jobs.database.unit import after_commit
from jobs.models import Delivery, Job, Subscription
from jobs.present import view

EventName = Literal["job.started", "job.completed", "job.failed", "job.cancelled"]
EVENT_NAMES: tuple[EventName, ...] = get_args(EventName)


async def announce(job: Job, event: EventName) -> None:
    """Inside a unit: one delivery per enabled subscription that wants `event` of the job's repository."""
    for subscription in await Subscription.filter(enabled=True):
        if event not in subscription.events or not _wants(subscription, job):
            continue
        await Delivery.create(
            subscription_id=subscription.id,
            webhook_id=f"msg_{secrets.token_urlsafe(18)}",
            event=event,
            job_id=job.id,
            payload=_payload(job, event),
            due_at=now(),
        )
        after_commit(partial(queue.ring, job.id))


def _wants(subscription: Subscription, job: Job) -> bool:
    return subscription.repositories is None or job.repository_name in subscription.repositories


def _payload(job: Job, event: str) -> str:
    data = view(job).model_dump(mode="json")
    return json.dumps({"type": event, "timestamp": now().isoformat(), "data": data})
