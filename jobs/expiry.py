"""What is kept for a time only: events for who looks on, ids of deliveries that came, deliveries that have ended,
planned times that were taken.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from tortoise import Model
from tortoise.queryset import QuerySet

from jobs.clock import now
from jobs.database.unit import reader, unit
from jobs.delivery import DeliveryState
from jobs.models import Delivery, EventEntry, HookDelivery, ScheduledRun
from jobs.schedule.turns import CLAIMED

EVENTS_FOR = timedelta(days=7)
HOOK_DELIVERIES_FOR = timedelta(days=7)
"""GitHub sends a delivery again for three days at most."""
DELIVERIES_FOR = timedelta(days=30)
RUNS_FOR = timedelta(days=30)
AT_ONCE = 500
"""So many rows go in one transaction: others want to write in between."""


async def expire() -> None:
    """Remove what is older than it is kept."""
    at, ended = now(), [DeliveryState.DELIVERED, DeliveryState.DEAD]
    await _remove(EventEntry.filter(created_at__lt=at - EVENTS_FOR))
    await _remove(HookDelivery.filter(received_at__lt=at - HOOK_DELIVERIES_FOR))
    await _remove(Delivery.filter(state__in=ended, due_at__lt=at - DELIVERIES_FOR))
    await _remove(ScheduledRun.filter(planned_at__lt=at - RUNS_FOR).exclude(state=CLAIMED))


async def _remove(old: QuerySet[Any]) -> None:
    while ids := await old.using_db(reader()).limit(AT_ONCE).values_list("id", flat=True):
        await unit(partial(_delete, old.model, ids))


async def _delete(table: type[Model], ids: Sequence[Any]) -> None:
    await table.filter(id__in=list(ids)).delete()
