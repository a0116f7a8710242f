"""Subscriptions: endpoints that want completion webhooks, and the secrets that sign these (Standard Webhooks)."""

import base64
import binascii
import secrets
import socket
from contextlib import suppress
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints

from jobs.access import Role
from jobs.database.unit import unit
from jobs.errors import ConflictError, InvalidRequestError
from jobs.events import EventName
from jobs.models import Subscription
from webhooks.api.fields import Body, RepositoryNames
from webhooks.api.made import made
from webhooks.guarded_resolver import is_public
from webhooks.resource import Resource
from webhooks.route import Answer, Call, Route

SECRET_PREFIX = "whsec_"  # noqa: S105 - the standard's prefix, not a secret
SECRET_BYTES = range(24, 65)
URL_LENGTH = 2048

ENDS: tuple[EventName, ...] = ("job.completed", "job.failed", "job.cancelled")


def new_secret() -> str:
    """A fresh signing secret of 256 random bits."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _secret(given: SecretStr) -> SecretStr:
    text = given.get_secret_value()
    try:
        raw = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(SECRET_PREFIX) or len(raw) not in SECRET_BYTES:
        raise ValueError("a secret is whsec_ and 24 to 64 bytes in base64; leave it out and one is made")
    return given


def _url(text: str) -> str:
    refusal = "give an http:// or https:// URL without user name, password and fragment"
    try:
        parts = urlsplit(text)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ValueError(refusal) from error
    plain = text.isascii() and text.isprintable() and " " not in text
    acceptable = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc and not parts.fragment
    if not (plain and acceptable and port_is_right):
        raise ValueError(refusal)
    return text


Url = Annotated[str, StringConstraints(max_length=URL_LENGTH), AfterValidator(_url)]
Secret = Annotated[SecretStr, Field(max_length=200), AfterValidator(_secret)]
Events = Annotated[list[EventName], Field(min_length=1, max_length=10)]


class NewSubscription(Body):
    """An endpoint; without a secret one is made, without repositories it hears of all of them."""

    url: Url
    secret: Secret | None = None
    events: Events = Field(default_factory=lambda: list(ENDS))
    repositories: RepositoryNames | None = None
    enabled: bool = True


class SubscriptionChange(Body):
    """The fields to change; switching it on again forgets why it was switched off."""

    url: Url = ""
    secret: Secret = SecretStr("")
    events: Events = Field(default_factory=lambda: list(ENDS))
    repositories: RepositoryNames | None = None
    enabled: bool = True


class SubscriptionAnswer(BaseModel):
    """A subscription without its secret. `repositories` is empty when all that it named were removed."""

    id: int
    url: str
    events: list[str]
    repositories: list[str] | None
    enabled: bool
    disabled_reason: str | None
    created_at: datetime


class MadeSubscription(SubscriptionAnswer):
    """A fresh subscription; `secret` is answered this once, where it was made here."""

    secret: str | None


def present(row: Subscription) -> SubscriptionAnswer:
    """The row as it is answered."""
    return SubscriptionAnswer.model_validate(row, from_attributes=True)


SUBSCRIPTIONS = Resource("/api/subscriptions", "subscription", Subscription, SubscriptionAnswer, present)


async def subscribe(call: Call[NewSubscription, None]) -> Answer:
    """Add an endpoint."""
    _require_public(call, call.body.url)
    fresh = None if call.body.secret else new_secret()
    secret = call.body.secret.get_secret_value() if call.body.secret else str(fresh)
    row = await unit(partial(_subscribe, call, _encrypted(call, secret)))
    return made(call, f"{SUBSCRIPTIONS.path}/{row.id}", MadeSubscription(**present(row).model_dump(), secret=fresh))


async def alter(call: Call[SubscriptionChange, None]) -> SubscriptionAnswer:
    """Change the fields given."""
    if "url" in call.body.model_fields_set:
        _require_public(call, call.body.url)
    return present(await unit(partial(_alter, call)))


async def _subscribe(call: Call[NewSubscription, None], secret: str) -> Subscription:
    row = await Subscription.create(**call.body.model_dump(exclude={"secret"}), secret=secret)
    await SUBSCRIPTIONS.record(call, "add", row, events=row.events, repositories=row.repositories)
    return row


async def _alter(call: Call[SubscriptionChange, None]) -> Subscription:
    row = await SUBSCRIPTIONS.find(call.id)
    given = call.body.model_dump(exclude_unset=True, exclude={"secret"})
    if "secret" in call.body.model_fields_set:
        given["secret"] = _encrypted(call, call.body.secret.get_secret_value())
    if given.get("enabled"):
        given["disabled_reason"] = None
    if given:
        # No other column: a repository may just be leaving the list.
        await row.update_from_dict(given).save(update_fields=list(given))
    await SUBSCRIPTIONS.record(call, "change", row, fields=sorted(call.body.model_fields_set))
    return row


def _require_public(call: Call[Any, Any], url: str) -> None:
    """Refuse what can be seen not to be public; where a name leads is looked at whenever a webhook is sent."""
    if call.context.settings.allow_private_webhook_targets:
        return
    host = (urlsplit(url).hostname or "").rstrip(".")
    literal = _literal_address(host)
    if host == "localhost" or host.endswith(".localhost") or (literal and not is_public(literal)):
        raise InvalidRequestError(
            "url", f"{host} is no public address. LOCUTUS_ALLOW_PRIVATE_WEBHOOK_TARGETS=true would allow it."
        )


def _literal_address(host: str) -> str | None:
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))  # also 127.1 and 0x7f000001, as the resolver takes them
    return host if ":" in host else None


def _encrypted(call: Call[Any, None], secret: str) -> str:
    if call.context.secrets is None:
        raise ConflictError("Secrets can't be stored: this gateway has no LOCUTUS_SECRET_KEY. Set it and start again.")
    return call.context.secrets.encrypt(secret)


ROUTES = (
    SUBSCRIPTIONS.listing(),
    Route(
        "POST", SUBSCRIPTIONS.path, Role.ADMINISTER, subscribe, "Adds an endpoint for completion webhooks",
        body=NewSubscription, answer=MadeSubscription, status=HTTPStatus.CREATED,
    ),
    SUBSCRIPTIONS.reading(),
    Route(
        "PUT", f"{SUBSCRIPTIONS.path}/{{id}}", Role.ADMINISTER, alter, "Changes a subscription",
        body=SubscriptionChange, answer=SubscriptionAnswer,
    ),
    SUBSCRIPTIONS.removal(),
)  # fmt: skip
