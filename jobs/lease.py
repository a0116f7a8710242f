"""A lease in the database: of all the processes that could do a work, one does it, and another when that one is gone.

A lease saves work, it does not guard it: two may hold it for an instant, where a process was paused or a clock was set.
What must never be done twice is decided elsewhere, row by row.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog
from tortoise.exceptions import IntegrityError
from tortoise.expressions import Q

from jobs.clock import now
from jobs.database.connection import CAUSES
from jobs.models import Lease

LASTS = timedelta(seconds=30)
RENEW_EVERY_S = 8.0
LOOK_EVERY_S = 5.0
"""How often those who stand by look whether the lease is free."""

_log = structlog.get_logger()


async def take(name: str, holder: str, lasts: timedelta = LASTS) -> bool:
    """Take the lease, or renew it; False while somebody else holds it.

    One that would last longer than any lease was taken before a clock was set back: it counts as run out.
    """
    until = now() + lasts
    free = Q(holder=holder) | Q(expires_at__lte=now()) | Q(expires_at__gt=now() + 2 * lasts)
    if await Lease.filter(free, name=name).update(holder=holder, expires_at=until):
        return True
    with suppress(IntegrityError):
        if not await Lease.filter(name=name).exists():
            await Lease.create(name=name, holder=holder, expires_at=until)
            return True
    return False


async def release(name: str, holder: str) -> None:
    """Give the lease back, so that the next one need not wait for its end."""
    await Lease.filter(name=name, holder=holder).delete()


async def work_as_holder(name: str, work: Callable[[], Coroutine[Any, Any, None]], holder: str | None = None) -> None:
    """Do `work` while this process holds the lease, and stand by while it does not; until cancelled.

    `work` is cancelled when the lease is lost. What it raises is raised; when it returns it is begun again.
    Who is started again under the same name as `holder` goes on at once.
    """
    holder = holder or secrets.token_hex(16)
    try:
        while True:
            if await _renewed(name, holder, held_until_s=0.0):
                await _while_held(name, holder, work)
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        with suppress(*CAUSES):
            await release(name, holder)


async def _while_held(name: str, holder: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    working = asyncio.create_task(work())
    held_until_s = _from_now_s()
    try:
        while held_until_s and not working.done():
            await asyncio.wait({working}, timeout=RENEW_EVERY_S)
            held_until_s = await _renewed(name, holder, held_until_s)
    finally:
        working.cancel()
        await asyncio.wait({working})
    if not working.cancelled():
        working.result()


async def _renewed(name: str, holder: str, held_until_s: float) -> float:
    """Until when the lease is held (monotonic seconds), 0 when it is not; a database that is away changes nothing."""
    try:
        return _from_now_s() if await take(name, holder) else 0.0
    except CAUSES as error:
        _log.warning("lease_not_renewed", name=name, reason=str(error))
        return held_until_s if time.monotonic() + RENEW_EVERY_S < held_until_s else 0.0


def _from_now_s() -> float:
    return time.monotonic() + LASTS.total_seconds()
