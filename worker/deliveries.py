"""Sends webhooks and notifications out of the outbox, as long as it is left to run.

It looks at what is due, whoever said so: the bell, the end of a try and the clock only make it look sooner. Each
endpoint has one try under way at most, and those that failed last have half of the room at most, so that what one does
reaches no other.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar, cast

import structlog

from jobs import clock, delivery
from jobs.delivery import Answer, Claim, Endpoint, endpoint_of
from jobs.models import Delivery, NotificationChannel, Subscription
from jobs.notification_rules import MONITOR
from jobs.queue import Ear, current_queue
from jobs.secrets import SecretBox, SecretUnreadableError
from webhooks.notifier import Notifier
from webhooks.outbound import CONCURRENCY, TIMEOUT_S, WebhookSender

T = TypeVar("T")

LOOK_EVERY_S = 5.0
SETTLE_S = 0.05
PAUSE_S = 5.0
ROOM_OF_FAILING = CONCURRENCY // 2
LEASE = timedelta(seconds=TIMEOUT_S + 10)

_log = structlog.get_logger()


class Deliveries:
    """The delivering part of a service worker. Any number of them may run against one database."""

    def __init__(
        self,
        sender: WebhookSender,
        box: SecretBox,
        base_url: str,
        *,
        now: Callable[[], datetime] = clock.now,
        chance: random.Random | None = None,
    ) -> None:
        self._sender = sender
        self._notifier = Notifier(sender)
        self._box = box
        self._base_url = base_url
        self._now = now
        self._chance = chance or random.SystemRandom()
        self._busy: set[Endpoint] = set()
        self._failing: set[Endpoint] = set()

    async def run(self) -> None:
        """Deliver until cancelled. A call under way is then given up: its claim runs out and the next worker sends it.

        Needs an open database and queue; their absence is logged and waited out.
        """
        with current_queue().ear() as ear:
            async with asyncio.TaskGroup() as tries:
                while True:
                    wait_s = await self._survive(self._start_due(tries, ear))
                    await ear.wait(wait_s or 0, SETTLE_S)

    async def _start_due(self, tries: asyncio.TaskGroup, ear: Ear) -> float:
        """Start what is due and has room; returns the seconds until there may be more."""
        while room := CONCURRENCY - len(self._busy):
            page = await delivery.due(self._now(), limit=room, excluding=self._without_room())
            if not page:
                break
            for row in page:
                if row.attempts:  # perhaps by a worker before this one
                    self._failing.add(endpoint_of(row))
                if endpoint_of(row) not in self._without_room():
                    self._busy.add(endpoint_of(row))
                    tries.create_task(self._try(row, ear))
        at = self._now()
        following = await delivery.next_due(at)
        return min(LOOK_EVERY_S, (following - at).total_seconds()) if following else LOOK_EVERY_S

    def _without_room(self) -> set[Endpoint]:
        full = len(self._busy & self._failing) >= ROOM_OF_FAILING
        return self._busy | self._failing if full else self._busy

    async def _try(self, row: Delivery, ear: Ear) -> None:
        try:
            await self._survive(self._deliver(row), delivery_id=row.id, job_id=row.job_id)
        finally:
            self._busy.discard(endpoint_of(row))
            ear.rung.set()

    async def _deliver(self, row: Delivery) -> None:
        claim = await delivery.claim(row, self._now(), LEASE, self._base_url)
        if claim is None:
            return
        answer = await self._send(claim)
        (self._failing.discard if answer.delivered else self._failing.add)(endpoint_of(row))
        state = await delivery.record(claim, answer, self._now(), self._chance.uniform(-1, 1))
        _log.info(
            "delivery_tried",
            delivery_id=row.id,
            job_id=row.job_id,
            status=answer.status,
            error=answer.error,
            state=state,
        )

    async def _send(self, claim: Claim) -> Answer:
        subscription, channel = claim.delivery.subscription, claim.delivery.notification_channel
        try:
            if subscription is not None:
                return await self._send_webhook(claim, subscription)
            return await self._notify(claim, cast("NotificationChannel", channel))
        except SecretUnreadableError as error:
            return Answer(None, str(error))

    async def _send_webhook(self, claim: Claim, subscription: Subscription) -> Answer:
        stored = (subscription.secret, subscription.second_secret)
        secret = " ".join(self._box.decrypt(each) for each in stored if each)
        return await self._sender.send(subscription.url, secret, claim.delivery.webhook_id, self._now(), claim.body)

    async def _notify(self, claim: Claim, channel: NotificationChannel) -> Answer:
        # A monitor takes the last ping for the state of things.
        if channel.service == MONITOR and await delivery.is_overtaken(claim.delivery):
            return Answer(None)
        url = self._box.decrypt(channel.url)
        return await self._notifier.send(url, json.loads(claim.body), self._now())

    async def _survive(self, work: Awaitable[T], **about: int | None) -> T | None:
        try:
            return await work
        except Exception:  # noqa: BLE001 - named edge: a broken database delays deliveries, and never ends the loop
            _log.exception("deliveries_interrupted", **about)
            await asyncio.sleep(PAUSE_S)
            return None
