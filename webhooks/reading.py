"""Reading what a client sent: a JSON body or a query string, checked by its pydantic model."""

import asyncio
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from webhooks.problems import FieldError, HttpProblemError, InvalidFieldsError

BODY_TIMEOUT_S = 10.0
NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")
"""A NUL in JSON; behind an odd number of backslashes it is text about one."""

M = TypeVar("M", bound=BaseModel)


async def read_body(request: web.Request, model: type[M], ignored: Iterable[str] = ()) -> M:
    """The JSON body as `model`, without the fields `ignored`; an empty body is an empty object.

    Raises a 400 problem for what is no JSON, 408 for a body that takes longer than 10 s, 422 with the fields' names.
    """
    given = from_body(await read_raw(request))
    if isinstance(given, dict):
        for name in ignored:
            given.pop(name, None)
    return _checked(model, given, "body")


def read_query(request: web.Request, model: type[M]) -> M:
    """The query string as `model`; a name given twice or unknown is refused by name."""
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise InvalidFieldsError([FieldError(field=name, message="give it once.")])
        if "\0" in request.query[name]:
            raise InvalidFieldsError([FieldError(field=name, message="NUL characters are not accepted.")])
    return _checked(model, dict(request.query), "query")


async def read_raw(request: web.Request) -> bytes:
    """The body as it came; raises a 408 problem for one that takes longer than 10 s, 413 for one that is too large, 400
    for a client that hung up before its end.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError as error:
        detail = f"The body took longer than {BODY_TIMEOUT_S:g} s."
        raise HttpProblemError(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from error
    except ConnectionError as error:
        raise HttpProblemError(HTTPStatus.BAD_REQUEST, "The client hung up before the end of the body.") from error


def from_body(raw: bytes) -> Any:
    """The JSON value of a body, of an empty one an empty object; raises a 400 problem for what is no JSON."""
    try:
        given = from_json(raw or b"{}", allow_inf_nan=False)
    except ValueError as error:
        raise HttpProblemError(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}.") from error
    if NUL.search(raw):
        # PostgreSQL stores no NUL, neither in text nor in JSON.
        raise HttpProblemError(HTTPStatus.BAD_REQUEST, "NUL characters are not accepted.")
    return given


def _checked(model: type[M], given: Any, whole: str) -> M:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InvalidFieldsError.of(error, whole) from error
