"""`POST /discord/interactions`: what Discord sends, verified on the raw bytes before anything is parsed.

https://docs.discord.com/developers/interactions/overview#setting-up-an-endpoint-validating-security-request-headers.
Discord sends wrong signatures on purpose, and takes the address away where they are not refused with 401.
"""

import json
import time
from collections.abc import Mapping

from aiohttp import web
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from bot.discord.interactions import DiscordInteractions
from bot.discord.payload import InvalidInteractionError
from bot.signed_request import received, too_slow, unreadable, unsigned

PATH = "/discord/interactions"
BODY_TIMEOUT_S = 2
NEWEST_S, OLDEST_S = 300, 300
"""How far a signature's time may be from ours: the bound that a replay has, beside the interaction's id."""


class DiscordEndpoint:
    """Takes interactions that Discord signed with the application's key (`public_key`, hexadecimal)."""

    def __init__(self, public_key: str, interactions: DiscordInteractions) -> None:
        self._key = VerifyKey(bytes.fromhex(public_key))
        self._interactions = interactions

    def add_routes(self, app: web.Application) -> None:
        """Mount the endpoint."""
        app.router.add_post(PATH, self.handle)
        app.on_cleanup.append(self._finish)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """401 unless Discord signed these bytes within five minutes, 400 for what can't be read, else the response."""
        body = await received(request, BODY_TIMEOUT_S)
        if body is None:
            return too_slow()
        if not self._is_signed(body, request.headers):
            return unsigned("Discord")
        try:
            return web.json_response(await self._interactions.respond(json.loads(body)))
        except (ValueError, RecursionError, InvalidInteractionError):
            return unreadable()

    async def _finish(self, app: web.Application) -> None:
        del app
        await self._interactions.finish()

    def _is_signed(self, body: bytes, headers: Mapping[str, str]) -> bool:
        timestamp = headers.get("X-Signature-Timestamp", "")
        try:
            signature = bytes.fromhex(headers.get("X-Signature-Ed25519", ""))
            self._key.verify(timestamp.encode() + body, signature)
            return -NEWEST_S <= time.time() - int(timestamp) <= OLDEST_S
        except (BadSignatureError, ValueError, TypeError, OverflowError):
            return False
