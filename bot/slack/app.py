"""What Slack sends: slash commands and buttons, by slack-bolt, verified on the raw bytes before anything is parsed.

Nothing here calls Slack: the answer goes back with the acknowledgement, within Slack's three seconds, and the thread is
the reporter's. https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

import asyncio
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.signature import SignatureVerifier

from bot.commands import Answer, Asker, answer
from bot.slack.render import escape
from jobs.access import chat_principal

PATH = "/slack/events"
ORIGIN = "slack"
BODY_TIMEOUT_S = 10
BUTTON_COMMANDS = {"job.cancel": "cancel", "job.retry": "retry"}

_log = structlog.get_logger()


class SlackEndpoint:
    """`POST /slack/events` for commands, buttons and Slack's own checks."""

    def __init__(self, signing_secret: str) -> None:
        self._verifier = SignatureVerifier(signing_secret)
        self._bolt = AsyncApp(
            signing_secret=signing_secret, authorize=_authorize, name="locutus", ssl_check_enabled=False
        )
        self._bolt.command("/backup")(_on_command)
        for action in BUTTON_COMMANDS:
            self._bolt.action(action)(_on_button)

    def add_routes(self, app: web.Application) -> None:
        """Mount the endpoint."""
        app.router.add_post(PATH, self.handle)

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
        return all(isinstance(body.get(name), str) for name in ("team_id", "user_id", "channel_id"))
    if body.get("type") == "block_actions":
        places = [body.get(name) for name in ("team", "user", "channel")]
        return all(isinstance(place, dict) and isinstance(place.get("id"), str) for place in places)
    return isinstance(body.get("type"), str)


def _problem(status: HTTPStatus, detail: str) -> web.Response:
    """A problem document (RFC 9457)."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")


async def _authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
    return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id)


async def _on_command(ack: AsyncAck, command: dict[str, Any]) -> None:
    asker = await _asker(command["team_id"], command["user_id"], command["channel_id"], command)
    await ack(_text(await _answered(command.get("text", ""), asker)))


async def _on_button(ack: AsyncAck, body: dict[str, Any], action: dict[str, Any]) -> None:
    asker = await _asker(body["team"]["id"], body["user"]["id"], body["channel"]["id"], body)
    await _answered(f"{BUTTON_COMMANDS[action['action_id']]} {action['value']}", asker)
    await ack()


async def _answered(text: str, asker: Asker) -> Answer:
    try:
        return await answer(text, asker)
    except Exception:  # noqa: BLE001 - named edge: bolt loses an acknowledgement when a listener raises
        _log.exception("slack_command_failed", subject=asker.principal.subject)
        return Answer(
            "Something went wrong here and nothing was started. Please try again; the gateway's log has the reason."
        )


async def _asker(team: str, user: str, channel: str, body: Mapping[str, Any]) -> Asker:
    subject = f"slack:{team}:{user}"
    return Asker(await chat_principal(subject), ORIGIN, f"slack:{team}:{channel}", _request_key(body))


def _request_key(body: Mapping[str, Any]) -> str:
    """Slack's trigger id names the interaction; it is the same when Slack, or anyone, sends it again."""
    trigger = body.get("trigger_id") or hashlib.sha256(repr(sorted(body.items())).encode()).hexdigest()
    return f"slack:{trigger}"


def _text(reply: Answer) -> str:
    code = f"\n```{escape(reply.code)}```" if reply.code else ""
    return escape(reply.text) + code
