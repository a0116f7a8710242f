"""Hooks: which signed requests start which job."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from functools import partial
from http import HTTPStatus
from ipaddress import ip_network
from secrets import token_urlsafe
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints, ValidationError
from tortoise.exceptions import IntegrityError

from jobs import chain
from jobs.access import Role
from jobs.database.unit import unit
from jobs.errors import ConflictError, InvalidRequestError
from jobs.field_errors import field_name, reason
from jobs.job_type import JobType
from jobs.json_pointer import is_pointer
from jobs.models import Hook
from jobs.place import find_place
from jobs.repository_fields import Channel, HostName
from jobs.templates import with_template
from jobs.types import job_type
from webhooks.api.fields import Body, RateText
from webhooks.api.job_kinds import RepositoryReference, Step, follow_up
from webhooks.api.made import made
from webhooks.api.rotation import rotation
from webhooks.api.stored_secrets import LEAST_TEXT, encrypted, is_plain_secret, is_signing_secret, new_signing_secret
from webhooks.resource import Resource
from webhooks.route import Answer, Call, Route
from webhooks.signatures.schemes import SchemeName
from webhooks.signatures.standard import SECRET_PREFIX


def _pointer(text: str) -> str:
    if not is_pointer(text):
        raise ValueError("write a JSON pointer, such as /head_commit/id")
    return text


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError("give an address or a network, such as 192.0.2.7 or 192.0.2.0/24") from error


HookName = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")]
Pointer = Annotated[str, StringConstraints(max_length=500), AfterValidator(_pointer)]
ParameterName = Annotated[str, StringConstraints(max_length=100)]
Scalar = Annotated[str, StringConstraints(max_length=1000)] | bool | int | float | None
Conditions = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=500)],
        Scalar | Annotated[list[Scalar], Field(min_length=1, max_length=100)],
    ],
    Field(max_length=50),
]
Addresses = Annotated[list[Annotated[str, AfterValidator(_network)]], Field(min_length=1, max_length=100)]
Secret = Annotated[SecretStr, Field(max_length=200)]


class Action(Body):
    """The job that a delivery starts. `mapping` takes parameters from the payload: parameter to JSON pointer."""

    kind: Annotated[str, StringConstraints(max_length=63)]
    repository: RepositoryReference | None = None
    host: HostName | None = None
    template: Annotated[str, StringConstraints(max_length=63)] | None = None
    then: list[str | Step] = Field(default_factory=list, max_length=20)
    parameters: dict[ParameterName, Any] = Field(default_factory=dict, max_length=100)
    mapping: dict[ParameterName, Pointer] = Field(default_factory=dict, max_length=100)


class _Fields(Body):
    when: Conditions = Field(default_factory=dict)
    coalesce: bool = True
    channel: Channel | None = None
    rate_limit: RateText | None = None
    allowed_addresses: Addresses | None = None
    enabled: bool = True


class NewHook(_Fields):
    """A hook; without a secret one is made. `rate_limit` is as in `60/m` (of s, m, h, d)."""

    name: HookName
    scheme: SchemeName
    secret: Secret | None = None
    action: Action


class HookChange(_Fields):
    """The fields to change; name and scheme stay. `second_secret` can only be ended, with null."""

    secret: Secret = SecretStr("")
    second_secret: None = None
    action: Action = Action(kind="")


class HookAction(BaseModel):
    """The job that a delivery starts; `repository` is null where the repository was removed."""

    kind: str
    repository: str | None
    host: str | None
    template: str | None
    then: list[dict[str, Any]]
    parameters: dict[str, Any]
    mapping: dict[str, str]


class HookAnswer(BaseModel):
    """A hook without its secrets; with `two_secrets` it takes signatures by either of two."""

    id: int
    name: str
    scheme: str
    action: HookAction
    when: dict[str, Any]
    coalesce: bool
    channel: str | None
    rate_limit: str | None
    allowed_addresses: list[str] | None
    enabled: bool
    two_secrets: bool
    created_at: datetime


class MadeHook(HookAnswer):
    """A new hook, and where deliveries go. `secret` is answered this once, where it was made here."""

    url: str
    secret: str | None


def present(row: Hook) -> HookAnswer:
    """The row as it is answered."""
    action = {"repository": row.repository_name}
    action |= {name: getattr(row, name) for name in HookAction.model_fields.keys() - {"repository"}}
    columns = {name: getattr(row, name) for name in HookAnswer.model_fields.keys() - {"action", "two_secrets"}}
    return HookAnswer(**columns, action=HookAction(**action), two_secrets=row.second_secret is not None)


def secret_for(scheme: str, given: str | None) -> str:
    """The secret given, where the scheme can use it, or a new one; raises `InvalidRequestError`."""
    if given is None:
        return new_signing_secret() if scheme == "standard" else token_urlsafe(32)
    signs = scheme == "standard" or (scheme == "gitlab" and given.startswith(SECRET_PREFIX))
    if signs and not is_signing_secret(given):
        raise InvalidRequestError("secret", "after whsec_ give 24 to 64 bytes in base64, or leave it out.")
    if not is_plain_secret(given):
        raise InvalidRequestError("secret", f"give at least {LEAST_TEXT} printable ASCII characters.")
    return given


HOOKS = Resource("/api/hooks", "hook", Hook, HookAnswer, present)


async def add(call: Call[NewHook, None]) -> Answer:
    """Add a hook."""
    given = call.body.secret.get_secret_value() if call.body.secret else None
    secret = secret_for(call.body.scheme, given)
    try:
        row = await unit(partial(_add, call, encrypted(call, secret)))
    except IntegrityError as error:
        raise ConflictError(f"There is a hook called {call.body.name} already. Choose another name.") from error
    url = f"{call.context.settings.base_url}/hooks/{row.name}"
    answer = MadeHook(**present(row).model_dump(), url=url, secret=None if given else secret)
    return made(call, f"{HOOKS.path}/{row.id}", answer)


async def alter(call: Call[HookChange, None]) -> HookAnswer:
    """Change the fields given."""
    return present(await unit(partial(_alter, call)))


async def _add(call: Call[NewHook, None], secret: str) -> Hook:
    columns = call.body.model_dump(mode="json", exclude={"secret", "action"})
    row = await Hook.create(**columns, **await _action_columns(call, call.body.action), secret=secret)
    await HOOKS.record(call, "add", row, name=row.name, kind=row.kind, repository=row.repository_name)
    return row


async def _alter(call: Call[HookChange, None]) -> Hook:
    row = await HOOKS.find(call.id)
    given = call.body.model_dump(mode="json", exclude_unset=True, exclude={"secret", "action"})
    if "secret" in call.body.model_fields_set:
        given["secret"] = encrypted(call, secret_for(row.scheme, call.body.secret.get_secret_value()))
    if "action" in call.body.model_fields_set:
        given |= await _action_columns(call, call.body.action)
    if given:
        await row.update_from_dict(given).save(update_fields=list(given))
    await HOOKS.record(call, "change", row, fields=sorted(call.body.model_fields_set))
    return row


async def _action_columns(call: Call[Any, None], action: Action) -> dict[str, Any]:
    """What is stored of an action that can be carried out; raises a `RequestRefusedError` for any other."""
    kind = job_type(action.kind)
    host = None if kind.needs_repository else action.host or call.context.settings.host
    place = await find_place(kind, action.repository, host)
    _check_parameters(kind, action, await with_template(kind.kind, action.template, action.parameters))
    then = [asdict(follow_up(step)) for step in action.then]
    chain.steps(kind, {}, chain.stored(then))
    return {
        "kind": kind.kind,
        "repository_name": place.repository_name,
        "host": host,
        "template": action.template,
        "then": then,
        "parameters": action.parameters,
        "mapping": action.mapping,
    }


def _check_parameters(kind: JobType, action: Action, parameters: Mapping[str, Any]) -> None:
    for name in action.mapping:
        if name not in kind.parameters.model_fields or name in action.parameters:
            refusal = "is fixed already" if name in action.parameters else f"is no parameter of {kind.kind}"
            raise InvalidRequestError(f"action.mapping.{name}", f"it {refusal}.")
    try:
        kind.parameters.model_validate(dict(parameters))
    except ValidationError as error:
        for found in error.errors(include_input=False, include_url=False):
            if found["loc"][:1] not in {(name,) for name in action.mapping}:
                raise InvalidRequestError(f"action.parameters.{field_name(found)}", reason(found)) from error


ROUTES = (
    HOOKS.listing(),
    Route(
        "POST", HOOKS.path, Role.ADMINISTER, add, "Adds a hook for signed requests",
        body=NewHook, answer=MadeHook, status=HTTPStatus.CREATED, also=(HTTPStatus.NOT_FOUND,),
    ),
    HOOKS.reading(),
    Route(
        "PUT", f"{HOOKS.path}/{{id}}", Role.ADMINISTER, alter, "Changes a hook", body=HookChange, answer=HookAnswer
    ),
    HOOKS.removal(),
    rotation(HOOKS, lambda row, given: secret_for(row.scheme, given)),
)  # fmt: skip
