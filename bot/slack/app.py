"""Slack's requests over HTTP, verified on the raw bytes before anything is parsed.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from collections.abc import Mapping

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.signature import SignatureVerifier

from bot.signed_request import received, too_slow, unreadable, unsigned
from bot.slack.interactions import SlackInteractions
from bot.slack.payloads import is_complete

PATH = "/slack/events"
BODY_TIMEOUT_S = 10


class SlackEndpoint:
    """`POST /slack/events` for commands, buttons and Slack's own checks."""

    def __init__(self, signing_secret: str, interactions: SlackInteractions) -> None:
        self._verifier = SignatureVerifier(signing_secret)
        self._interactions = interactions

    def add_routes(self, app: web.Application) -> None:
        """Mount the endpoint."""
        app.router.add_post(PATH, self.handle)
        app.on_cleanup.append(self._finish)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """401 unless Slack signed these bytes within five minutes, 400 for what can't be read, else what is said."""
        body = await received(request, BODY_TIMEOUT_S)
        if body is None:
            return too_slow()
        if not self._is_signed(body, request.headers):
            return unsigned("Slack")
        parsed = _parsed(body, request)
        if parsed is None:
            return unreadable()
        return await to_aiohttp_response(await self._interactions.dispatch(parsed))

    async def _finish(self, app: web.Application) -> None:
        del app
        await self._interactions.finish()

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
    return parsed if is_complete(parsed.body) else None
