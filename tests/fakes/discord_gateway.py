"""Discord's gateway: https://docs.discord.com/developers/events/gateway#connection-lifecycle."""

import json
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from tests.fakes.discord_interactions import APPLICATION
from tests.fakes.discord_rules import Json

HELLO, HEARTBEAT, HEARTBEAT_ACK, IDENTIFY, RESUME, DISPATCH = 10, 1, 11, 2, 6, 0
WRONG_TOKEN = 4004
"""topics/opcodes-and-status-codes#gateway-gateway-close-event-codes"""


class FakeGateway:
    """Keeps the sessions of the bot that has `token` and is `user`; `notify` is awaited when one is there."""

    def __init__(self, token: str, user: Json, notify: Callable[[], Awaitable[None]]) -> None:
        self.sockets: list[web.WebSocketResponse] = []
        self.identified: list[Json] = []
        self._token, self._user, self._notify = token, user, notify

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": HELLO, "d": {"heartbeat_interval": 41_250}})
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            said = json.loads(message.data)
            if said["op"] == HEARTBEAT:
                await socket.send_json({"op": HEARTBEAT_ACK})
            elif said["op"] in {IDENTIFY, RESUME} and said["d"]["token"] != self._token:
                await socket.close(code=WRONG_TOKEN)
            elif said["op"] in {IDENTIFY, RESUME}:
                await self._begin(socket, said, f"ws://{request.host}/gateway/")
        return socket

    async def close(self) -> None:
        for socket in self.sockets:
            await socket.close()

    async def _begin(self, socket: web.WebSocketResponse, said: Json, address: str) -> None:
        if said["op"] == RESUME:
            await socket.send_json({"op": DISPATCH, "t": "RESUMED", "s": said["d"]["seq"] + 1, "d": {}})
        else:
            ready = {"v": 10, "user": self._user, "guilds": [], "session_id": "s", "shard": [0, 1],
                     "resume_gateway_url": address, "application": {"id": APPLICATION, "flags": 0}}  # fmt: skip
            await socket.send_json({"op": DISPATCH, "t": "READY", "s": 1, "d": ready})
            self.identified.append(said["d"])
        self.sockets.append(socket)
        await self._notify()
