"""Subscriptions: endpoints that want completion webhooks, and the secrets that sign these (Standard Webhooks)."""

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
from jobs.errors import InvalidRequestError
from jobs.events import EventName
from jobs.models import Subscription
from webhooks.api.fields import Body, RepositoryNames
from webhooks.api.made import made
from webhooks.api.rotation import rotation
from webhooks.api.stored_secrets import SigningSecret, encrypted, is_signing_secret, new_signing_secret
from webhooks.guarded_resolver import is_public
from webhooks.resource import Resource
from webhooks.route import Answer, Call, Route

URL_LENGTH = 2048

ENDS: tuple[EventName, ...] = ("job.completed", "job.failed", "job.cancelled")


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
Events = Annotated[list[EventName], Field(min_length=1, max_length=10)]


class NewSubscription(Body):
    """An endpoint; without a secret one is made, without repositories it hears of all of them."""

    url: Url
    secret: SigningSecret | None = None
    events: Events = Field(default_factory=lambda: list(ENDS))
    repositories: RepositoryNames | None = None
    enabled: bool = True


class SubscriptionChange(Body):
    """The fields to change; switching it on again forgets why it was switched off. `second_secret` can only be ended,
    with null.
    """

    url: Url = ""
    secret: SigningSecret = SecretStr("")
    second_secret: None = None
    events: Events = Field(default_factory=lambda: list(ENDS))
    repositories: RepositoryNames | None = None
    enabled: bool = True


class SubscriptionAnswer(BaseModel):
    """A subscription without its secrets; with `two_secrets` it signs by both. `repositories` is empty when all that it
    named were removed.
    """

    id: int
    url: str
    events: list[str]
    repositories: list[str] | None
    enabled: bool
    disabled_reason: str | None
    two_secrets: bool
    created_at: datetime


class MadeSubscription(SubscriptionAnswer):
    """A fresh subscription; `secret` is answered this once, where it was made here."""

    secret: str | None


def present(row: Subscription) -> SubscriptionAnswer:
    """The row as it is answered."""
    columns = {name: getattr(row, name) for name in SubscriptionAnswer.model_fields.keys() - {"two_secrets"}}
    return SubscriptionAnswer(**columns, two_secrets=row.second_secret is not None)


SUBSCRIPTIONS = Resource("/api/subscriptions", "subscription", Subscription, SubscriptionAnswer, present)


async def subscribe(call: Call[NewSubscription, None]) -> Answer:
    """Add an endpoint."""
    _require_public(call, call.body.url)
    fresh = None if call.body.secret else new_signing_secret()
    secret = call.body.secret.get_secret_value() if call.body.secret else str(fresh)
    row = await unit(partial(_subscribe, call, encrypted(call, secret)))
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
        given["secret"] = encrypted(call, call.body.secret.get_secret_value())
    if given.get("enabled"):
        given["disabled_reason"] = None
    if given:
        # No other column: a repository may just be leaving the list.
        await row.update_from_dict(given).save(update_fields=list(given))
    await SUBSCRIPTIONS.record(call, "change", row, fields=sorted(call.body.model_fields_set))
    return row


def _secret_for(row: Subscription, given: str | None) -> str:
    del row
    if given is not None and not is_signing_secret(given):
        raise InvalidRequestError("secret", "give whsec_ and 24 to 64 bytes in base64, or leave it out.")
    return given or new_signing_secret()


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
    rotation(SUBSCRIPTIONS, _secret_for),
)  # fmt: skip
