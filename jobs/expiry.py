"""What is kept for a time only: events for who looks on, ids of deliveries that came, deliveries that have ended."""

from datetime import timedelta

from jobs.clock import now
from jobs.delivery import DeliveryState
from jobs.models import Delivery, EventEntry, HookDelivery

EVENTS_FOR = timedelta(days=7)
HOOK_DELIVERIES_FOR = timedelta(days=7)
"""GitHub sends a delivery again for three days at most."""
DELIVERIES_FOR = timedelta(days=30)


async def expire() -> None:
    """Remove what is older than it is kept."""
    at = now()
    await EventEntry.filter(created_at__lt=at - EVENTS_FOR).delete()
    await HookDelivery.filter(received_at__lt=at - HOOK_DELIVERIES_FOR).delete()
    await Delivery.filter(state=DeliveryState.DELIVERED, delivered_at__lt=at - DELIVERIES_FOR).delete()
    await Delivery.filter(state=DeliveryState.DEAD, due_at__lt=at - DELIVERIES_FOR).delete()
