"""A delivery's way: due, claimed, then delivered, due again, or dead.

A try is claimed until a moment that lies behind the longest call, so that two workers never send one delivery at the
same time, and the claim of one that died runs out: at least once. A success is recorded whoever holds the claim.

A moment that lies further ahead than it can was written before the clock was set back: it counts as past.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import structlog
from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from jobs import audit, queue
from jobs.access import Principal, Role
from jobs.channel_test import TEST
from jobs.clock import now
from jobs.database.unit import after_commit, reader, unit
from jobs.digest import DIGEST
from jobs.errors import ConflictError, NotFoundError
from jobs.models import Delivery, DeliveryAttempt, Job, NotificationChannel, Subscription
from jobs.notification_rules import end_of_quiet

RETRY_OFFSETS_S = (5, 60, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.1
LONGEST_RETRY_AFTER_S = 86_400.0
LONGEST_CLAIM = timedelta(minutes=2)
"""Of every lease, and of what the clocks of two workers may differ."""
LONGEST_DAY = timedelta(hours=25)
"""From one time of day to the next where the clock goes back: of a digest, or of quiet hours behind a delay."""
LONGEST_DELAY = timedelta(seconds=LONGEST_RETRY_AFTER_S) + LONGEST_DAY + LONGEST_CLAIM
GONE = 410

_log = structlog.get_logger()


class DeliveryState(StrEnum):
    """How far a delivery is: dead means that no try is left, and that only a replay sends it again."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one try: the HTTP status (None: there was none), a sentence when it failed, `Retry-After`, and the
    first of what was answered.
    """

    status: int | None
    error: str | None = None
    retry_after_s: float | None = None
    text: str | None = None

    @property
    def delivered(self) -> bool:
        """Whether it was taken: nothing went wrong, and the status, where there is one, is a 2xx."""
        return self.error is None and (self.status is None or 200 <= self.status < 300)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom a delivery is for. Each has one try under way at most."""

    subscription_id: int | None
    channel_id: int | None


def endpoint_of(delivery: Delivery) -> Endpoint:
    """Whom the delivery is for."""
    return Endpoint(delivery.subscription_id, delivery.notification_channel_id)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to try one delivery until `until`, and what to send."""

    delivery: Delivery
    until: datetime
    body: bytes


def retry_delay(failures: int, answer: Answer, jitter: float) -> timedelta | None:
    """How long to wait after that many failures (1 and up); None when it was the last try.

    The numbers are those of the Standard Webhooks specification's example ("Deliverability and reliability"), counted
    from the first failure, so that they span a day, and one minute more: an endpoint that fails ten times is reached.
    `jitter`, -1 to 1, moves a delay by up to 10 %. A longer `Retry-After` is obeyed, up to a day.
    """
    if answer.status == GONE or failures > len(RETRY_OFFSETS_S):
        return None
    delay_s = RETRY_OFFSETS_S[failures - 1] - (RETRY_OFFSETS_S[failures - 2] if failures > 1 else 0)
    asked_s = min(answer.retry_after_s or 0, LONGEST_RETRY_AFTER_S)
    return timedelta(seconds=max(delay_s * (1 + JITTER * jitter), asked_s))


def absolute_links(payload: str, base_url: str) -> str:
    """The payload with `data.logs_url` under `base_url`; one whose link is absolute already stays as it is."""
    document = json.loads(payload)
    path = document["data"].get("logs_url") or ""
    if not path.startswith("/"):
        return payload
    return json.dumps({**document, "data": {**document["data"], "logs_url": base_url + path}})


async def due(at: datetime, *, limit: int, excluding: Collection[Endpoint] = ()) -> list[Delivery]:
    """The unclaimed deliveries that may be tried now, oldest first, with whom they are for; not for those excluded."""
    rows = _sendable().filter(_unclaimed(at), _is_due(at))
    if subscriptions := [each.subscription_id for each in excluding if each.subscription_id]:
        rows = rows.filter(Q(subscription_id__isnull=True) | Q(subscription_id__not_in=subscriptions))
    if channels := [each.channel_id for each in excluding if each.channel_id]:
        rows = rows.filter(Q(notification_channel_id__isnull=True) | Q(notification_channel_id__not_in=channels))
    rows = rows.order_by("due_at", "id").limit(limit)
    return await rows.select_related("subscription", "notification_channel")


async def next_due(at: datetime) -> datetime | None:
    """When the next delivery that is not due yet will be."""
    row = await _sendable().filter(due_at__gt=at).order_by("due_at").first().only("id", "due_at")
    return row.due_at if row else None


async def claim(delivery: Delivery, at: datetime, lease: timedelta, base_url: str) -> Claim | None:
    """Take the next try of a row that `due` returned; None when somebody else was faster.

    The first claim writes the absolute links into the row, so that every try sends the same bytes.
    """
    payload = absolute_links(delivery.payload, base_url)
    unchanged = Delivery.filter(_unclaimed(at), id=delivery.id, state=DeliveryState.WAITING, due_at=delivery.due_at)
    if delivery.event == DIGEST:  # it may have grown since it was read
        unchanged = unchanged.filter(payload=delivery.payload)
    taken = await unit(partial(_update, unchanged, claimed_until=at + lease, payload=payload))
    return Claim(delivery, at + lease, payload.encode()) if taken else None


async def record(claim: Claim, answer: Answer, at: datetime, jitter: float) -> DeliveryState | None:
    """Write down what became of a try and return the delivery's new state; None when it is no longer ours to say."""
    return await unit(partial(_record, claim, answer, at, jitter))


async def is_overtaken(delivery: Delivery) -> bool:
    """Whether it failed, and later news of its job, or of a later one of that kind and repository, was taken since."""
    job = await Job.get_or_none(id=delivery.job_id) if delivery.attempts and delivery.job_id else None
    if job is None:
        return False
    later = Delivery.filter(notification_channel_id=delivery.notification_channel_id, id__gt=delivery.id)
    taken = await later.filter(state=DeliveryState.DELIVERED).values_list("job_id", flat=True)
    return await Job.filter(id__in=taken, kind=job.kind, repository_name=job.repository_name).exists()


async def find(delivery_id: int) -> Delivery:
    """The delivery; raises `NotFoundError`."""
    row = await Delivery.get_or_none(id=delivery_id)
    if row is None:
        raise NotFoundError(f"There is no delivery {delivery_id}.")
    return row


async def newest_tries(delivery_id: int, limit: int) -> list[DeliveryAttempt]:
    """What became of its newest tries, newest first."""
    tries = DeliveryAttempt.filter(delivery_id=delivery_id).using_db(reader())
    return await tries.order_by("-id").limit(limit)


async def replay(delivery_id: int, principal: Principal, *, origin: str, asked_in: str | None = None) -> Delivery:
    """Have an ended delivery sent anew under its `webhook_id`, and return it.

    Raises `ForbiddenError`, `NotFoundError`, `ConflictError` while it waits for its next try, and where whom it is for
    is switched off.
    """
    principal.require(Role.ADMINISTER, None, asked_in)
    return await unit(partial(_replay, delivery_id, principal, origin))


async def _replay(delivery_id: int, principal: Principal, origin: str) -> Delivery:
    row = await find(delivery_id)
    await _require_enabled(row)
    ended = Delivery.filter(id=delivery_id, state__in=[DeliveryState.DELIVERED, DeliveryState.DEAD])
    again = {"state": DeliveryState.WAITING, "attempts": 0, "held": False, "due_at": now(), "claimed_until": None}
    if not await ended.update(**again):
        raise ConflictError(f"Delivery {delivery_id} waits for its next try already.")
    await audit.record(principal, "delivery.replay", origin=origin, target=str(delivery_id))
    after_commit(partial(queue.ring, queue.NO_JOB))
    return row.update_from_dict(again)


async def _require_enabled(row: Delivery) -> None:
    """Raise `ConflictError` where nothing would be sent to whom the delivery is for."""
    if row.subscription_id:
        subscription = await Subscription.get(id=row.subscription_id)
        enabled, what, reason = subscription.enabled, f"subscription {subscription.id}", subscription.disabled_reason
    else:
        channel = await NotificationChannel.get(id=row.notification_channel_id)
        enabled, what, reason = channel.enabled, f"notification channel {channel.name}", None
    if not enabled:
        said = " ".join(part for part in (f"The {what} is switched off.", reason, "Switch it on first.") if part)
        raise ConflictError(said)


async def _record(claim: Claim, answer: Answer, at: datetime, jitter: float) -> DeliveryState | None:
    attempts = claim.delivery.attempts + 1
    noted: dict[str, Any] = {"status": answer.status, "error": answer.error, "answer": answer.text}
    await DeliveryAttempt.create(delivery_id=claim.delivery.id, at=at, **noted)
    waiting = Delivery.filter(id=claim.delivery.id, state=DeliveryState.WAITING)
    tried: dict[str, Any] = {
        "attempts": attempts,
        "claimed_until": None,
        "last_status": answer.status,
        "last_error": answer.error,
    }
    if answer.delivered:
        written = await waiting.update(state=DeliveryState.DELIVERED, delivered_at=at, **tried)
        return DeliveryState.DELIVERED if written else None
    delay = retry_delay(attempts, answer, jitter)
    state = DeliveryState.WAITING if delay else DeliveryState.DEAD
    ours = waiting.filter(claimed_until=claim.until)
    due_at = await _behind_quiet(claim.delivery, at + (delay or timedelta()))
    if not await ours.update(state=state, due_at=due_at, **tried):
        return None
    if answer.retry_after_s:
        await _hold_others(claim.delivery, at, at + timedelta(seconds=min(answer.retry_after_s, LONGEST_RETRY_AFTER_S)))
    if answer.status == GONE and claim.delivery.subscription_id:
        await _switch_off(claim.delivery, at)
    return state


async def _hold_others(delivery: Delivery, at: datetime, until: datetime) -> None:
    """Hold back what else waits for the endpoint, which asked to be left alone."""
    waiting = Delivery.filter(_unclaimed(at), state=DeliveryState.WAITING, due_at__lt=until).exclude(id=delivery.id)
    if delivery.subscription_id:
        waiting = waiting.filter(subscription_id=delivery.subscription_id)
    else:
        waiting = waiting.filter(notification_channel_id=delivery.notification_channel_id)
    await waiting.update(due_at=until, held=True)


async def _behind_quiet(delivery: Delivery, at: datetime) -> datetime:
    """The moment, or the end of the channel's quiet hours that it lies in; a test is sent whatever they are."""
    if delivery.notification_channel_id is None or delivery.event == TEST:
        return at
    channel = await NotificationChannel.get(id=delivery.notification_channel_id)
    return end_of_quiet(at, channel.quiet_from, channel.quiet_until, channel.timezone) or at


async def _switch_off(delivery: Delivery, at: datetime) -> None:
    """Disable the subscription and end what waits for it; a try under way ends by itself."""
    reason = f"The endpoint answered 410 Gone to delivery {delivery.id}: it wants no more webhooks."
    subscription_id = delivery.subscription_id
    await Subscription.filter(id=subscription_id).update(enabled=False, disabled_reason=reason)
    waiting = Delivery.filter(_unclaimed(at), subscription_id=subscription_id, state=DeliveryState.WAITING)
    ended = await waiting.update(state=DeliveryState.DEAD, last_error=reason)
    _log.warning("subscription_switched_off", subscription_id=subscription_id, delivery_id=delivery.id, ended=ended)


async def _update(rows: QuerySet[Delivery], **values: Any) -> int:
    return await rows.update(**values)


def _sendable() -> QuerySet[Delivery]:
    wanted = Q(subscription__enabled=True) | Q(notification_channel__enabled=True)
    return Delivery.filter(wanted, state=DeliveryState.WAITING).using_db(reader())


def _unclaimed(at: datetime) -> Q:
    return Q(claimed_until__isnull=True) | Q(claimed_until__lte=at) | Q(claimed_until__gt=at + LONGEST_CLAIM)


def _is_due(at: datetime) -> Q:
    """The first try is due from the start, whatever the clock says now, unless it is held back on purpose."""
    return Q(attempts=0, held=False) | Q(due_at__lte=at) | Q(due_at__gt=at + LONGEST_DELAY)
