"""Slack beside messages: views, user groups, scopes, answers by response_url, and Socket Mode.

Rules: https://docs.slack.dev/reference/views, …/reference/methods/views.open (a trigger is worth three seconds),
…/reference/methods/usergroups.users.list, …/apis/events-api/using-socket-mode (an envelope is acknowledged within three
seconds, once, by its id) and …/interactivity/handling-user-interaction#message_responses (five answers in 30 minutes).
"""

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import uuid4

from aiohttp import WSMsgType, web

from tests.fakes.slack_rules import Json, RefusedError, accepted_content, view_faults

ACK_WITHIN_S = 3.0
LONGEST_RESPONSES = 5
SCOPES = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.delete": "chat:write",
    "chat.postEphemeral": "chat:write",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "users.info": "users:read",
    "usergroups.users.list": "usergroups:read",
}
"""The scope that a method takes; each method's page names it."""


class Surfaces:
    """Mixed into `FakeSlack`. `homes` by user, `views` by id, `groups` by id, `responses` in the order they came."""

    def __init__(self) -> None:
        self.app_token = "xapp-test"
        self.scopes: list[str] | None = None
        self.homes: dict[str, Json] = {}
        self.views: dict[str, Json] = {}
        self.groups: dict[str, list[str]] = {}
        self.responses: list[Json] = []
        self.faults: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.connections = 0
        self.web_url = ""
        self._triggers: set[str] = set()
        self._used: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Future[Json]] = {}

    def surface_methods(self) -> dict[str, Any]:
        return {
            "views.open": self._open, "views.update": self._update_view, "views.publish": self._publish,
            "usergroups.users.list": self._members, "apps.connections.open": self._connect,
        }  # fmt: skip

    def add_surfaces(self, application: web.Application) -> None:
        application.router.add_get("/socket", self._socket)
        application.router.add_post("/responses/{id}", self._respond)

    def trigger(self) -> str:
        """A fresh trigger id, worth one view within three seconds."""
        trigger_id = f"{uuid4().int}.{uuid4().hex}"
        self._triggers.add(trigger_id)
        asyncio.get_running_loop().call_later(ACK_WITHIN_S, self._triggers.discard, trigger_id)
        return trigger_id

    def response_url(self) -> str:
        return f"{self.web_url}/responses/{uuid4().hex}"

    async def send(self, kind: str, payload: Json, *, takes_answer: bool = True) -> Json:
        """Send an envelope over the newest connection: the acknowledgement's payload, or `TimeoutError`."""
        envelope_id = uuid4().hex
        acknowledged: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[envelope_id] = acknowledged
        envelope = {"type": kind, "envelope_id": envelope_id, "accepts_response_payload": takes_answer}
        await self.sockets[-1].send_json({**envelope, "payload": payload})
        async with asyncio.timeout(ACK_WITHIN_S):
            answer = await acknowledged
        if answer and not takes_answer:
            self.faults.append(f"{kind} takes no answer")
        return answer

    async def disconnect(self) -> None:
        """Say that the newest connection ends, as Slack does before it renews one."""
        await self.sockets.pop().send_json({"type": "disconnect", "reason": "refresh_requested"})

    def require_scope(self, method: str) -> None:
        needed = SCOPES.get(method)
        if self.scopes is not None and needed and needed not in self.scopes:
            raise RefusedError("missing_scope", needed=needed, provided=",".join(self.scopes))

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}})
        self.sockets.append(socket)
        self.connections += 1
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self._acknowledged(json.loads(message.data))
        return socket

    def _acknowledged(self, answer: Json) -> None:
        waiting = self._waiting.pop(str(answer.get("envelope_id")), None)
        if waiting is None or answer.keys() - {"envelope_id", "payload"}:
            self.faults.append(f"an envelope that nobody sent, or twice: {answer}")
        elif not waiting.cancelled():
            waiting.set_result(answer.get("payload") or {})

    async def _respond(self, request: web.Request) -> web.Response:
        self._used[request.match_info["id"]] += 1
        body = await request.json()
        if self._used[request.match_info["id"]] > LONGEST_RESPONSES:
            return web.Response(status=404, text="used_url")
        try:
            accepted_content(body)
        except RefusedError as refused:
            self.faults.append(str(refused))
            return web.Response(status=404, text=str(refused))
        self.responses.append(body)
        return web.Response(text="ok")

    def _open(self, arguments: Json) -> Json:
        trigger_id = str(arguments.get("trigger_id"))
        if trigger_id not in self._triggers:
            raise RefusedError("expired_trigger_id" if trigger_id else "invalid_arguments")
        self._triggers.discard(trigger_id)
        return self._shown(arguments, "modal", f"V{uuid4().hex[:10].upper()}")

    def _update_view(self, arguments: Json) -> Json:
        view_id = str(arguments.get("view_id"))
        if view_id not in self.views:
            raise RefusedError("not_found")
        return self._shown(arguments, "modal", view_id)

    def _publish(self, arguments: Json) -> Json:
        shown = self._shown(arguments, "home", f"H{arguments.get('user_id')}")
        self.homes[str(arguments.get("user_id"))] = shown["view"]
        return shown

    def _shown(self, arguments: Json, kind: str, view_id: str) -> Json:
        view = arguments.get("view")
        view = json.loads(view) if isinstance(view, str) else view
        if faults := view_faults(view, kind):
            self.faults += faults
            raise RefusedError("invalid_arguments", errors=faults)
        self.views[view_id] = {**view, "id": view_id}
        return {"view": self.views[view_id]}

    def _members(self, arguments: Json) -> Json:
        group = str(arguments.get("usergroup"))
        if group not in self.groups:
            raise RefusedError("no_such_subteam")
        return {"users": self.groups[group]}

    def _connect(self, arguments: Json) -> Json:
        del arguments
        return {"url": f"{self.web_url.replace('http', 'ws', 1)}/socket?ticket={uuid4().hex}"}
