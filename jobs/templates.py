"""Templates: named sets of parameters, so that a start says `nightly` instead of all that it means."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from jobs.errors import ConflictError, InvalidRequestError
from jobs.field_errors import field_name, reason
from jobs.models import Hook, ScheduledJob, Template
from jobs.types import job_type


async def with_template(kind: str, name: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the template called `name`, and over them those given; without a name only these.

    Raises `InvalidRequestError` for a template that does not exist, or is another kind's.
    """
    if name is None:
        return dict(given)
    row = await Template.get_or_none(name=name)
    if row is None:
        raise InvalidRequestError("template", f"there is no template called {name!r}.")
    if row.kind != kind:
        raise InvalidRequestError("template", f"{name} is a template of {row.kind}, not of {kind}.")
    return {**row.parameters, **given}


def check(kind: str, parameters: Mapping[str, Any]) -> None:
    """Refuse what the kind would refuse; what is not said may be said at the start. Raises `InvalidRequestError`."""
    try:
        job_type(kind).parameters.model_validate(dict(parameters))
    except ValidationError as error:
        for found in error.errors(include_input=False, include_url=False):
            if found["type"] != "missing":
                raise InvalidRequestError(f"parameters.{field_name(found)}", reason(found)) from error


async def require_unused(name: str) -> None:
    """Inside a unit: refuse to take away what a schedule or a hook goes by; raises `ConflictError`."""
    users: tuple[tuple[str, type[ScheduledJob | Hook]], ...] = (("schedule", ScheduledJob), ("hook", Hook))
    for what, table in users:
        if used := await table.filter(template=name).order_by("id").first():
            raise ConflictError(f"The {what} {used.name} uses the template {name}. Change or remove that first.")
