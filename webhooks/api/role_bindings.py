"""Role bindings: which subject may do what, on which repositories, asked in which channels."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus

from pydantic import BaseModel

from jobs.access import Role
from jobs.database.unit import unit
from jobs.errors import ConflictError, InvalidRequestError
from jobs.models import Repository, RoleBinding
from webhooks.api.fields import Body, Channels, RepositoryNames, RoleName, Subject
from webhooks.api.made import made
from webhooks.resource import Resource
from webhooks.route import Answer, Call, Route


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


async def grant(call: Call[NewBinding, None]) -> Answer:
    """Grant a role."""
    row = await unit(partial(_grant, call))
    return made(call, f"{BINDINGS.path}/{row.id}", present(row))


async def alter(call: Call[BindingChange, None]) -> BindingAnswer:
    """Change the fields given."""
    return present(await unit(partial(_alter, call)))


async def _grant(call: Call[NewBinding, None]) -> RoleBinding:
    await _require_known(call.body.repositories)
    row = await RoleBinding.create(**call.body.model_dump())
    await _require_single(row)
    await _record(call, "add", row)
    return row


async def _alter(call: Call[BindingChange, None]) -> RoleBinding:
    given = call.body.model_dump(exclude_unset=True)
    await _require_known(given.get("repositories"))
    row = await BINDINGS.find(call.id)
    if given:
        # No other column: a repository may just be leaving the list.
        await row.update_from_dict(given).save(update_fields=list(given))
    await _require_single(row)
    await _record(call, "change", row)
    return row


async def _require_known(names: Sequence[str] | None) -> None:
    # Locked: a repository that is removed meanwhile goes first, or finds its name in the binding (PostgreSQL).
    locked = Repository.filter(name__in=list(names or ())).order_by("id").select_for_update(no_key=True)
    known = {row.name for row in await locked} if names else set()
    if unknown := [name for name in names or () if name not in known]:
        raise InvalidRequestError("repositories", f"there is no repository {', '.join(unknown)}.")


async def _require_single(row: RoleBinding) -> None:
    for other in await RoleBinding.filter(subject=row.subject, role=row.role).exclude(id=row.id):
        if _extent(other) == _extent(row):
            raise ConflictError(f"{row.subject} has this role to the same extent already: role binding {other.id}.")


def _extent(row: RoleBinding) -> tuple[frozenset[str] | None, ...]:
    return tuple(None if names is None else frozenset(names) for names in (row.repositories, row.channels))


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
