"""A request's parameters as their kind takes them: checked by its model, as JSON values, every field with its value."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from jobs.errors import InvalidRequestError
from jobs.field_errors import field_name, reason
from jobs.job_type import JobType


def checked(kind: JobType, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters; raises `InvalidRequestError` with the name of the first field that is refused."""
    try:
        return kind.parameters.model_validate(dict(given)).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidRequestError(field_name(first), reason(first)) from error
