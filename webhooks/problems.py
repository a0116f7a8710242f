"""Every error as a problem document (RFC 9457). This is where a refusal becomes an HTTP status code."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from uuid import uuid4

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from jobs.database.connection import is_away
from jobs.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RequestRefusedError,
)
from jobs.field_errors import field_name, reason

MEDIA_TYPE = "application/problem+json"
STATUS_OF: Mapping[type[RequestRefusedError], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    ConflictError: HTTPStatus.CONFLICT,
    RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
}
ANSWER_BEGUN: web.RequestKey[bool] = web.RequestKey("answer_begun", bool)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger()


class FieldError(BaseModel):
    """One field that was refused, and why."""

    field: str
    message: str


class Problem(BaseModel):
    """A problem document. `field` is the first one that was refused; `request_id` also stands in the gateway's log."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None
    errors: list[FieldError] | None = None
    request_id: str | None = None


class HttpProblemError(Exception):
    """A refusal that only exists in HTTP: no token, a body that is no JSON or takes too long."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


class InvalidFieldsError(Exception):
    """Fields of a body or a query that their model refused."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors

    @classmethod
    def of(cls, error: ValidationError, whole: str) -> "InvalidFieldsError":
        """From pydantic's error, without the values given; `whole` names what is refused when it is no single field."""
        found = error.errors(include_input=False, include_url=False)
        return cls([FieldError(field=field_name(each) or whole, message=reason(each)) for each in found])


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost middleware: whatever is raised becomes a problem document, unless the answer has begun already."""
    request_id = uuid4().hex
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        try:
            return await handler(request)
        except Exception as error:  # named edge: what leaves the gateway is a problem document
            if _is_answer(error):
                raise
            if request.get(ANSWER_BEGUN):
                _log.exception("answer_broken_off", method=request.method, path=request.path)
                raise
            return _respond(error, request, request_id)


async def mark_begun(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler (`on_response_prepare`): from here on an error can only break the connection off."""
    request[ANSWER_BEGUN] = True
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


def _is_answer(error: Exception) -> bool:
    return isinstance(error, web.HTTPException) and error.status < HTTPStatus.BAD_REQUEST


def _respond(error: Exception, request: web.Request, request_id: str) -> web.Response:
    problem, headers = _problem(error, request)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request_failed", method=request.method, path=request.path, exc_info=error)
    body = problem.model_copy(update={"request_id": request_id}).model_dump_json(exclude_none=True)
    return web.Response(status=problem.status, text=body, content_type=MEDIA_TYPE, headers=headers)


def _problem(error: Exception, request: web.Request) -> tuple[Problem, Mapping[str, str]]:
    match error:
        case RequestRefusedError():
            return _refusal(error), _when_again(error)
        case InvalidFieldsError():
            return _invalid(error.errors), {}
        case HttpProblemError():
            return _made(error.status, error.detail), error.headers
        case web.HTTPException():
            return _http(error, request)
        case _ if is_away(error):
            detail = "The database does not answer. Try again in a moment."
            return _made(HTTPStatus.SERVICE_UNAVAILABLE, detail), {"Retry-After": "5"}
        case _:
            detail = "Something went wrong here. The gateway's log has the details under this request_id."
            return _made(HTTPStatus.INTERNAL_SERVER_ERROR, detail), {}


def _when_again(error: RequestRefusedError) -> Mapping[str, str]:
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, RateLimitedError) else {}


def _refusal(error: RequestRefusedError) -> Problem:
    if isinstance(error, InvalidRequestError):
        return _invalid([FieldError(field=error.field, message=error.reason)])
    return _made(STATUS_OF.get(type(error), HTTPStatus.UNPROCESSABLE_ENTITY), str(error))


def _invalid(errors: list[FieldError]) -> Problem:
    first = errors[0]
    problem = _made(HTTPStatus.UNPROCESSABLE_ENTITY, f"{first.field}: {first.message}")
    return problem.model_copy(update={"field": first.field, "errors": errors})


def _http(error: web.HTTPException, request: web.Request) -> tuple[Problem, Mapping[str, str]]:
    status = HTTPStatus(error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return _made(status, f"{error.method} does not work here; {allowed} does."), {"Allow": allowed}
    if isinstance(error, web.HTTPNotFound):
        return _made(status, f"There is nothing at {request.path}."), {}
    return _made(status, error.text or status.description), {}


def _made(status: HTTPStatus, detail: str) -> Problem:
    return Problem(title=status.phrase, status=status, detail=detail)
