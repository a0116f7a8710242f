"""Discord's HTTP API and gateway on loopback, as strict as the real ones, and its requests as it signs them.

Pages named here are those of https://docs.discord.com/developers. Nothing here was compared with the real service.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Literal, Self

from aiohttp import web
from nacl.signing import SigningKey

from tests.fakes.discord_gateway import FakeGateway
from tests.fakes.discord_interactions import (
    APPLICATION,
    BOT,
    CHANNEL,
    GUILD,
    ROLE,
    USER,
    Asked,
    command_data,
    interaction,
    sign,
)
from tests.fakes.discord_places import PERMISSIONS, Call, Place, Posted
from tests.fakes.discord_rules import Json, RefusedError, accepted_message, command_faults, response_faults
from tests.fakes.slack import Bucket, Limit

__all__ = ["APPLICATION", "BOT", "CHANNEL", "GUILD", "ROLE", "USER", "FakeDiscord"]

POST, EDIT, DELETE, THREAD, SEARCH = "post", "edit", "delete", "thread", "search"
NONCE_KEPT_S = 180
ANSWER_WITHIN_S, TOKEN_LASTS_S = 3.0, 900.0
"""interactions/receiving-and-responding#responding-to-an-interaction"""

LIMITS: Mapping[str, Limit] = {
    POST: Limit(60, 5, per_channel=True),
    EDIT: Limit(60, 5, per_channel=True),
    DELETE: Limit(60, 5, per_channel=True),
    THREAD: Limit(60, 5, per_channel=True),
}
"""About 5 in 5 s a channel, as the headers of the real one said; it promises no figures (topics/rate-limits)."""


class FakeDiscord:
    """`async with FakeDiscord() as discord:` serves at `discord.api_url`.

    `places` holds channels and threads by id. `limits` may be changed or cleared at any time; `delay_s` maps an action
    to how late it is done; `down` is how Discord fails, if it does.
    """

    def __init__(self, token: str = "bot-token", channels: tuple[str, ...] = (CHANNEL,)) -> None:
        self.token, self.key = token, SigningKey(b"discord's own key, of 32 bytes..")
        self.public_key = self.key.verify_key.encode().hex()
        self.places = {channel: Place(channel) for channel in channels}
        self.calls: list[Call] = []
        self.limits = dict(LIMITS)
        self.delay_s: dict[str, float] = {}
        self.down: Literal["dropped", "500", "not json"] | None = None
        self.commands: list[Json] = []
        self.asked: dict[str, Asked] = {}
        self.application: Json = {"interactions_endpoint_url": None}
        self.clock_ahead_s = 0.0
        self.api_url = ""
        self._buckets: dict[tuple[str, str], tuple[Limit, Bucket]] = {}
        self._failures: dict[str, list[Json]] = {}
        self._lost_answers: list[str] = []
        self._last_id = 10_000
        self._changed = asyncio.Condition()
        self._gateway = FakeGateway(token, self._me()[1], self._notify)

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/gateway/", self._gateway.handle)
        api = "/api/v10"
        message = f"{api}/channels/{{channel}}/messages/{{message}}"
        routes: list[tuple[str, str, str, Callable[..., Any]]] = [
            ("POST", f"{api}/channels/{{channel}}/messages", POST, self._post),
            ("GET", f"{api}/channels/{{channel}}/messages", SEARCH, self._search),
            ("PATCH", message, EDIT, self._edit),
            ("DELETE", message, DELETE, self._delete),
            ("POST", f"{message}/threads", THREAD, self._start_thread),
            ("GET", f"{api}/channels/{{channel}}", "channel", self._channel),
            ("PATCH", f"{api}/channels/{{channel}}", "channel", self._change_channel),
            ("GET", f"{api}/guilds/{{guild}}", "guild", self._guild),
            ("GET", f"{api}/guilds/{{guild}}/members/{{member}}", "member", self._member),
            ("GET", f"{api}/users/@me", "me", self._me),
            ("GET", f"{api}/applications/@me", "application", self._application),
            ("GET", f"{api}/oauth2/applications/@me", "application", self._application),
            ("PUT", f"{api}/applications/{{application}}/commands", "commands", self._register),
            ("GET", f"{api}/applications/{{application}}/commands", "commands", self._registered),
            ("GET", f"{api}/gateway/bot", "gateway", self._gateway_address),
            ("POST", f"{api}/interactions/{{interaction}}/{{token}}/callback", "callback", self._callback),
            (
                "PATCH",
                f"{api}/webhooks/{{application}}/{{token}}/messages/@original",
                "original",
                self._edit_original,
            ),
        ]
        for method, path, action, do in routes:
            application.router.add_route(method, path, self._handler(action, do))
        self._runner = web.AppRunner(application, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.api_url = f"http://127.0.0.1:{self._port}{api}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._gateway.close()
        await self._runner.cleanup()

    # What a test does and sees.

    def fail_next(self, action: str, status: int, code: int = 0, **more: Any) -> None:
        """Answer the next call of this kind with this error, doing nothing."""
        answer = {"status": status, "message": "made up by a test", "code": code, **more}
        self._failures.setdefault(action, []).append(answer)

    def lose_next_answer(self, action: str) -> None:
        """Do the next call of this kind, then drop the connection instead of answering."""
        self._lost_answers.append(action)

    def called(self, action: str) -> list[Call]:
        return [call for call in self.calls if call.action == action]

    def messages(self, place: str = CHANNEL) -> list[Posted]:
        return self.places[place].messages if place in self.places else []

    async def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Wait until a call makes `condition` true; raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    def payload(self, kind: int, data: Json | None = None, **changes: Any) -> Json:
        """An interaction of this kind, as Discord would send it now."""
        made = interaction(changes.pop("id", None) or self._new_id(), kind, data, **changes)
        self.asked[made["id"]] = Asked(made)
        return made

    def command(self, name: str, /, *, focused: str | None = None, **options: Any) -> Json:
        """The `data` of `/backup NAME` with these options; only what is registered can be sent."""
        return command_data(self.commands, name, focused, options)

    def signed(self, payload: Json, timestamp: int | None = None) -> tuple[dict[str, str], bytes]:
        """Headers and body of an interaction."""
        body = json.dumps(payload).encode()
        return sign(self.key, body, timestamp), body

    async def send(self, payload: Json) -> Asked:
        """Send an interaction over the gateway connection, and wait until it was answered."""
        event = {"op": 0, "t": "INTERACTION_CREATE", "s": self._new_id(), "d": payload}
        await self.sockets[-1].send_str(json.dumps({**event, "s": int(event["s"])}))
        asked = self.asked[payload["id"]]
        asked.at = time.monotonic()
        await self.until(lambda: asked.responses)
        return asked

    def check_answer(self, payload: Json, response: Json) -> Json:
        """The answer, if Discord would take it."""
        faults = list(response_faults(response, payload["type"]))
        assert not faults, faults
        self.asked[payload["id"]].responses.append(response)
        return response

    @property
    def sockets(self) -> list[web.WebSocketResponse]:
        """Every session of the gateway connection, resumed ones too, oldest first."""
        return self._gateway.sockets

    @property
    def identified(self) -> list[Json]:
        """How each new session identified itself."""
        return self._gateway.identified

    # The server.

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _handler(self, action: str, do: Callable[..., Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            at, raw = time.monotonic(), await request.read()
            if self.down != "dropped":
                await asyncio.sleep(self.delay_s.get(action, 0))
            status, answer, headers, body = self._answer(action, do, request, raw)
            lost = self.down == "dropped" or (status < 300 and action in self._lost_answers)
            if lost and action in self._lost_answers:
                self._lost_answers.remove(action)
            self.calls.append(Call(action, request.path, at, body, None if lost else status))
            await self._notify()
            if lost and request.transport is not None:
                request.transport.abort()
            if self.down == "not json":
                return web.Response(text="Please log in to the network.")
            return _json(answer, status, {**headers, "Date": formatdate(time.time() + self.clock_ahead_s)})

        return handle

    def _answer(
        self, action: str, do: Callable[..., Any], request: web.Request, raw: bytes
    ) -> tuple[int, Any, dict[str, str], Any]:
        body: Any = None
        if self.down:
            return 500, {"message": "500: Internal Server Error", "code": 0}, {}, body
        if self._failures.get(action):
            failure = self._failures[action].pop(0)
            headers = {"Via": "1.1 google"} if failure["status"] == 429 else {}
            return failure.pop("status"), failure, headers, body
        try:
            self._authorize(request, action)
            body = _body(request, raw)
            limited, headers = self._limit(action, request.match_info.get("channel", ""))
            if limited is not None:
                return 429, limited, headers, body
            status, answer = do(request, body)
        except RefusedError as refused:
            return refused.status, refused.answer, {}, body
        return status, answer, headers, body

    def _authorize(self, request: web.Request, action: str) -> None:
        """reference#authentication and #user-agent; interactions have tokens of their own."""
        if not re.fullmatch(r"DiscordBot \(\S+,? \S+\).*", request.headers.get("User-Agent", "")):
            raise RefusedError(HTTPStatus.FORBIDDEN)
        if action in {"callback", "original"}:
            return
        if request.headers.get("Authorization") != f"Bot {self.token}":
            raise RefusedError(HTTPStatus.UNAUTHORIZED)

    def _limit(self, action: str, channel: str) -> tuple[Json | None, dict[str, str]]:
        """topics/rate-limits: the headers of every answer, and the body of a 429, which bears `Via` as all answers."""
        limit = self.limits.get(action)
        if limit is None:
            return None, {}
        key = (action, channel)
        if key not in self._buckets or self._buckets[key][0] != limit:
            self._buckets[key] = (limit, Bucket(limit.per_minute, limit.burst))
        bucket = self._buckets[key][1]
        wait_s = bucket.take()
        headers = {
            "Via": "1.1 google", "X-RateLimit-Limit": str(limit.burst), "X-RateLimit-Bucket": action,
            "X-RateLimit-Remaining": str(int(bucket.level)),
            "X-RateLimit-Reset-After": f"{wait_s or (1 - bucket.level % 1) * 60 / limit.per_minute:.3f}",
        }  # fmt: skip
        if not wait_s:
            return None, headers
        refusal = {"message": "You are being rate limited.", "retry_after": round(wait_s, 3), "global": False}
        return refusal, {**headers, "Retry-After": str(math.ceil(wait_s)), "X-RateLimit-Scope": "user"}

    # Channels and messages.

    def _place(self, request: web.Request, *needed: str) -> Place:
        place = self.places.get(request.match_info["channel"])
        if place is None:
            raise RefusedError(404, 10003)
        if "view" in place.missing:
            raise RefusedError(403, 50001)
        if place.missing & set(needed):
            raise RefusedError(403, 50013)
        return place

    def _message(self, place: Place, request: web.Request) -> Posted:
        for message in place.messages:
            if message.id == request.match_info["message"]:
                return message
        raise RefusedError(404, 10008)

    def _post(self, request: web.Request, body: Any) -> tuple[int, Any]:
        thread = "send in threads" if self._is_thread(request.match_info["channel"]) else "send"
        place = self._place(request, thread, *(["embed"] if (body or {}).get("embeds") else []))
        content = accepted_message(body)
        nonce = str(body["nonce"]) if "nonce" in body else None
        if body.get("enforce_nonce"):  # resources/message#create-message: unique for some minutes
            for message in place.messages:
                if message.nonce == nonce and time.monotonic() - message.at < NONCE_KEPT_S:
                    return 200, message.as_json()
        place.archived = False
        return 200, self.say(place.id, content, author=BOT, nonce=nonce).as_json() | {"nonce": nonce}

    def say(self, place: str, content: Json, *, author: str = USER, nonce: str | None = None) -> Posted:
        """A new message, of somebody else unless `author` is the bot."""
        message = Posted(self._new_id(), place, content, author, nonce)
        message.edits.append((time.monotonic(), content))
        self.places[place].messages.append(message)
        return message

    def _edit(self, request: web.Request, body: Any) -> tuple[int, Any]:
        place = self._place(request)
        message = self._message(place, request)
        if message.author != BOT:
            raise RefusedError(403, 50005)
        if place.archived:
            raise RefusedError(400, 50083)
        message.content = {**message.content, **accepted_message(body, new=False)}
        message.edits.append((time.monotonic(), message.content))
        return 200, message.as_json()

    def _delete(self, request: web.Request, _: Any) -> tuple[int, Any]:
        place = self._place(request)
        place.messages.remove(self._message(place, request))
        return 204, None

    def _search(self, request: web.Request, _: Any) -> tuple[int, Any]:
        """resources/message#get-channel-messages: newest first, nothing at all without READ_MESSAGE_HISTORY."""
        place = self._place(request)
        limit, before = int(request.query.get("limit", 50)), int(request.query.get("before", 10**18))
        if not 1 <= limit <= 100:
            raise RefusedError(400, 50035)
        if "history" in place.missing:
            return 200, []
        found = [message.as_json() for message in reversed(place.messages) if int(message.id) < before]
        return 200, found[:limit]

    def _start_thread(self, request: web.Request, body: Any) -> tuple[int, Any]:
        """resources/channel#start-thread-from-message: the thread has the message's id, and a message only one."""
        place = self._place(request, "threads")
        if place.type != 0:
            raise RefusedError(400, 50024)
        message = self._message(place, request)
        if not 1 <= len(str(body.get("name", ""))) <= 100 or body.get("auto_archive_duration") not in {
            None, 60, 1440, 4320, 10080,
        }:  # fmt: skip
            raise RefusedError(400, 50035)
        if message.id in self.places:
            raise RefusedError(400, 160004)
        self.places[message.id] = Place(message.id, type=11)
        return 201, {"id": message.id, "type": 11, "parent_id": place.id, "name": body["name"]}

    def _channel(self, request: web.Request, _: Any) -> tuple[int, Any]:
        place = self._place(request)
        denied = sum(PERMISSIONS[name] for name in place.missing)
        overwrites = [{"id": BOT, "type": 1, "allow": "0", "deny": str(denied)}]
        return 200, {"id": place.id, "type": place.type, "guild_id": GUILD, "permission_overwrites": overwrites}

    def _guild(self, request: web.Request, _: Any) -> tuple[int, Any]:
        if request.match_info["guild"] != GUILD:
            raise RefusedError(404, 10004)
        return 200, {"id": GUILD, "roles": [{"id": GUILD, "permissions": str(sum(PERMISSIONS.values()))}]}

    def _member(self, *_: Any) -> tuple[int, Any]:
        return 200, {"user": self._me()[1], "roles": []}

    def _change_channel(self, request: web.Request, body: Any) -> tuple[int, Any]:
        place = self._place(request)
        place.archived = bool(body.get("archived", place.archived))
        return 200, {"id": place.id, "type": place.type}

    def _is_thread(self, place: str) -> bool:
        return place in self.places and self.places[place].type == 11

    # The application, its commands and its interactions.

    def _me(self, *_: Any) -> tuple[int, Any]:
        return 200, {"id": BOT, "username": "locutus", "discriminator": "0", "avatar": None, "bot": True, "flags": 0}

    def _application(self, *_: Any) -> tuple[int, Any]:
        named: Json = {"id": APPLICATION, "name": "Locutus", "icon": None, "description": "", "team": None,
                       "bot_public": False, "bot_require_code_grant": False, "verify_key": self.public_key, "flags": 0,
                       "owner": {"id": USER, "username": "anna", "discriminator": "0", "avatar": None},
                       "rpc_origins": []}  # fmt: skip
        return 200, named | self.application

    def _register(self, request: web.Request, body: Any) -> tuple[int, Any]:
        if request.match_info["application"] != APPLICATION:
            raise RefusedError(403, 50001)
        faults = [fault for command in body for fault in command_faults(command)]
        if faults:
            raise RefusedError(400, 50035, faults)
        self.commands = [{**command, "id": self._new_id()} for command in body]
        return 200, self.commands

    def _registered(self, *_: Any) -> tuple[int, Any]:
        return 200, self.commands

    def _callback(self, request: web.Request, body: Any) -> tuple[int, Any]:
        """…#responding-to-an-interaction: once, within three seconds."""
        asked = self._asked(request)
        if time.monotonic() - asked.at > ANSWER_WITHIN_S:
            raise RefusedError(404, 10062)
        if asked.responses:
            raise RefusedError(400, 40060)
        if faults := list(response_faults(body, asked.payload["type"])):
            raise RefusedError(400, 50035, faults)
        asked.responses.append(body)
        return 204, None

    def _edit_original(self, request: web.Request, body: Any) -> tuple[int, Any]:
        """…#edit-original-interaction-response: for fifteen minutes."""
        asked = self._asked(request)
        if time.monotonic() - asked.at > TOKEN_LASTS_S:
            raise RefusedError(401, 50027)
        if not asked.responses:
            raise RefusedError(404, 10008)
        asked.edited.append(accepted_message(body, new=False))
        return 200, {"id": "1"}

    def _asked(self, request: web.Request) -> Asked:
        for asked in self.asked.values():
            if asked.payload["token"] == request.match_info["token"]:
                return asked
        raise RefusedError(404, 10015 if "interaction" not in request.match_info else 10062)

    def _gateway_address(self, *_: Any) -> tuple[int, Any]:
        limit = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
        return 200, {"url": f"ws://127.0.0.1:{self._port}/gateway/", "shards": 1, "session_start_limit": limit}

    def _new_id(self) -> str:
        self._last_id += 1
        return str(self._last_id)


def _body(request: web.Request, raw: bytes) -> Any:
    """reference#content-type: JSON, said to be so."""
    if request.method == "GET" or not raw:
        return None
    if request.content_type != "application/json":
        raise RefusedError(400, 50035)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise RefusedError(400, 50109) from error


def _json(answer: Any, status: int, headers: Mapping[str, str]) -> web.Response:
    """Without a charset: discord.py takes only that for JSON."""
    if status == HTTPStatus.NO_CONTENT:
        return web.Response(status=status, headers=headers)
    return web.Response(body=json.dumps(answer), status=status, headers={**headers, "Content-Type": "application/json"})
