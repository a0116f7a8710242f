"""Hooks in: `POST /hooks/{name}` starts what an administrator has laid down for that name, once a delivery.

The body is verified as it came, before anything of it is parsed; what is refused writes nothing. The same secret reads
how the job goes (`GET /hooks/{name}/jobs/{id}`): its holder signs the request line in the place of a body.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from ipaddress import ip_network
from typing import Any, cast
from urllib.parse import parse_qs

import structlog
from aiohttp import web

from jobs.clock import now
from jobs.database.group import GroupCommit
from jobs.database.unit import reader
from jobs.errors import NotFoundError
from jobs.hook_rules import EVENT, mapped_parameters, matches
from jobs.hooks import Taken, principal_of, require_ready, take, taken_before
from jobs.models import DELIVERY_ID_LENGTH, Confirmation, Hook, HookDelivery
from jobs.secrets import SecretUnreadableError, required
from jobs.submit import SecondPersonNeededError
from jobs.view import JobStatus, JobView
from webhooks.api import jobs
from webhooks.api.jobs import WaitQuery
from webhooks.api.started import Started, started_body
from webhooks.context import GatewayContext
from webhooks.problems import HttpProblemError
from webhooks.reading import from_body, read_raw
from webhooks.remote import is_among, remote_address
from webhooks.route import PUBLIC, Answer, Call, Plain, Route
from webhooks.signatures.delivered import Delivered, SignatureError
from webhooks.signatures.schemes import SCHEMES, SchemeName

GROUP: web.AppKey[GroupCommit] = web.AppKey("hook_group", GroupCommit)
REFUSALS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
)
DELIVERY_ID = re.compile(f"[ -~]{{1,{DELIVERY_ID_LENGTH}}}")
FORM = "application/x-www-form-urlencoded"

_log = structlog.get_logger()


async def receive(call: Plain) -> Answer | None:
    """Take a delivery: 202 with its job, 200 for a repetition or a job joined, None (204) where it is not meant."""
    hook = await _hook(call)
    raw = await read_raw(call.request)
    delivered = _verified(call, hook, raw)
    if before := await taken_before(hook.id, delivered.id, reader()):
        return _answer(call, before)
    require_ready(hook)
    body = _parsed(call.request, raw)
    if not _is_meant(hook, delivered, body):
        return None
    parameters = mapped_parameters(hook.mapping, body)
    return _answer(call, await _taken(call, hook, delivered, parameters))


async def show_job(call: Call[None, WaitQuery]) -> JobView:
    """A job of the hook, as soon as it has ended or the wait is over, to who holds the hook's secret."""
    hook = await _hook(call)
    _verified(call, hook, f"GET /hooks/{hook.name}/jobs/{call.id}".encode())
    if not await HookDelivery.filter(hook_id=hook.id, job_id=call.id).using_db(reader()).exists():
        raise NotFoundError(f"The hook {hook.name} has started no job {call.id}.")
    return await jobs.show_job(replace(call, principal=principal_of(hook)))


async def _hook(call: Call[Any, Any]) -> Hook:
    hook = await Hook.filter(name=call.path["name"]).using_db(reader()).first()
    if hook is None:
        raise NotFoundError(f"There is no hook {call.path['name']}.")
    _require_allowed_address(call, hook)
    return hook


def _require_allowed_address(call: Call[Any, Any], hook: Hook) -> None:
    if hook.allowed_addresses is None:
        return
    address = remote_address(call.request, call.context.settings.trusted_networks)
    if not is_among(address, [ip_network(network) for network in hook.allowed_addresses]):
        _log.warning("hook_address_refused", hook=hook.name, address=str(address))
        raise HttpProblemError(HTTPStatus.FORBIDDEN, f"The hook {hook.name} takes nothing from {address}.")


def _verified(call: Call[Any, Any], hook: Hook, content: bytes) -> Delivered:
    verify = SCHEMES[cast("SchemeName", hook.scheme)]
    try:
        delivered = verify(_secrets(call.context, hook), call.request.headers, content, now())
    except SignatureError as error:
        _log.warning("hook_signature_refused", hook=hook.name, reason=str(error))
        raise HttpProblemError(HTTPStatus.UNAUTHORIZED, str(error)) from error
    if delivered.id is not None and not DELIVERY_ID.fullmatch(delivered.id):
        detail = f"A delivery's id has at most {DELIVERY_ID_LENGTH} characters, all printable ASCII."
        raise HttpProblemError(HTTPStatus.BAD_REQUEST, detail)
    return delivered


def _secrets(context: GatewayContext, hook: Hook) -> list[str]:
    stored = [secret for secret in (hook.secret, hook.second_secret) if secret]
    try:
        return [required(context.secrets).decrypt(secret) for secret in stored]
    except SecretUnreadableError as error:
        _log.error("hook_secret_unreadable", hook=hook.name, reason=str(error))
        detail = "The hook's secret can't be read here; the gateway's log says why."
        raise HttpProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail) from error


def _parsed(request: web.Request, raw: bytes) -> dict[str, Any]:
    """The payload: a JSON object, or a form's field `payload` with one, as forges send it unless told otherwise."""
    # curl calls whatever it sends a form; none begins with a brace, which forms encode.
    if request.content_type == FORM and not raw.lstrip().startswith(b"{"):
        raw = parse_qs(raw, keep_blank_values=True).get(b"payload", [raw])[0]
    body = from_body(raw)
    if not isinstance(body, dict):
        raise HttpProblemError(HTTPStatus.BAD_REQUEST, "The payload is no JSON object.")
    return body


def _is_meant(hook: Hook, delivered: Delivered, body: Mapping[str, Any]) -> bool:
    event = delivered.event if hook.scheme != "standard" else body.get("type")
    if delivered.is_ping and EVENT not in hook.when:
        return False
    return matches(hook.when, event, body)


async def _taken(call: Plain, hook: Hook, delivered: Delivered, parameters: Mapping[str, Any]) -> Taken:
    return await call.request.app[GROUP].unit(partial(take, hook.id, delivered.id, parameters), order=hook.id)


def _answer(call: Plain, taken: Taken) -> Answer:
    """The same for every repetition: as the job was when it was accepted. Raises `SecondPersonNeededError`, once the
    question is written, where not even a hook may start it alone.
    """
    if taken.job_id is None:
        raise SecondPersonNeededError(cast("Confirmation", taken.confirmation))
    body = started_body(call, taken.job_id, JobStatus.PENDING)
    status = HTTPStatus.ACCEPTED if taken.created else HTTPStatus.OK
    return Answer(body, headers={"Location": body.status_url}, status=status)


ROUTES = (
    Route(
        "POST", "/hooks/{name}", PUBLIC, receive, "Takes a signed delivery, and starts what the hook is for",
        answer=Started, status=HTTPStatus.ACCEPTED, also=(HTTPStatus.OK, HTTPStatus.NO_CONTENT, *REFUSALS),
    ),
    Route(
        "GET", "/hooks/{name}/jobs/{id}", PUBLIC, show_job, "A job of the hook; the request line is what is signed",
        query=WaitQuery, answer=JobView, also=(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
    ),
)  # fmt: skip
