"""Requests that wait for a yes, over HTTP: the list, one, yes and no."""

from datetime import datetime
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from jobs import confirmations
from jobs.access import Role
from jobs.confirmations import ConfirmationState
from jobs.models import Confirmation
from webhooks.api.started import Started, started
from webhooks.page import Page, PageQuery, page
from webhooks.route import Answer, Call, Plain, Route

PATH = "/api/confirmations"


class ConfirmationAnswer(BaseModel):
    """A request that waits, or waited, for a yes: `plan` says what exactly will happen, on what."""

    id: int
    kind: str
    repository: str | None
    host: str
    parameters: dict[str, Any]
    plan: list[str]
    asked_by: str
    origin: str
    second_person: bool
    state: ConfirmationState
    decided_by: str | None
    decided_at: datetime | None
    job_id: int | None
    expires_at: datetime
    created_at: datetime


def present(row: Confirmation) -> ConfirmationAnswer:
    """The row as it is answered."""
    own = ConfirmationAnswer.model_fields.keys() - {"repository", "parameters", "state"}
    return ConfirmationAnswer(
        **{name: getattr(row, name) for name in own},
        repository=row.repository_name,
        parameters=row.request.get("parameters", {}),
        state=confirmations.state_of(row),
    )


async def list_confirmations(call: Call[None, PageQuery]) -> Page[ConfirmationAnswer]:
    """Those of the repositories that the principal may see."""

    async def presented(rows: Any) -> list[ConfirmationAnswer]:
        return [present(row) for row in rows]

    names = call.principal.limited_to(Role.VIEW)
    rows = Confirmation.all() if names is None else Confirmation.filter(repository_name__in=list(names))
    return Page[ConfirmationAnswer](**await page(rows, call.query, presented))


async def show(call: Plain) -> ConfirmationAnswer:
    """One of them."""
    return present(await _find(call))


async def confirm(call: Plain) -> Answer:
    """Say yes: 202 with the job, as often as it is said."""
    await _find(call)
    return started(call, await confirmations.confirm(call.id, call.principal, origin=call.origin))


async def dismiss(call: Plain) -> ConfirmationAnswer:
    """Say no."""
    await _find(call)
    return present(await confirmations.dismiss(call.id, call.principal, origin=call.origin))


async def _find(call: Plain) -> Confirmation:
    row = await confirmations.find(call.id)
    call.principal.require(Role.VIEW, row.repository_name)
    return row


ROUTES = (
    Route(
        "GET", PATH, Role.VIEW, list_confirmations, "The requests that wait or waited for a yes, newest first",
        query=PageQuery, answer=Page[ConfirmationAnswer], by_repository=True,
    ),
    Route(
        "GET", f"{PATH}/{{id}}", Role.VIEW, show, "One request that waits or waited for a yes",
        answer=ConfirmationAnswer, by_repository=True,
    ),
    Route(
        "POST", f"{PATH}/{{id}}/confirm", Role.OPERATE, confirm, "Says yes: accepts the job",
        answer=Started, status=HTTPStatus.ACCEPTED, by_repository=True,
    ),
    Route(
        "POST", f"{PATH}/{{id}}/dismiss", Role.OPERATE, dismiss, "Says no",
        answer=ConfirmationAnswer, by_repository=True,
    ),
)  # fmt: skip
