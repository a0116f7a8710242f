"""Who asked what from where, and what became of it."""

from typing import Any

from jobs.access import Principal
from jobs.models import AuditEntry


async def record(principal: Principal, action: str, *, origin: str, target: str | None = None, **detail: Any) -> None:
    """Inside the unit that does it: add an entry for what was asked and accepted. `detail` holds no secret."""
    await AuditEntry.create(
        subject=principal.subject, action=action, target=target, origin=origin, result="accepted", detail=detail
    )
