"""Deliveries: what was sent, what waits, what is dead and can be replayed, with each try."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, Field

from jobs import delivery
from jobs.access import Role
from jobs.delivery import DeliveryState
from jobs.models import Delivery
from webhooks.page import Page, PageQuery, page
from webhooks.route import Answer, Call, Plain, Route

PATH = "/api/deliveries"
SHOWN_TRIES = 50

RowId = Annotated[int, Field(ge=1, lt=10**9)]


class DeliveriesQuery(PageQuery):
    """Which deliveries."""

    state: DeliveryState | None = None
    subscription_id: RowId | None = None
    notification_channel_id: RowId | None = None
    job_id: RowId | None = None


class DeliveryAnswer(BaseModel):
    """A delivery: `waiting`, `delivered`, or `dead`, which only a replay sends again. `due_at` is of the next try."""

    id: int
    webhook_id: str
    event: str
    job_id: int | None
    subscription_id: int | None
    notification_channel_id: int | None
    state: DeliveryState
    attempts: int
    due_at: datetime
    last_status: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None


class Attempt(BaseModel):
    """One try: the HTTP status where there was one, what went wrong, the first of what was answered."""

    at: datetime
    status: int | None
    error: str | None
    answer: str | None


class DeliveryWithTries(DeliveryAnswer):
    """A delivery with its newest tries, newest first."""

    tries: list[Attempt]


async def list_deliveries(call: Call[None, DeliveriesQuery]) -> Page[DeliveryAnswer]:
    """The deliveries, newest first."""
    wanted: dict[str, Any] = call.query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    return Page[DeliveryAnswer](**await page(Delivery.filter(**wanted), call.query, _present_all))


async def show(call: Plain) -> DeliveryWithTries:
    """One delivery with its tries."""
    row = await delivery.find(call.id)
    tries = await delivery.newest_tries(row.id, SHOWN_TRIES)
    shown = [Attempt.model_validate(each, from_attributes=True) for each in tries]
    return DeliveryWithTries(**_present(row).model_dump(), tries=shown)


async def replay(call: Plain) -> Answer:
    """Have a delivery that has ended sent again, under the same id."""
    again = await delivery.replay(call.id, call.principal, origin=call.origin)
    return Answer(_present(again), status=HTTPStatus.ACCEPTED)


async def _present_all(rows: Any) -> list[DeliveryAnswer]:
    return [_present(row) for row in rows]


def _present(row: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer.model_validate(row, from_attributes=True)


ROUTES = (
    Route(
        "GET", PATH, Role.ADMINISTER, list_deliveries, "The webhooks and notifications sent, and to be sent",
        query=DeliveriesQuery, answer=Page[DeliveryAnswer],
    ),
    Route("GET", f"{PATH}/{{id}}", Role.ADMINISTER, show, "One delivery with its tries", answer=DeliveryWithTries),
    Route(
        "POST", f"{PATH}/{{id}}/replay", Role.ADMINISTER, replay, "Sends a delivery that has ended again",
        answer=DeliveryAnswer, status=HTTPStatus.ACCEPTED,
    ),
)  # fmt: skip
