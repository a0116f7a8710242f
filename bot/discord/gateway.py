"""Discord's gateway connection, for those whom Discord can't reach: the same interactions, received over a WebSocket.

https://docs.discord.com/developers/events/gateway, by discord.py, which keeps the connection alive, resumes it and
begins it anew. Of what it receives only interactions are looked at, as they came, so that nothing depends on what it
knows of servers and members.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import discord
import structlog
from aiohttp import web
from yarl import URL

from bot.discord.interactions import DiscordInteractions
from bot.discord.payload import InvalidInteractionError
from bot.discord.rest import DiscordRest
from bot.platform import ChatError, Refused
from bot.proxy import proxy_for
from jobs.lease import work_as_holder

LEASE = "discord-gateway"
TRY_AGAIN_S = 10.0
ANSWER_GRACE_S = 1.0

_log = structlog.get_logger()
# It says by itself that two optional packages for voice are missing.
discord.VoiceClient.warn_nacl = False
discord.VoiceClient.warn_dave = False


class DiscordGateway:
    """One connection for a fleet: of all gateways that could hold it one does."""

    def __init__(self, token: str, api_url: str, interactions: DiscordInteractions) -> None:
        self._token = token
        self._api_url = api_url.rstrip("/")
        self._interactions = interactions
        self._answers: set[asyncio.Task[None]] = set()

    def add_routes(self, app: web.Application) -> None:
        """Have the connection held beside the application, which gets no route."""
        app.cleanup_ctx.append(self._beside)

    async def _beside(self, app: web.Application) -> AsyncIterator[None]:
        del app
        holding = asyncio.create_task(work_as_holder(LEASE, self.run))
        yield
        holding.cancel()
        await asyncio.wait({holding})
        await self._interactions.finish()

    async def run(self) -> None:
        """Receive interactions and answer them, and begin again whenever that ends; until cancelled."""
        while True:
            try:
                await self._connected()
            except (Refused, discord.LoginFailure, discord.PrivilegedIntentsRequired) as error:
                _log.warning("discord_gateway_refused", reason=str(error), mend="`locutus doctor` says what is wrong.")
            except Exception as error:  # noqa: BLE001 - named edge: whatever discord.py stumbled on, it is begun anew
                _log.warning("discord_gateway_lost", reason=str(error) or type(error).__name__)
            await asyncio.sleep(TRY_AGAIN_S)

    async def _connected(self) -> None:
        """One session from its start to its end."""
        async with DiscordRest(self._token, self._api_url) as rest:
            address = await rest.call("GET", "/gateway/bot")
            # Both are the same for the whole process, and so is the API that is spoken to.
            discord.http.Route.BASE = self._api_url
            discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = URL(address["url"])
            client = _Client(partial(self._received, rest), proxy_for(self._api_url))
            try:
                await client.login(self._token)
                await client.connect()
            finally:
                await client.close()
                await self._finish()

    def _received(self, rest: DiscordRest, event: Any) -> None:
        """Answer an interaction; everything else is no matter."""
        if isinstance(event, dict) and event.get("t") == "INTERACTION_CREATE":
            task = asyncio.create_task(self._answer(rest, event.get("d")))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _answer(self, rest: DiscordRest, payload: Any) -> None:
        try:
            response = await self._interactions.respond(payload)
            await rest.call("POST", f"/interactions/{payload['id']}/{payload['token']}/callback", response)
        except InvalidInteractionError as error:
            _log.warning("discord_interaction_unreadable", reason=str(error))
        except ChatError as error:
            _log.warning("discord_answer_lost", reason=str(error))

    async def _finish(self) -> None:
        if not self._answers:
            return
        _, late = await asyncio.wait(self._answers, timeout=ANSWER_GRACE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


class _Client(discord.Client):
    """discord.py's client, which hands on what came in as it came."""

    def __init__(self, received: Callable[[Any], None], proxy: str | None) -> None:
        intents = discord.Intents(guilds=True)
        super().__init__(intents=intents, proxy=proxy, max_messages=None, enable_debug_events=True)
        self._received = received
        # It would look at interactions too, and end the connection over one that has a field less than it expects.
        self._connection.parsers.pop("INTERACTION_CREATE", None)

    async def on_connect(self) -> None:
        """Called whenever a session begins, and not when it is resumed."""
        _log.info("discord_gateway_up")

    async def on_socket_raw_receive(self, message: str) -> None:
        """Called with every event's text before discord.py looks at it."""
        if "INTERACTION_CREATE" in message:
            self._received(json.loads(message))
