"""What is kept for a time goes after that time, a few rows a transaction, and nothing else goes with it."""

from collections import Counter
from datetime import timedelta

import pytest

from jobs import expiry
from jobs.clock import now
from jobs.models import Delivery, DeliveryAttempt, EventEntry, HookDelivery, ScheduledRun
from tests.fakes.owed import subscribe
from tests.integration.test_hooks import api_of_both, hook, noted  # noqa: F401 - fixtures

OLD, NEW = 7, 3
"""So many rows of each table are past their time, and not."""


async def add(table, column, kept_for, **columns):
    """Rows around the end of their time."""
    for number in range(OLD + NEW):
        age = kept_for + timedelta(minutes=1 if number < OLD else -1)
        own = {name: value(number) if callable(value) else value for name, value in columns.items()}
        row = await table.create(**own, **({} if column == "created_at" else {column: now() - age}))
        await table.filter(id=row.id).update(**{column: now() - age})


@pytest.fixture
async def filled(api_of_both):  # noqa: F811
    made = await hook(api_of_both)
    subscription = await subscribe("https://ci.example.org/")
    schedule = await api_of_both.post(
        "/api/scheduled-jobs", {"repository": "photos", "cron_expression": "0 2 * * *", "name": "nightly"}
    )
    await add(EventEntry, "created_at", expiry.EVENTS_FOR, type="job.failed", payload="{}")
    await add(HookDelivery, "received_at", expiry.HOOK_DELIVERIES_FOR, hook_id=made["id"], delivery_id=str, job_id=1)
    owed = {"subscription_id": subscription.id, "event": "job.failed", "payload": "{}"}
    for state in ("delivered", "dead", "waiting"):
        ids = {"webhook_id": lambda number, state=state: f"{state}-{number}"}
        await add(Delivery, "due_at", expiry.DELIVERIES_FOR, state=state, **owed, **ids)
    for row in await Delivery.all():
        await DeliveryAttempt.create(delivery_id=row.id, at=now(), status=500)
    for state, shift in (("started", 0), ("claimed", 1)):
        kept_for = expiry.RUNS_FOR + shift * timedelta(days=1)
        at = {"scheduled_job_id": schedule.json["id"], "claimed_at": now(), "state": state}
        await add(ScheduledRun, "planned_at", kept_for, **at)


async def test_what_is_past_its_time_goes_in_small_transactions(filled, monkeypatch):
    monkeypatch.setattr(expiry, "AT_ONCE", 3)
    units, real = [], expiry.unit
    monkeypatch.setattr(expiry, "unit", lambda work: units.append(work) or real(work))
    await expiry.expire()
    assert await EventEntry.all().count() == await HookDelivery.all().count() == NEW
    states = Counter(await Delivery.all().values_list("state", flat=True))
    assert states == {"delivered": NEW, "dead": NEW, "waiting": OLD + NEW}
    assert await DeliveryAttempt.all().count() == 3 * NEW + OLD
    runs = Counter(await ScheduledRun.all().values_list("state", flat=True))
    assert runs == {"started": NEW, "claimed": OLD + NEW}
    removed = 2 * OLD + 2 * OLD + OLD
    assert removed / 3 <= len(units) <= removed / 3 + 4
