"""What Slack sends: slash commands and buttons, by slack-bolt, verified on the raw bytes before anything is parsed.

A command's answer goes back with the acknowledgement, within Slack's three seconds. A click's can't: it is sent after
the acknowledgement, to the one who clicked. The thread is the reporter's.
https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.signature import SignatureVerifier

from bot.commands import Asker, answer
from bot.slack.render import render_answer
from jobs.access import chat_principal

PATH = "/slack/events"
ORIGIN = "slack"
BODY_TIMEOUT_S = 10
WHISPER_GRACE_S = 0.5
"""How long a stopping gateway waits for answers to clicks that are on their way."""
COMMAND = "/backup"
BUTTON_COMMANDS = {"job.cancel": "cancel", "job.retry": "retry"}

Whisper = Callable[[str, str, str], Awaitable[None]]
"""Shows to a user, in a channel (`slack:TEAM:CHANNEL`), a text; raises nothing."""

_ANY = re.compile("")
_log = structlog.get_logger()
# bolt warns of a SLACK_BOT_TOKEN in the environment, which it looks up and does not need here; its errors are told.
_bolt_log = logging.getLogger("locutus.slack_bolt")
_bolt_log.setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class _Who:
    """Slack's own ids of who asks and where, and the interaction's key."""

    team: str
    user: str
    channel: str
    request_key: str

    @property
    def subject(self) -> str:
        return f"slack:{self.team}:{self.user}"

    @property
    def place(self) -> str:
        return f"slack:{self.team}:{self.channel}"


class SlackEndpoint:
    """`POST /slack/events` for commands, buttons and Slack's own checks."""

    def __init__(self, signing_secret: str, whisper: Whisper | None = None) -> None:
        self._verifier = SignatureVerifier(signing_secret)
        self._whisper = whisper
        self._whispers: set[asyncio.Task[None]] = set()
        self._bolt = AsyncApp(
            signing_secret=signing_secret,
            authorize=_authorize,
            name="locutus",
            logger=_bolt_log,
            ssl_check_enabled=False,
            # Else bolt carries out commands in tasks that nobody awaits.
            process_before_response=True,
        )
        self._bolt.command(_ANY)(_on_command)
        self._bolt.action({"type": "block_actions", "action_id": _ANY})(self._on_button)

    def add_routes(self, app: web.Application) -> None:
        """Mount the endpoint."""
        app.router.add_post(PATH, self.handle)
        app.on_cleanup.append(self._finish)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """401 unless Slack signed these bytes within five minutes, 400 for what can't be read, else bolt's answer."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await request.read()
        except TimeoutError:
            return _problem(HTTPStatus.REQUEST_TIMEOUT, "The request's body did not arrive in time.")
        if not self._is_signed(body, request.headers):
            return _problem(HTTPStatus.UNAUTHORIZED, "This request is not signed by Slack, or is too old.")
        parsed = _parsed(body, request)
        if parsed is None:
            return _problem(HTTPStatus.BAD_REQUEST, "This request can't be read.")
        return await to_aiohttp_response(await self._bolt.async_dispatch(parsed))

    async def _on_button(self, ack: AsyncAck, body: dict[str, Any], action: dict[str, Any]) -> None:
        who = _Who(body["team"]["id"], body["user"]["id"], body["channel"]["id"], _request_key(body))
        text = await _clicked(action, who)
        await ack(text)
        if self._whisper is not None:
            task = asyncio.ensure_future(self._whisper(who.place, who.user, text))
            self._whispers.add(task)
            task.add_done_callback(self._whispers.discard)

    async def _finish(self, app: web.Application) -> None:
        del app
        if not self._whispers:
            return
        _, late = await asyncio.wait(self._whispers, timeout=WHISPER_GRACE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _is_signed(self, body: bytes, headers: Mapping[str, str]) -> bool:
        timestamp = headers.get("X-Slack-Request-Timestamp", "")
        signature = headers.get("X-Slack-Signature", "")
        try:
            return self._verifier.is_valid(body.decode(), timestamp, signature)
        except (ValueError, TypeError, OverflowError):
            return False


def _parsed(body: bytes, request: web.Request) -> AsyncBoltRequest | None:
    """The request as bolt reads it; None for what is no request of Slack's."""
    try:
        # bolt parses in the constructor, and what it raises for malformed bodies is not one type
        parsed = AsyncBoltRequest(body=body.decode(), query=request.query_string, headers=dict(request.headers))
    except Exception:  # noqa: BLE001 - named edge: signed, yet unreadable
        return None
    return parsed if _is_complete(parsed.body) else None


def _is_complete(body: Mapping[str, Any]) -> bool:
    if "command" in body:
        return _has_texts(body, "command", "team_id", "user_id", "channel_id")
    if body.get("type") == "block_actions":
        actions = body.get("actions")
        places = all(_has_texts(body.get(name), "id") for name in ("team", "user", "channel"))
        clicks = isinstance(actions, list) and all(_has_texts(action, "action_id", "value") for action in actions)
        return places and clicks and bool(actions)
    return isinstance(body.get("type"), str)


def _has_texts(value: object, *names: str) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in names)


def _problem(status: HTTPStatus, detail: str) -> web.Response:
    """A problem document (RFC 9457)."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")


async def _authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
    return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id)


async def _on_command(ack: AsyncAck, command: dict[str, Any]) -> None:
    if command["command"] != COMMAND:
        _log.warning("slack_command_unknown", command=command["command"])
        await ack(f"Locutus does not answer to this command. Write `{COMMAND} help`.")
        return
    who = _Who(command["team_id"], command["user_id"], command["channel_id"], _request_key(command))
    await ack(await _answered(command.get("text", ""), who))


async def _clicked(action: Mapping[str, str], who: _Who) -> str:
    command = BUTTON_COMMANDS.get(action["action_id"])
    if command is None:
        _log.warning("slack_button_unknown", action_id=action["action_id"])
        return f"Locutus does not know this button. `{COMMAND} help` shows what can be written instead."
    return await _answered(f"{command} {action['value']}", who)


async def _answered(text: str, who: _Who) -> str:
    try:
        reply = await answer(text, Asker(await chat_principal(who.subject), ORIGIN, who.place, who.request_key))
    except Exception:  # noqa: BLE001 - named edge: bolt loses an acknowledgement when a listener raises
        _log.exception("slack_command_failed", subject=who.subject)
        return "Something went wrong here and nothing was started. Please try again; the gateway's log has the reason."
    return render_answer(reply.text, reply.code)


def _request_key(body: Mapping[str, Any]) -> str:
    """Slack's trigger id names the interaction; it is the same when Slack, or anyone, sends it again."""
    trigger = body.get("trigger_id") or hashlib.sha256(repr(sorted(body.items())).encode()).hexdigest()
    return f"slack:{trigger}"
