"""Who asked what from where, and what became of it. Entries are only ever added."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from jobs.access import Principal
from jobs.clock import now
from jobs.database.unit import unit
from jobs.errors import RequestRefusedError
from jobs.models import AuditEntry

ACCEPTED, REFUSED = "accepted", "refused"
SAME_REFUSAL_WITHIN = timedelta(minutes=1)
"""The same refusal again this soon adds nothing, so that somebody who may do nothing can't fill the disk."""
_ACTION_LIMIT, _TARGET_LIMIT = 63, 255

_channel: ContextVar[str | None] = ContextVar("channel", default=None)
_log = structlog.get_logger()


@contextmanager
def said_in(channel: str | None) -> Iterator[None]:
    """Have the entries made inside say in their detail which chat channel it was asked in."""
    before = _channel.set(channel)
    try:
        yield
    finally:
        _channel.reset(before)


def _where(origin: str) -> dict[str, str]:
    channel = _channel.get()
    return {"channel": channel} if channel is not None and channel != origin else {}


async def record(principal: Principal, action: str, *, origin: str, target: str | None = None, **detail: Any) -> None:
    """Inside the unit that does it: add an entry for what was asked and accepted. `detail` holds no secret."""
    await AuditEntry.create(
        subject=principal.subject,
        action=action,
        target=target,
        origin=origin,
        result=ACCEPTED,
        detail=detail | _where(origin),
    )


async def record_refusal(
    principal: Principal, action: str, refusal: RequestRefusedError, *, origin: str, target: str | None = None
) -> None:
    """Outside of a unit: add an entry for what was refused for want of a right.

    It never fails: the refusal stands, whatever becomes of its entry.
    """
    entry = AuditEntry(
        subject=principal.subject,
        action=action[:_ACTION_LIMIT],
        target=target[:_TARGET_LIMIT] if target else None,
        origin=origin,
        result=REFUSED,
        detail={"reason": str(refusal)} | _where(origin),
    )
    try:
        await unit(partial(_add_refusal, entry))
    except Exception:  # noqa: BLE001 - named edge: the database is away
        _log.exception("refusal_not_recorded", subject=principal.subject, action=action)


async def _add_refusal(entry: AuditEntry) -> None:
    same = AuditEntry.filter(subject=entry.subject, action=entry.action, target=entry.target, result=REFUSED)
    if not await same.filter(at__gt=now() - SAME_REFUSAL_WITHIN).exists():
        await entry.save()
