"""Role bindings: which subject may do what, on which repositories, asked in which channels."""

from datetime import datetime
from functools import partial
from http import HTTPStatus

from pydantic import BaseModel

from jobs.access import Role
from jobs.database.unit import unit
from jobs.models import RoleBinding
from webhooks.api.fields import Body, Channels, RepositoryNames, RoleName, Subject
from webhooks.resource import Resource
from webhooks.route import Call, Route


class NewBinding(Body):
    """A role for a subject; None for repositories or channels means all of them."""

    subject: Subject
    role: RoleName
    repositories: RepositoryNames | None = None
    channels: Channels | None = None


class BindingChange(Body):
    """What can change of a binding; its subject stays."""

    role: RoleName = "view"
    repositories: RepositoryNames | None = None
    channels: Channels | None = None


class BindingAnswer(BaseModel):
    """A binding as it is stored."""

    id: int
    subject: str
    role: str
    repositories: list[str] | None
    channels: list[str] | None
    created_at: datetime


def present(row: RoleBinding) -> BindingAnswer:
    """The row as it is answered."""
    return BindingAnswer.model_validate(row, from_attributes=True)


BINDINGS = Resource("/api/role-bindings", "role binding", RoleBinding, BindingAnswer, present)


async def grant(call: Call[NewBinding, None]) -> BindingAnswer:
    """Grant a role."""
    return present(await unit(partial(_grant, call)))


async def alter(call: Call[BindingChange, None]) -> BindingAnswer:
    """Change the fields given."""
    return present(await unit(partial(_alter, call)))


async def _grant(call: Call[NewBinding, None]) -> RoleBinding:
    row = await RoleBinding.create(**call.body.model_dump())
    await _record(call, "add", row)
    return row


async def _alter(call: Call[BindingChange, None]) -> RoleBinding:
    row = await BINDINGS.find(call.id)
    row.update_from_dict(call.body.model_dump(exclude_unset=True))
    await row.save()
    await _record(call, "change", row)
    return row


async def _record(call: Call[NewBinding, None] | Call[BindingChange, None], verb: str, row: RoleBinding) -> None:
    await BINDINGS.record(
        call, verb, row, subject=row.subject, role=row.role, repositories=row.repositories, channels=row.channels
    )


ROUTES = (
    BINDINGS.listing(),
    Route(
        "POST", BINDINGS.path, Role.ADMINISTER, grant, "Grants a role",
        body=NewBinding, answer=BindingAnswer, status=HTTPStatus.CREATED,
    ),
    BINDINGS.reading(),
    Route(
        "PUT", f"{BINDINGS.path}/{{id}}", Role.ADMINISTER, alter, "Changes a role binding",
        body=BindingChange, answer=BindingAnswer,
    ),
    BINDINGS.removal(),
)  # fmt: skip
