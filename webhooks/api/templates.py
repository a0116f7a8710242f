"""Templates: named sets of parameters for the starts of a kind."""

from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints
from tortoise.exceptions import IntegrityError

from jobs.access import Role
from jobs.database.unit import unit
from jobs.errors import ConflictError
from jobs.models import Template
from jobs.repository_fields import RepositoryName
from jobs.templates import check, require_unused
from webhooks.api.fields import Body
from webhooks.api.made import made
from webhooks.resource import Resource
from webhooks.route import Answer, Call, Route

Kind = Annotated[str, StringConstraints(max_length=63)]
Parameters = Annotated[dict[str, Any], Field(max_length=100)]


class NewTemplate(Body):
    """A template to make; names are written as those of repositories are."""

    name: RepositoryName
    kind: Kind
    parameters: Parameters = Field(default_factory=dict)


class TemplateChange(Body):
    """What can change of a template: the parameters, all at once. Its name and kind stay."""

    parameters: Parameters = Field(default_factory=dict)


class TemplateAnswer(BaseModel):
    """A template."""

    id: int
    name: str
    kind: str
    parameters: dict[str, Any]
    created_at: datetime


def present(row: Template) -> TemplateAnswer:
    """The row as it is answered."""
    return TemplateAnswer.model_validate(row, from_attributes=True)


async def _require_unused(row: Template) -> None:
    await require_unused(row.name)


TEMPLATES = Resource(
    "/api/templates", "template", Template, TemplateAnswer, present, needs=Role.VIEW, removed=_require_unused
)


async def make(call: Call[NewTemplate, None]) -> Answer:
    """Make a template."""
    check(call.body.kind, call.body.parameters)
    try:
        row = await unit(partial(_make, call))
    except IntegrityError as error:
        raise ConflictError(f"There is a template called {call.body.name} already. Choose another name.") from error
    return made(call, f"{TEMPLATES.path}/{row.id}", present(row))


async def alter(call: Call[TemplateChange, None]) -> TemplateAnswer:
    """Change the parameters."""
    return present(await unit(partial(_alter, call)))


async def _make(call: Call[NewTemplate, None]) -> Template:
    row = await Template.create(**call.body.model_dump())
    await TEMPLATES.record(call, "add", row, name=row.name, kind=row.kind)
    return row


async def _alter(call: Call[TemplateChange, None]) -> Template:
    row = await TEMPLATES.find(call.id)
    if "parameters" in call.body.model_fields_set:
        check(row.kind, call.body.parameters)
        row.parameters = call.body.parameters
        await row.save(update_fields=["parameters"])
    await TEMPLATES.record(call, "change", row, name=row.name)
    return row


ROUTES = (
    TEMPLATES.listing(),
    Route(
        "POST", TEMPLATES.path, Role.ADMINISTER, make, "Makes a template",
        body=NewTemplate, answer=TemplateAnswer, status=HTTPStatus.CREATED,
    ),
    TEMPLATES.reading(),
    Route(
        "PUT", f"{TEMPLATES.path}/{{id}}", Role.ADMINISTER, alter, "Changes a template's parameters",
        body=TemplateChange, answer=TemplateAnswer,
    ),
    TEMPLATES.removal(Role.ADMINISTER),
)  # fmt: skip
