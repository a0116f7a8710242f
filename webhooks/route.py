"""The declaration of a route, and what follows from it: the right, the checks of body and query, the answer.

Everything is denied that no declaration allows: a route without `PUBLIC` asks for a token and for its role, and a grant
that is limited to repositories counts only where the handler asks for the right on its repository (`by_repository`).
`webhooks.openapi` describes the same declarations.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Generic, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel

from jobs.access import Principal, Role
from jobs.audit import record_refusal
from jobs.errors import ForbiddenError
from jobs.submit import SecondPersonNeededError
from webhooks.asked import asked
from webhooks.authentication import ANONYMOUS, AUTHENTICATOR
from webhooks.context import CONTEXT, GatewayContext
from webhooks.reading import read_body, read_query

PUBLIC: Final = "public"
PATTERNS: Mapping[str, str] = {
    "id": "[0-9]{1,9}",
    "repo": "[0-9]{1,9}|[a-z0-9._-]*[a-z._-][a-z0-9._-]*",
}
ANYTHING = r"[^{}/\0]+"
"""PostgreSQL takes no NUL."""

B = TypeVar("B")
Q = TypeVar("Q")


def origin_of(principal: Principal) -> str:
    """Where a request over HTTP came from: somebody at this host's command line, or a client of the API."""
    return "cli" if principal.local else "api"


@dataclass(frozen=True, slots=True)
class Call(Generic[B, Q]):
    """One authenticated, checked request, as a handler sees it."""

    principal: Principal
    context: GatewayContext
    request: web.Request
    body: B
    query: Q

    @property
    def path(self) -> Mapping[str, str]:
        """The path's variables."""
        return self.request.match_info

    @property
    def id(self) -> int:
        """The path's `{id}`."""
        return int(self.path["id"])

    @property
    def origin(self) -> str:
        """Where the request came from, as jobs and audit entries name it."""
        return origin_of(self.principal)

    def connected(self) -> bool:
        """Whether the client is still there."""
        transport = self.request.transport
        return transport is not None and not transport.is_closing()


Plain = Call[None, None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A body with headers of its own."""

    body: BaseModel
    headers: Mapping[str, str] = field(default_factory=dict)
    status: HTTPStatus | None = None


Result = BaseModel | Answer | web.StreamResponse | None
Handler = Callable[[Call[Any, Any]], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Route:
    """Everything about one route. `answer` None and status 204: no body; `media_type` other than JSON: a stream."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    needs: Role | Literal["public"]
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    by_repository: bool = False
    also: tuple[HTTPStatus, ...] = ()
    """Statuses beside `status` with which it is answered: successes with the same body, or 204; refusals."""
    other_answers: tuple[tuple[HTTPStatus, type[BaseModel]], ...] = ()
    """Successes that have another body."""
    request_headers: tuple[str, ...] = ()
    media_type: str = "application/json"
    other_media_types: tuple[str, ...] = ()
    """In which the same is answered to whoever accepts them."""

    @property
    def variables(self) -> list[str]:
        """The names of the path's variables."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def read_only(self) -> frozenset[str]:
        """For PUT: the fields that are answered but not accepted; a client may send back what it got."""
        if self.method != "PUT" or self.answer is None or self.body is None:
            return frozenset()
        return frozenset(self.answer.model_fields) - frozenset(self.body.model_fields)


def mount(app: web.Application, routes: tuple[Route, ...]) -> None:
    """Add the routes to the application."""
    for route in routes:
        pattern = re.sub(r"{(\w+)}", lambda found: _variable(found[1]), route.path)
        app.router.add_route(route.method, pattern, _endpoint(route))


def _variable(name: str) -> str:
    return f"{{{name}:{PATTERNS.get(name, ANYTHING)}}}"


def _endpoint(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        principal = await _authenticated(route, request)
        try:
            _let_in(route, principal)
            return await _answered(route, principal, request)
        except ForbiddenError as refusal:
            await _record(route, principal, request, refusal)
            raise

    return endpoint


async def _authenticated(route: Route, request: web.Request) -> Principal:
    if route.needs == PUBLIC:
        return ANONYMOUS
    return await request.app[AUTHENTICATOR].principal(request.headers.get("Authorization"))


def _let_in(route: Route, principal: Principal) -> None:
    if route.needs == PUBLIC or (route.by_repository and principal.limited_to(route.needs)):
        return
    principal.require(route.needs)


async def _answered(route: Route, principal: Principal, request: web.Request) -> web.StreamResponse:
    context = request.app[CONTEXT]
    call = Call(
        principal=principal,
        context=context,
        request=request,
        query=read_query(request, route.query) if route.query else None,
        body=await read_body(request, route.body, route.read_only) if route.body else None,
    )
    try:
        return _response(route, await route.handler(call))
    except SecondPersonNeededError as needed:
        question = asked(needed.confirmation, context.settings.base_url)
        return _response(route, Answer(question, status=HTTPStatus.ACCEPTED))


async def _record(route: Route, principal: Principal, request: web.Request, refusal: ForbiddenError) -> None:
    target = "/".join(request.match_info.values()) or None
    await record_refusal(principal, f"{route.method} {route.path}", refusal, origin=origin_of(principal), target=target)


def _response(route: Route, result: Result) -> web.StreamResponse:
    if isinstance(result, web.StreamResponse):
        return result
    if result is None:
        return web.Response(status=HTTPStatus.NO_CONTENT)
    answer = result if isinstance(result, Answer) else Answer(result)
    headers = {"Cache-Control": "no-store", **answer.headers}
    text = answer.body.model_dump_json()
    return web.Response(status=answer.status or route.status, text=text, content_type=route.media_type, headers=headers)
