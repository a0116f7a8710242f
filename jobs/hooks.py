"""Taking a delivery of a hook: the same delivery once, a job for each distinct one, or a place in one that waits; where
it takes a second person, a question in the place of the job.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tortoise.backends.base.client import BaseDBAsyncClient

from jobs import chain
from jobs.access import Grant, Principal, Role
from jobs.clock import now
from jobs.errors import ConflictError, NotFoundError, RateLimitedError
from jobs.models import Confirmation, Hook, HookDelivery, Job
from jobs.rate import Rate
from jobs.submit import JobRequest, accept_or_ask_within, asks_for, asks_the_same, with_its_template
from jobs.view import JobStatus

ORIGIN = "hook"
LOOKED_AT = 50
"""Of the jobs that wait, so many are looked at for one to join: they differ by what payloads gave them."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a delivery became, a job or a question; `created` is False where it repeated one or joined what waits."""

    job_id: int | None
    confirmation: Confirmation | None
    created: bool


def principal_of(hook: Hook) -> Principal:
    """Who asks: the hook, which may do on its repository what an administrator let it do."""
    repositories = [hook.repository_name] if hook.repository_name else None
    return Principal(f"hook:{hook.name}", (Grant(Role.ADMINISTER, repositories),))


async def taken_before(
    hook_id: int, delivery_id: str | None, connection: BaseDBAsyncClient | None = None
) -> Taken | None:
    """What this delivery became when it came first; None for a new one. Outside of a unit by the connection given."""
    first = await HookDelivery.filter(hook_id=hook_id, delivery_id=delivery_id).using_db(connection).first()
    if delivery_id is None or first is None:
        return None
    question = Confirmation.filter(id=first.confirmation_id).using_db(connection)
    return Taken(first.job_id, await question.get() if first.job_id is None else None, created=False)


async def take(hook_id: int, delivery_id: str | None, parameters: Mapping[str, Any]) -> Taken:
    """Inside a unit: the job of this delivery, made now unless it had been; raises a `RequestRefusedError`.

    Deliveries of one hook are taken one after another, so that of a repeated one only the first makes a job.
    """
    hook = await Hook.filter(id=hook_id).select_for_update().first()
    if hook is None:
        raise NotFoundError("This hook was just removed.")
    if before := await taken_before(hook.id, delivery_id):
        return before
    require_ready(hook)
    at = now()
    await _require_room(hook, at)
    request = await with_its_template(_request(hook, parameters))
    waiting = await _waiting(hook, request) if hook.coalesce else None
    became = waiting or await accept_or_ask_within(request)
    taken = _taken(became, created=waiting is None)
    await HookDelivery.create(
        hook_id=hook.id,
        delivery_id=delivery_id,
        job_id=taken.job_id,
        confirmation_id=taken.confirmation.id if taken.confirmation else None,
        received_at=at,
    )
    return taken


def _taken(became: Job | Confirmation, *, created: bool) -> Taken:
    if isinstance(became, Confirmation):
        return Taken(None, became, created)
    return Taken(became.id, None, created)


def _request(hook: Hook, parameters: Mapping[str, Any]) -> JobRequest:
    """What the hook asks for, with these parameters of the payload beside its own."""
    return JobRequest(
        kind=hook.kind,
        principal=principal_of(hook),
        origin=ORIGIN,
        repository=hook.repository_name,
        parameters={**hook.parameters, **parameters},
        channel=hook.channel,
        host=hook.host,
        template=hook.template,
        then=chain.stored(hook.then),
    )


def require_ready(hook: Hook) -> None:
    """Raise `ConflictError` where the hook can start nothing."""
    if not hook.enabled:
        raise ConflictError(f"The hook {hook.name} is switched off. An administrator can switch it on again.")
    if hook.repository_name is None and hook.host is None:
        raise ConflictError(f"The repository of the hook {hook.name} was removed. An administrator can name another.")


async def _require_room(hook: Hook, at: datetime) -> None:
    if hook.rate_limit is None:
        return
    rate = Rate.parse(hook.rate_limit)
    lately = HookDelivery.filter(hook_id=hook.id, received_at__gt=at - rate.period).order_by("-received_at")
    if oldest := await lately.offset(rate.number - 1).first():
        wait_s = max(1, math.ceil((oldest.received_at + rate.period - at).total_seconds()))
        sentence = f"The hook {hook.name} takes {hook.rate_limit} and has had them. Send it again in {wait_s} s."
        raise RateLimitedError(sentence, wait_s)


async def _waiting(hook: Hook, request: JobRequest) -> Job | Confirmation | None:
    """A job or a question of this hook that is about the same, and that nobody has begun or answered."""
    return await _waiting_job(hook, request) or await _waiting_question(hook, request)


async def _waiting_job(hook: Hook, request: JobRequest) -> Job | None:
    """Locked: it can't begin before this is committed."""
    waiting = Job.filter(requested_by=request.principal.subject, origin=ORIGIN, status=JobStatus.PENDING)
    for job in await waiting.filter(kind=hook.kind).order_by("-id").limit(LOOKED_AT).select_for_update():
        if asks_for(request, job):
            return job
    return None


async def _waiting_question(hook: Hook, request: JobRequest) -> Confirmation | None:
    waiting = Confirmation.filter(state="waiting", expires_at__gt=now(), asked_by=request.principal.subject)
    for question in await waiting.filter(kind=hook.kind, origin=ORIGIN).order_by("-id").limit(LOOKED_AT):
        if asks_the_same(request, question):
            return question
    return None
