"""Deliveries that are owed to endpoints, and the loops that send them, on a clock of the test's own."""

import asyncio
import base64
import contextlib
import json
from functools import partial
from itertools import count

from jobs.models import Delivery, Subscription
from jobs.secrets import SecretBox
from tests.fakes.gateway import SECRET_KEY
from worker.deliveries import Deliveries

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
BOX = SecretBox(SECRET_KEY)
BASE_URL = "https://backup.example.org"
_numbers = count(1)


async def subscribe(url, secret=SECRET):
    return await Subscription.create(url=url, secret=BOX.encrypt(secret), events=["job.completed"])


async def owe(subscription, at, event="job.completed"):
    number = next(_numbers)
    payload = {
        "type": event,
        "timestamp": at.isoformat(),
        "data": {"id": number, "logs_url": f"/api/jobs/{number}/logs"},
    }
    return await Delivery.create(
        subscription_id=subscription.id,
        webhook_id=f"msg_{number}",
        event=event,
        job_id=number,
        payload=json.dumps(payload),
        due_at=at,
    )


@contextlib.asynccontextmanager
async def running(sender, now, loops=1, box=BOX):
    """That many loops that deliver; they are stopped as a worker stops them."""
    tasks = [asyncio.create_task(Deliveries(sender, box, BASE_URL, now=now).run()) for _ in range(loops)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(queue, condition):
    """Ring the bell until the database says so."""
    async with asyncio.timeout(30):
        while not await condition():
            await queue.publish(0)
            await asyncio.sleep(0.01)


async def reached(row, **values):
    return await Delivery.filter(id=row.id, **values).exists()


def ends_as(row, **values):
    return partial(reached, row, **values)
