"""Who asked what from where, with which result. There is no route that changes it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, StringConstraints

from jobs.access import Role
from jobs.models import AuditEntry
from jobs.models.lengths import ACTION_LENGTH, SUBJECT_LENGTH, TARGET_LENGTH
from webhooks.api.fields import Moment
from webhooks.page import Page, PageQuery, page
from webhooks.route import Call, Route

PATH = "/api/audit"
Subject = Annotated[str, StringConstraints(max_length=SUBJECT_LENGTH)]
Action = Annotated[str, StringConstraints(max_length=ACTION_LENGTH)]
Target = Annotated[str, StringConstraints(max_length=TARGET_LENGTH)]


class AuditQuery(PageQuery):
    """Which entries; `since` and `until` bound `at`, the latter without its moment."""

    subject: Subject | None = None
    action: Action | None = None
    target: Target | None = None
    result: Literal["accepted", "refused"] | None = None
    since: Moment | None = None
    until: Moment | None = None


class AuditAnswer(BaseModel):
    """One entry: who, what, on what, from where, and what became of it."""

    id: int
    at: datetime
    subject: str
    action: str
    target: str | None
    origin: str
    result: str
    detail: dict[str, Any]


async def list_entries(call: Call[None, AuditQuery]) -> Page[AuditAnswer]:
    """The entries, newest first."""

    async def present(rows: Any) -> list[AuditAnswer]:
        return [AuditAnswer(**{name: getattr(row, name) for name in AuditAnswer.model_fields}) for row in rows]

    wanted = call.query.model_dump(include={"subject", "action", "target", "result"}, exclude_none=True)
    bounds = {"at__gte": call.query.since, "at__lt": call.query.until}
    wanted |= {column: moment for column, moment in bounds.items() if moment}
    return Page[AuditAnswer](**await page(AuditEntry.filter(**wanted), call.query, present))


ROUTES = (
    Route(
        "GET", PATH, Role.ADMINISTER, list_entries, "Who asked what, newest first",
        query=AuditQuery, answer=Page[AuditAnswer],
    ),
)  # fmt: skip
