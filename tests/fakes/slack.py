"""Slack's Web API on loopback, as strict as the real one, and its requests as it signs them.

Rules: https://docs.slack.dev/reference/methods, …/apis/web-api/rate-limits and
…/authentication/verifying-requests-from-slack. Nothing here was compared with the real service.
"""

import asyncio
import hashlib
import hmac
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal, Self
from urllib.parse import urlencode

from aiohttp import web

from tests.fakes.slack_rules import Json, RefusedError, accepted_content
from tests.fakes.slack_surfaces import Surfaces

Answer = tuple[int, Json, dict[str, str]]

POST, UPDATE, DELETE = "chat.postMessage", "chat.update", "chat.delete"
WHISPER = "chat.postEphemeral"
HISTORY, REPLIES = "conversations.history", "conversations.replies"
_CONTENT = ("text", "blocks", "attachments", "metadata")
_TRUE = {"1", "true", True}


@dataclass
class Bucket:
    """A token bucket: `burst` calls at once, then `per_minute`."""

    per_minute: float
    burst: int
    level: float = field(init=False)
    filled_at: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.level = self.burst

    def take(self) -> float:
        """0 if the call may be made, else how many seconds to wait."""
        now = time.monotonic()
        self.level = min(self.burst, self.level + (now - self.filled_at) * self.per_minute / 60)
        self.filled_at = now
        if self.level >= 1:
            self.level -= 1
            return 0.0
        return (1 - self.level) * 60 / self.per_minute


@dataclass(frozen=True)
class Limit:
    """How often a method may be called, per channel or per workspace."""

    per_minute: float
    burst: int
    per_channel: bool = False


LIMITS: Mapping[str, Limit] = {
    POST: Limit(60, 5, per_channel=True),
    UPDATE: Limit(50, 10),
    DELETE: Limit(50, 10),
    HISTORY: Limit(50, 10),
    REPLIES: Limit(50, 10),
}


@dataclass(frozen=True)
class Call:
    """One call as it arrived; `at` is monotonic seconds, `status` what it was answered with (None: no answer)."""

    method: str
    at: float
    arguments: Json
    status: int | None


@dataclass
class Posted:
    """A message in a channel; `edits` holds (monotonic seconds, content) of the post and of each update."""

    ts: str
    content: Json
    bot_id: str | None
    user: str
    thread_ts: str | None = None
    edits: list[tuple[float, Json]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return str(self.content["text"])

    @property
    def metadata(self) -> Json:
        return dict(self.content.get("metadata") or {})

    def as_json(self, *, with_metadata: bool = True) -> Json:
        shown = {key: value for key, value in self.content.items() if with_metadata or key != "metadata"}
        author = {"user": self.user} | ({"bot_id": self.bot_id} if self.bot_id else {})
        thread = {"thread_ts": self.thread_ts} if self.thread_ts else {}
        return {"type": "message", "ts": self.ts, **author, **thread, **shown}


class FakeSlack(Surfaces):
    """`async with FakeSlack() as slack:` serves at `slack.base_url`.

    `messages` holds each channel's messages, threads included, in the order of posting. `limits` may be changed or
    cleared at any time; `delay_s` maps a method to how late it is done; `down` is how Slack fails, if it does.
    """

    def __init__(self, token: str = "xoxb-test", team: str = "T1", channels: tuple[str, ...] = ("C1",)) -> None:
        super().__init__()
        self.clock_s = 0.0
        self.token, self.team, self.bot_id, self.bot_user = token, team, "B1", "U0BOT"
        self.messages: dict[str, list[Posted]] = {channel: [] for channel in channels}
        self.calls: list[Call] = []
        self.limits = dict(LIMITS)
        self.delay_s: dict[str, float] = {}
        self.down: Literal["dropped", "500", "not json"] | None = None
        self.base_url = ""
        self._buckets: dict[tuple[str, str], tuple[Limit, Bucket]] = {}
        self._failures: dict[str, list[str]] = {}
        self._lost_answers: list[str] = []
        self._counter = 0
        self._changed = asyncio.Condition()
        self._methods: dict[str, Callable[[Json], Json]] = {
            POST: self._post, UPDATE: self._update, DELETE: self._delete, HISTORY: self._history,
            REPLIES: self._replies, WHISPER: self._whisper, "auth.test": self._auth_test,
            "users.info": self._users_info, **self.surface_methods(),
        }  # fmt: skip

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/api/{method}", self._handle)
        self.add_surfaces(application)
        self._runner = web.AppRunner(application, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.web_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.base_url = f"{self.web_url}/api/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    # What a test does and sees.

    def fail_next(self, method: str, error: str) -> None:
        """Answer the next call of `method` with this error code, doing nothing."""
        self._failures.setdefault(method, []).append(error)

    def lose_next_answer(self, method: str) -> None:
        """Do the next call of `method`, then drop the connection instead of answering."""
        self._lost_answers.append(method)

    def called(self, method: str) -> list[Call]:
        """The calls of `method`, whatever became of them."""
        return [call for call in self.calls if call.method == method]

    def thread(self, channel: str, ts: str) -> list[Posted]:
        """The message `ts` and its replies, oldest first."""
        return [message for message in self.messages[channel] if ts in {message.ts, message.thread_ts}]

    def say(self, channel: str, text: str, *, thread_ts: str | None = None, **content: Any) -> Posted:
        """A message of somebody else: a person, or with `bot_id=` another app."""
        bot_id = content.pop("bot_id", None)
        return self._add(channel, {"text": text, **content}, thread_ts, bot_id=bot_id, user="U1")

    async def until(self, condition: Callable[[], object], timeout_s: float = 5.0) -> None:
        """Wait until a call makes `condition` true; raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    # The server.

    async def _handle(self, request: web.Request) -> web.Response:
        at, method = time.monotonic(), request.match_info["method"]
        arguments = await _arguments(request, method)
        if self.down != "dropped":
            await asyncio.sleep(self.delay_s.get(method, 0))
        status, answer, headers = self._answer(method, arguments, request.headers.get("Authorization"))
        lost = self.down == "dropped" or (status == 200 and method in self._lost_answers)
        if lost and method in self._lost_answers:
            self._lost_answers.remove(method)
        self.calls.append(Call(method, at, arguments or {}, None if lost else status))
        async with self._changed:
            self._changed.notify_all()
        if lost and request.transport is not None:
            request.transport.abort()
        if self.down == "not json":
            return web.Response(text="Please log in to the network.")
        return web.json_response(answer, status=status, headers=headers)

    def _answer(self, method: str, arguments: Json | None, authorization: str | None) -> Answer:
        if self.down:
            return 500, {}, {}
        if method not in self._methods:
            return 200, RefusedError("unknown_method").answer, {}
        try:
            self._authorize(authorization, self.app_token if method == "apps.connections.open" else self.token)
            self.require_scope(method)
            if wait_s := self._wait_s(method, str((arguments or {}).get("channel"))):
                return 429, RefusedError("ratelimited").answer, {"Retry-After": str(math.ceil(wait_s))}
            return 200, {"ok": True, **self._do(method, arguments)}, self._headers()
        except RefusedError as refused:
            return 200, refused.answer, {}

    def _do(self, method: str, arguments: Json | None) -> Json:
        if self._failures.get(method):
            raise RefusedError(self._failures[method].pop(0))
        if arguments is None:
            raise RefusedError("invalid_json")
        return self._methods[method](arguments)

    def _headers(self) -> dict[str, str]:
        scopes = {"x-oauth-scopes": ",".join(self.scopes)} if self.scopes is not None else {}
        return {"Date": formatdate(time.time() + self.clock_s, usegmt=True), **scopes}

    def _authorize(self, authorization: str | None, token: str) -> None:
        if not authorization:
            raise RefusedError("not_authed")
        if not hmac.compare_digest(authorization, f"Bearer {token}"):
            raise RefusedError("invalid_auth")

    def _wait_s(self, method: str, channel: str) -> float:
        limit = self.limits.get(method)
        if limit is None:
            return 0.0
        key = (method, channel if limit.per_channel else "")
        if key not in self._buckets or self._buckets[key][0] != limit:
            self._buckets[key] = (limit, Bucket(limit.per_minute, limit.burst))
        return self._buckets[key][1].take()

    # The methods.

    def _post(self, arguments: Json) -> Json:
        channel, thread_ts = self._channel(arguments), arguments.get("thread_ts")
        content = accepted_content(arguments)
        if thread_ts is not None and not any(root.ts == thread_ts for root in self._roots(channel)):
            raise RefusedError("thread_not_found")
        message = self._add(channel, content, thread_ts, bot_id=self.bot_id, user=self.bot_user)
        return {"channel": channel, "ts": message.ts, "message": message.as_json()}

    def _whisper(self, arguments: Json) -> Json:
        self._channel(arguments)
        self._users_info(arguments)
        accepted_content(arguments)
        self._counter += 1
        return {"message_ts": f"1234567890.{self._counter * 100:06d}"}

    def _update(self, arguments: Json) -> Json:
        channel, message = self._own(arguments, "cant_update_message")
        content = accepted_content(arguments)
        message.content = {"metadata": message.content.get("metadata"), **content}
        message.edits.append((time.monotonic(), message.content))
        return {"channel": channel, "ts": message.ts, "text": message.text, "message": message.as_json()}

    def _delete(self, arguments: Json) -> Json:
        channel, message = self._own(arguments, "cant_delete_message")
        self.messages[channel].remove(message)
        return {"channel": channel, "ts": message.ts}

    def _history(self, arguments: Json) -> Json:
        return _page(list(reversed(self._roots(self._channel(arguments)))), arguments)

    def _replies(self, arguments: Json) -> Json:
        channel, ts = self._channel(arguments), str(arguments.get("ts"))
        if not (thread := self.thread(channel, ts)):
            raise RefusedError("thread_not_found")
        return _page(thread, arguments)

    def _auth_test(self, _: Json) -> Json:
        return {
            "team_id": self.team,
            "user_id": self.bot_user,
            "bot_id": self.bot_id,
            "user": "locutus",
            "team": "Test",
        }

    def _users_info(self, arguments: Json) -> Json:
        user = str(arguments.get("user") or "")
        if not re.fullmatch("[UW][A-Z0-9]+", user):
            raise RefusedError("user_not_found")
        return {"user": {"id": user, "team_id": self.team, "name": user.lower(), "deleted": False, "is_bot": False}}

    def _channel(self, arguments: Json) -> str:
        channel = str(arguments.get("channel"))
        if channel not in self.messages:
            raise RefusedError("channel_not_found")
        return channel

    def _own(self, arguments: Json, not_ours: str) -> tuple[str, Posted]:
        channel = self._channel(arguments)
        for message in self.messages[channel]:
            if message.ts == arguments.get("ts"):
                if message.bot_id != self.bot_id:
                    raise RefusedError(not_ours)
                return channel, message
        raise RefusedError("message_not_found")

    def _roots(self, channel: str) -> list[Posted]:
        return [message for message in self.messages[channel] if message.thread_ts is None]

    def _add(self, channel: str, content: Json, thread_ts: str | None, *, bot_id: str | None, user: str) -> Posted:
        self._counter += 1
        message = Posted(f"1234567890.{self._counter * 100:06d}", content, bot_id, user, thread_ts)
        message.edits.append((time.monotonic(), content))
        self.messages[channel].append(message)
        return message


async def _arguments(request: web.Request, method: str) -> Json | None:
    """Query, form or JSON, with JSON strings parsed; None if not valid. Reading methods take no JSON."""
    try:
        arguments: Json = dict(request.query)
        if request.content_type == "application/json":
            arguments |= {} if method.startswith("conversations.") else await request.json()
        elif request.method == "POST":
            arguments |= dict(await request.post())
        structured = {key: json.loads(arguments[key]) for key in _CONTENT[1:] if isinstance(arguments.get(key), str)}
    except (ValueError, TypeError):
        return None
    return arguments | structured


def _page(messages: list[Posted], arguments: Json) -> Json:
    """One page from where the cursor points to."""
    limit = int(arguments.get("limit") or 100)
    if not 1 <= limit <= 999:
        raise RefusedError("invalid_limit")
    cursor = str(arguments.get("cursor") or "at:0")
    if not re.fullmatch(r"at:\d+", cursor):
        raise RefusedError("invalid_cursor")
    start = int(cursor[3:])
    more = start + limit < len(messages)
    with_metadata = arguments.get("include_all_metadata") in _TRUE
    return {
        "messages": [message.as_json(with_metadata=with_metadata) for message in messages[start : start + limit]],
        "has_more": more,
        "response_metadata": {"next_cursor": f"at:{start + limit}" if more else ""},
    }


def sign(signing_secret: str, body: bytes, timestamp: int) -> dict[str, str]:
    """The headers of a form that Slack sends, with the v0 signature over the raw bytes."""
    digest = hmac.new(signing_secret.encode(), b"v0:%d:" % timestamp + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": str(timestamp),
        "X-Slack-Signature": f"v0={digest}",
    }


def slash_command(
    signing_secret: str,
    text: str,
    *,
    user: str = "U1",
    team: str = "T1",
    channel: str = "C1",
    trigger_id: str = "13345224609.738474920.8088930838d88f008e0",
    response_url: str = "http://127.0.0.1:9/commands",
    timestamp: int | None = None,
) -> tuple[dict[str, str], bytes]:
    """Headers and body of `/backup <text>`; `timestamp` is seconds since 1970, now if not given."""
    form = command_form(text, user=user, team=team, channel=channel, trigger_id=trigger_id)
    body = urlencode({**form, "response_url": response_url}).encode()
    return sign(signing_secret, body, int(time.time()) if timestamp is None else timestamp), body


def command_form(
    text: str, *, user: str = "U1", team: str = "T1", channel: str = "C1", trigger_id: str = "1.2.3"
) -> dict[str, str]:
    """The fields of `/backup <text>`, over HTTP as over Socket Mode."""
    return {
        "token": "unused", "team_id": team, "team_domain": "test", "channel_id": channel, "channel_name": "backups",
        "user_id": user, "user_name": user.lower(), "command": "/backup", "text": text, "api_app_id": "A1",
        "is_enterprise_install": "false", "response_url": "http://127.0.0.1:9/commands", "trigger_id": trigger_id,
    }  # fmt: skip


def block_action(
    signing_secret: str,
    action_id: str,
    value: str,
    *,
    message: Posted,
    user: str = "U1",
    team: str = "T1",
    channel: str = "C1",
    trigger_id: str = "12466734323.1395872398.8088930838d88f008e1",
    timestamp: int | None = None,
) -> tuple[dict[str, str], bytes]:
    """Headers and body of a click on the button `action_id` of `message`."""
    sent_at = int(time.time()) if timestamp is None else timestamp
    payload = action_payload(
        action_id, value, message=message, user=user, team=team, channel=channel, trigger_id=trigger_id
    )
    return signed_interaction(signing_secret, payload, sent_at)


def signed_interaction(secret: str, payload: Json, timestamp: int | None = None) -> tuple[dict[str, str], bytes]:
    """Headers and body of any interaction."""
    body = urlencode({"payload": json.dumps(payload)}).encode()
    return sign(secret, body, int(time.time()) if timestamp is None else timestamp), body


def action_payload(
    action_id: str,
    value: str,
    *,
    message: Posted | None = None,
    view: Json | None = None,
    user: str = "U1",
    team: str = "T1",
    channel: str = "C1",
    trigger_id: str = "12466734323.1395872398.8088930838d88f008e1",
    response_url: str = "http://127.0.0.1:9/actions",
) -> Json:
    """A click in a message of a channel, in an ephemeral one (no `message`), or in a view."""
    sent_at = int(time.time())
    clicked = {
        "type": "button", "action_id": action_id, "block_id": "b1", "value": value, "action_ts": f"{sent_at}.000001",
        "text": {"type": "plain_text", "text": action_id, "emoji": False},
    }  # fmt: skip
    if view is not None:
        place: Json = {"view": view, "container": {"type": "view", "view_id": view["id"]}}
    else:
        ts = message.ts if message else "1.000001"
        container = {"type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": message is None}
        place = {"channel": {"id": channel, "name": "backups"}, "container": container, "response_url": response_url}
    return {
        "type": "block_actions", "api_app_id": "A1", "token": "unused", "trigger_id": trigger_id,
        "team": {"id": team, "domain": "test"}, "user": {"id": user, "username": user.lower(), "team_id": team},
        "enterprise": None, "is_enterprise_install": False, "state": {"values": {}}, "actions": [clicked], **place,
        **({"message": message.as_json()} if message else {}),
    }  # fmt: skip
