"""The answer to whoever asks for what a second person has to confirm."""

from datetime import datetime

from pydantic import BaseModel

from jobs.models import Confirmation


class Asked(BaseModel):
    """A request that waits for a second person's yes, and what exactly that yes will do."""

    confirmation_id: int
    status: str
    status_url: str
    confirm_url: str
    plan: list[str]
    expires_at: datetime


def asked(row: Confirmation, base_url: str) -> Asked:
    """The question, and where to look at it and say yes."""
    url = f"{base_url}/api/confirmations/{row.id}"
    return Asked(
        confirmation_id=row.id,
        status=row.state,
        status_url=url,
        confirm_url=f"{url}/confirm",
        plan=row.plan,
        expires_at=row.expires_at,
    )
