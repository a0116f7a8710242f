"""Taking a delivery of a hook: the same delivery once, a job for each distinct one, or a place in one that waits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs import chain
from jobs.access import Grant, Principal, Role
from jobs.clock import now
from jobs.errors import ConflictError, NotFoundError, RateLimitedError
from jobs.models import Hook, HookDelivery, Job
from jobs.rate import Rate
from jobs.submit import JobRequest, accept_within, asks_for, with_its_template
from jobs.view import JobStatus

ORIGIN = "hook"
LOOKED_AT = 50
"""Of the jobs that wait, so many are looked at for one to join: they differ by what payloads gave them."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The job of a delivery; `created` is False where the delivery was a repetition or joined a job that waits."""

    job_id: int
    created: bool


def principal_of(hook: Hook) -> Principal:
    """Who asks: the hook, which may do on its repository what an administrator let it do."""
    repositories = [hook.repository_name] if hook.repository_name else None
    return Principal(f"hook:{hook.name}", (Grant(Role.ADMINISTER, repositories),))


async def take(hook_id: int, delivery_id: str | None, parameters: Mapping[str, Any]) -> Taken:
    """Inside a unit: the job of this delivery, made now unless it had been; raises a `RequestRefusedError`.

    Deliveries of one hook are taken one after another, so that of a repeated one only the first makes a job.
    """
    hook = await Hook.filter(id=hook_id).select_for_update().first()
    if hook is None:
        raise NotFoundError("This hook was just removed.")
    if delivery_id is not None and (first := await HookDelivery.get_or_none(hook_id=hook.id, delivery_id=delivery_id)):
        return Taken(first.job_id, created=False)
    require_ready(hook)
    at = now()
    await _require_room(hook, at)
    request = await with_its_template(request_of(hook, parameters))
    waiting = await _waiting_job(hook, request) if hook.coalesce else None
    job = waiting or await accept_within(request)
    await HookDelivery.create(hook_id=hook.id, delivery_id=delivery_id, job_id=job.id, received_at=at)
    return Taken(job.id, created=waiting is None)


def request_of(hook: Hook, parameters: Mapping[str, Any]) -> JobRequest:
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


async def _waiting_job(hook: Hook, request: JobRequest) -> Job | None:
    """A job of this hook that does the same and has not begun. Locked: it can't begin before this is committed."""
    waiting = Job.filter(requested_by=request.principal.subject, origin=ORIGIN, status=JobStatus.PENDING)
    for job in await waiting.filter(kind=hook.kind).order_by("-id").limit(LOOKED_AT).select_for_update():
        if asks_for(request, job):
            return job
    return None
