"""The outbox: an event, and a delivery of it for each endpoint that wants it, written in the transaction that made the
event true. The bell only says that there is something new.
"""

import secrets
from functools import partial

from jobs import queue
from jobs.database.unit import after_commit
from jobs.events import EventData, EventName, event
from jobs.models import Delivery, EventEntry, Job, Subscription
from jobs.present import view
from jobs.view import JobView


async def announce(job: Job, name: EventName) -> None:
    """Inside a unit: publish what became of a job."""
    await publish(name, view(job), repository=job.repository_name)


async def publish(name: EventName, data: EventData, *, repository: str | None) -> None:
    """Inside a unit: write down an event of `repository` (None: of none), and owe it to everybody who wants it."""
    happened = event(name, data)
    job_id = data.id if isinstance(data, JobView) else None
    payload = happened.model_dump_json()
    await EventEntry.create(type=name, repository_name=repository, job_id=job_id, payload=payload)
    for subscription in await Subscription.filter(enabled=True):
        if name in subscription.events and _wants(subscription.repositories, repository):
            await Delivery.create(
                subscription_id=subscription.id,
                webhook_id=f"msg_{secrets.token_urlsafe(18)}",
                event=name,
                job_id=job_id,
                payload=payload,
                due_at=happened.timestamp,
            )
    after_commit(partial(queue.ring, job_id or queue.NO_JOB))


def _wants(names: list[str] | None, repository: str | None) -> bool:
    return names is None or repository in names
