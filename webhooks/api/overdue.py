"""Taking note of a backup that is overdue, over HTTP."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from jobs import overdue
from jobs.access import Role
from jobs.clock import now
from jobs.models import Repository
from jobs.repositories import Asker
from jobs.settings import whole_seconds
from webhooks.api.fields import Body
from webhooks.api.repositories import ONE, RepositoryAnswer, find, present
from webhooks.route import Call, Plain, Route


class Snooze(Body):
    """For how long nothing is to be said."""

    duration: Annotated[int, BeforeValidator(whole_seconds), Field(ge=1, le=overdue.LONGEST_SNOOZE_S)]


async def acknowledge(call: Plain) -> RepositoryAnswer:
    """Say no more of it until a backup has been made."""
    row = await find(call)
    await overdue.acknowledge(Asker(call.principal, call.origin), row)
    return await _now(row)


async def snooze(call: Call[Snooze, None]) -> RepositoryAnswer:
    """Say nothing of it for a while."""
    row = await find(call)
    await overdue.snooze(Asker(call.principal, call.origin), row, overdue.snoozed_until(now(), call.body.duration))
    return await _now(row)


async def _now(row: Repository) -> RepositoryAnswer:
    return (await present([await Repository.get(id=row.id)]))[0]


ROUTES = (
    Route(
        "POST", f"{ONE}/overdue/acknowledge", Role.OPERATE, acknowledge,
        "Says no more of a backup that is overdue until it is made", answer=RepositoryAnswer, by_repository=True,
    ),
    Route(
        "POST", f"{ONE}/overdue/snooze", Role.OPERATE, snooze, "Says nothing of it for so many seconds, or such as 3d",
        body=Snooze, answer=RepositoryAnswer, by_repository=True,
    ),
)  # fmt: skip
