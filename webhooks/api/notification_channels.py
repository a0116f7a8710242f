"""Notification channels: where people read what became of jobs, by apprise, or a monitor that is pinged."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints
from tortoise.exceptions import IntegrityError

from bot.notice import TEST_NOTICE
from jobs.access import Role
from jobs.channel_test import require_testable
from jobs.database.unit import unit
from jobs.errors import ConflictError, InvalidRequestError
from jobs.models import NotificationChannel
from jobs.notification_rules import MONITOR, known_switches
from jobs.secrets import SecretUnreadableError, required
from jobs.types import JOB_TYPES
from webhooks.api.fields import Body, RepositoryNames
from webhooks.api.made import made
from webhooks.api.stored_secrets import encrypted
from webhooks.apprise_server import name_of
from webhooks.notifier import UnusableUrlError, check_url, tell
from webhooks.resource import Resource
from webhooks.route import Answer, Call, Plain, Route


def _switch(text: str) -> str:
    if text not in (known := known_switches(JOB_TYPES)):
        raise ValueError(f"give some of {', '.join(sorted(known))}")
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("give a time zone of the IANA's, such as Europe/Berlin")
    return text


ChannelName = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")]
Url = Annotated[SecretStr, Field(min_length=1, max_length=2048)]
Switches = Annotated[list[Annotated[str, AfterValidator(_switch)]], Field(max_length=100)]
Zone = Annotated[str, StringConstraints(max_length=63), AfterValidator(_zone)]
TimeOfDay = Annotated[str, StringConstraints(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class _Fields(Body):
    events: Switches | None = None
    repositories: RepositoryNames | None = None
    timezone: Zone = "UTC"
    digest_at: TimeOfDay | None = None
    quiet_from: TimeOfDay | None = None
    quiet_until: TimeOfDay | None = None
    enabled: bool = True


class NewChannel(_Fields):
    """A place to tell people: an apprise URL, or `ping+https://…` of a monitor. Without events the settings' switches
    say what is told. `digest_at` makes one message a day; from `quiet_from` to `quiet_until` nothing is sent.
    """

    name: ChannelName
    url: Url


class ChannelChange(_Fields):
    """The fields to change."""

    name: ChannelName = ""
    url: Url = SecretStr("")


class ChannelAnswer(BaseModel):
    """A channel without its URL, which is a secret; `service` is what kind of URL it is."""

    id: int
    name: str
    service: str
    events: list[str] | None
    repositories: list[str] | None
    timezone: str
    digest_at: str | None
    quiet_from: str | None
    quiet_until: str | None
    enabled: bool
    created_at: datetime


class Tested(BaseModel):
    """Whether a test message was taken; else why not."""

    delivered: bool
    error: str | None


def present(row: NotificationChannel) -> ChannelAnswer:
    """The row as it is answered."""
    return ChannelAnswer.model_validate(row, from_attributes=True)


CHANNELS = Resource("/api/notification-channels", "notification channel", NotificationChannel, ChannelAnswer, present)


async def add(call: Call[NewChannel, None]) -> Answer:
    """Add a channel."""
    row = await _named_once(call.body.name, partial(_add, call, await _url_columns(call, call.body.url)))
    return made(call, f"{CHANNELS.path}/{row.id}", present(row))


async def alter(call: Call[ChannelChange, None]) -> ChannelAnswer:
    """Change the fields given."""
    given = "url" in call.body.model_fields_set
    columns = await _url_columns(call, call.body.url) if given else {}
    return present(await _named_once(call.body.name, partial(_alter, call, columns)))


async def send_test(call: Plain) -> Tested:
    """Tell the channel something now, and say whether it was taken."""
    row = await CHANNELS.find(call.id)
    require_testable(row)
    try:
        answer = await tell(required(call.context.secrets).decrypt(row.url), TEST_NOTICE)
    except SecretUnreadableError as error:
        raise ConflictError(str(error)) from error
    return Tested(delivered=answer.delivered, error=answer.error)


async def _url_columns(call: Call[Any, None], given: SecretStr) -> dict[str, str]:
    url = given.get_secret_value()
    try:
        await asyncio.to_thread(check_url, url)
    except UnusableUrlError as error:
        raise InvalidRequestError("url", str(error)) from error
    return {"url": encrypted(call, url), "service": name_of(url)}


async def _add(call: Call[NewChannel, None], columns: dict[str, Any]) -> NotificationChannel:
    row = NotificationChannel(**call.body.model_dump(exclude={"url"}), **columns)
    _check_times(row)
    await row.save()
    await CHANNELS.record(call, "add", row, name=row.name, service=row.service, repositories=row.repositories)
    return row


async def _alter(call: Call[ChannelChange, None], columns: dict[str, str]) -> NotificationChannel:
    row = await CHANNELS.find(call.id)
    given = call.body.model_dump(exclude_unset=True, exclude={"url"}) | columns
    row.update_from_dict(given)
    _check_times(row)
    if given:
        await row.save(update_fields=list(given))
    await CHANNELS.record(call, "change", row, fields=sorted(call.body.model_fields_set))
    return row


def _check_times(row: NotificationChannel) -> None:
    if row.service == MONITOR:
        for field in ("digest_at", "quiet_from", "quiet_until"):
            if getattr(row, field) is not None:
                raise InvalidRequestError(field, "a monitor is pinged at once: it has no digest and no quiet hours.")
    if (row.quiet_from is None) != (row.quiet_until is None) or (
        row.quiet_from is not None and row.quiet_from == row.quiet_until
    ):
        raise InvalidRequestError("quiet_until", "quiet hours have two ends, quiet_from and quiet_until, that differ.")


async def _named_once(name: str, work: Callable[[], Awaitable[NotificationChannel]]) -> NotificationChannel:
    try:
        return await unit(work)
    except IntegrityError as error:
        raise ConflictError(f"There is a notification channel called {name} already. Choose another name.") from error


ROUTES = (
    CHANNELS.listing(),
    Route(
        "POST", CHANNELS.path, Role.ADMINISTER, add, "Adds a notification channel",
        body=NewChannel, answer=ChannelAnswer, status=HTTPStatus.CREATED,
    ),
    CHANNELS.reading(),
    Route(
        "PUT", f"{CHANNELS.path}/{{id}}", Role.ADMINISTER, alter, "Changes a notification channel",
        body=ChannelChange, answer=ChannelAnswer,
    ),
    CHANNELS.removal(),
    Route(
        "POST", f"{CHANNELS.path}/{{id}}/test", Role.ADMINISTER, send_test, "Sends a test message to the channel, now",
        answer=Tested,
    ),
)  # fmt: skip
