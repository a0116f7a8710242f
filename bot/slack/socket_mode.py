"""Socket Mode: Slack's requests over a connection that we open, for those without a public address.

https://docs.slack.dev/apis/events-api/using-socket-mode. Each envelope is acknowledged by its id, with the answer where
it takes one. Slack ends a connection now and then and says so before; any number of gateways may each have one.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from bot.platform import ChatError
from bot.proxy import proxy_for
from bot.slack.calls import TIMEOUT_S, call, web_client
from bot.slack.interactions import SlackInteractions
from bot.slack.payloads import is_complete

PING_S = 10.0
"""A connection that does not answer a ping by then is made anew."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
STEADY_S = 30.0
"""A connection that lasted as long is made again at once; what ended another may end them all."""

_log = structlog.get_logger()


class SlackSocket:
    """Keeps one connection while the gateway runs."""

    def __init__(self, app_token: str, api_url: str, interactions: SlackInteractions) -> None:
        self._app_token = app_token
        self._api_url = api_url
        self._interactions = interactions

    def add_routes(self, app: web.Application) -> None:
        """Connect when the gateway starts; there is no route."""
        app.cleanup_ctx.append(self._beside)

    async def _beside(self, app: web.Application) -> AsyncIterator[None]:
        del app
        task = asyncio.create_task(self.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._interactions.finish()

    async def run(self) -> None:
        """Connect, and again whenever the connection ends, until cancelled."""
        failures = 0
        async with aiohttp.ClientSession() as session:
            while True:
                began_s, wanted = time.monotonic(), False
                try:
                    wanted = await self._connected(session)
                except (ChatError, aiohttp.ClientError, TimeoutError, OSError) as error:
                    _log.warning("slack_socket_lost", reason=str(error) or type(error).__name__)
                lasted = time.monotonic() - began_s >= STEADY_S
                failures = 0 if wanted or lasted else failures + 1
                if failures:
                    await asyncio.sleep(min(LONGEST_WAIT_S, SHORTEST_WAIT_S * 2 ** min(failures, 10)))

    async def _connected(self, session: aiohttp.ClientSession) -> bool:
        """One connection, until it ends, which Slack announces or not; what it brought is answered first."""
        url = await self._address()
        connection = session.ws_connect(url, heartbeat=PING_S, proxy=proxy_for(url))
        async with connection as socket, asyncio.TaskGroup() as tasks:
            async for message in socket:
                envelope = _envelope(message)
                if envelope.get("type") == "disconnect":
                    _log.info("slack_socket_renewed", reason=envelope.get("reason"))
                    return True
                if isinstance(envelope.get("envelope_id"), str):
                    tasks.create_task(self._answer(socket, envelope))
        return False

    async def _address(self) -> str:
        """`apps.connections.open`: https://docs.slack.dev/reference/methods/apps.connections.open"""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            client = web_client(self._app_token, self._api_url, session)
            answer = await call(client.apps_connections_open, app_token=self._app_token)
        return str(answer["url"])

    async def _answer(self, socket: aiohttp.ClientWebSocketResponse, envelope: Mapping[str, Any]) -> None:
        payload = envelope.get("payload")
        answer: dict[str, Any] = {"envelope_id": envelope["envelope_id"]}
        if isinstance(payload, dict) and is_complete(payload):
            response = await self._interactions.dispatch(AsyncBoltRequest(mode="socket_mode", body=payload))
            if envelope.get("accepts_response_payload") and (said := _said(response)):
                answer["payload"] = said
        with contextlib.suppress(ConnectionError):  # Slack sends it again over the next connection
            await socket.send_json(answer)


def _envelope(message: aiohttp.WSMessage) -> Mapping[str, Any]:
    if message.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        found = json.loads(message.data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _said(response: BoltResponse) -> dict[str, Any]:
    """The acknowledgement as an envelope takes it: over HTTP a plain text would do."""
    if response.status != 200 or not response.body:
        return {}
    kind = response.headers.get("content-type", [""])[0]
    return dict(json.loads(response.body)) if kind.startswith("application/json") else {"text": response.body}
