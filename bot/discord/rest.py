"""Calls of Discord's HTTP API, each made once, and its errors in the words of the port.

https://docs.discord.com/developers/reference#http-api; error codes:
https://docs.discord.com/developers/topics/opcodes-and-status-codes#json; limits:
https://docs.discord.com/developers/topics/rate-limits.

Nothing is repeated here and nothing waits: a 429, or a call that would be answered with one, is an error that says when
to come back. Interactions are answered with a token of their own, all else as the bot.
"""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import aiohttp

from bot.discord.permissions import NEEDED
from bot.platform import AccountRefused, ChannelRefused, ChatError, MessageGone
from bot.proxy import proxy_for

API_URL = "https://discord.com/api/v10"
USER_AGENT = "DiscordBot (https://locutus.example.org, 0.1)"
TIMEOUT_S = 10.0
RETRY_AFTER_S = 10.0
"""Waited after a 429 that does not say how long."""
UNKNOWN_CHANNEL, THREAD_ARCHIVED, THREAD_EXISTS = 10003, 50083, 160004
_ALLOW = "allow the bot in the channel's permissions"
_NO_THREADS = "this kind of channel has no threads; choose a text channel"
_TOKEN = "the token is not valid; copy it from the application's Bot page and set DISCORD_TOKEN"  # noqa: S105

Json = dict[str, Any]


class UnknownChannel(MessageGone):
    """The channel or thread does not exist."""


class ThreadArchived(ChatError):
    """The thread must be opened again before anything in it can be changed."""


class ThreadExists(ChatError):
    """The message has its thread already."""


class ContentRefused(ChatError):
    """Discord does not take the message as it is laid out."""


_ERRORS: Mapping[int, tuple[type[ChatError], str]] = {
    UNKNOWN_CHANNEL: (UnknownChannel, "the channel was deleted, or the bot can't see it"),
    10008: (MessageGone, "the message was deleted"),
    10062: (ChatError, "the interaction is unknown or its three seconds are over"),
    30046: (ChatError, "the message is older than an hour and was edited too often"),
    40001: (AccountRefused, _TOKEN),
    40058: (ChannelRefused, _NO_THREADS),
    40060: (ChatError, "the interaction was answered already"),
    50001: (ChannelRefused, f"the bot may not view the channel; {_ALLOW}: View Channel"),
    50005: (MessageGone, "the message is not the bot's"),
    50008: (ChannelRefused, _NO_THREADS),
    50013: (ChannelRefused, f"the bot lacks a permission; {_ALLOW}: {', '.join(NEEDED)}"),
    50014: (AccountRefused, _TOKEN),
    50024: (ChannelRefused, _NO_THREADS),
    50027: (ChatError, "the interaction's fifteen minutes are over"),
    50035: (ContentRefused, "the layout of the message is not valid"),
    THREAD_ARCHIVED: (ThreadArchived, "the thread is archived"),
    THREAD_EXISTS: (ThreadExists, "the message has a thread already"),
    160005: (ChannelRefused, "the thread is locked; unlock it"),
    160006: (ChatError, "the server has too many active threads; archive some"),
    200000: (ChannelRefused, "AutoMod blocks the message; exempt the bot from the rule"),
    200001: (ChannelRefused, "AutoMod blocks the thread's name; exempt the bot from the rule"),
}


class DiscordRest:
    """Calls as the bot that `token` belongs to; None: only to answer interactions, which have tokens of their own.

    Make it inside the running event loop; `close` it, or use `async with`. Of the environment's proxies the one for
    `api_url` is used.
    """

    def __init__(self, token: str | None, api_url: str = API_URL, timeout_s: float = TIMEOUT_S) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            headers={"User-Agent": USER_AGENT} | ({"Authorization": f"Bot {token}"} if token else {}),
            proxy=proxy_for(api_url),
        )
        self._api_url = api_url.rstrip("/")
        self._free_at_s: dict[str, float] = {}
        self.answered_at: str | None = None
        """Discord's own time of its last answer, as its `Date` says it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def call(
        self, method: str, path: str, body: Any = None, *, limit: str = "", query: Mapping[str, str] | None = None
    ) -> Any:
        """One call, made once; its JSON, None where the answer has no content.

        Calls with the same `limit` share a rate limit. Raises `ChatError`.
        """
        self._require_free(limit)
        url = f"{self._api_url}{path}"
        try:
            async with self._session.request(method, url, json=body, params=query) as response:
                self.answered_at = response.headers.get("Date")
                if response.headers.get("X-RateLimit-Remaining") == "0":
                    self._pause(limit, _seconds(response.headers.get("X-RateLimit-Reset-After")) or 0.0)
                answer = None if response.status == HTTPStatus.NO_CONTENT else await response.json(content_type=None)
        except TimeoutError as error:
            raise ChatError("Discord did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ChatError(f"Discord could not be reached ({type(error).__name__}).") from error
        except ValueError as error:
            raise ChatError(
                f"What answered for Discord (status {response.status}) did not speak its language; "
                "is there a proxy in between?"
            ) from error
        if response.status >= HTTPStatus.BAD_REQUEST:
            refusal = _chat_error(response, answer if isinstance(answer, dict) else {})
            self._pause(limit, refusal.retry_after_s or 0.0)
            raise refusal
        return answer

    def _require_free(self, limit: str) -> None:
        wait_s = self._free_at_s.get(limit, 0.0) - time.monotonic()
        if wait_s > 0:
            raise ChatError("Discord takes no more calls there for now.", retry_after_s=wait_s, everywhere=False)

    def _pause(self, limit: str, wait_s: float) -> None:
        """Make no such call before `wait_s` seconds have passed."""
        if limit and wait_s:
            now_s = time.monotonic()
            self._free_at_s = {name: at_s for name, at_s in self._free_at_s.items() if at_s > now_s}
            self._free_at_s[limit] = max(now_s + wait_s, self._free_at_s.get(limit, 0.0))


def _chat_error(response: aiohttp.ClientResponse, said: Json) -> ChatError:
    code, status = _code(said), response.status
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _too_many(response.headers, said)
    kind, reason = _ERRORS.get(code, (ChatError, "its service failed" if status >= 500 else "the call failed"))
    if status == HTTPStatus.UNAUTHORIZED and not code:
        kind, reason = AccountRefused, _TOKEN
    return kind(f"Discord did not do it: {reason} ({f'code {code}' if code else f'status {status}'}).")


def _too_many(headers: Mapping[str, str], said: Json) -> ChatError:
    """A 429; one for the whole bot (`global`, or Cloudflare's, whose answer is not Discord's) concerns all calls."""
    wait_s = _seconds(said.get("retry_after")) or _seconds(headers.get("Retry-After")) or RETRY_AFTER_S
    reason = _ERRORS.get(_code(said), (ChatError, "too many calls"))[1]
    everywhere = bool(said.get("global", True))
    return ChatError(f"Discord did not do it: {reason} (status 429).", retry_after_s=wait_s, everywhere=everywhere)


def _code(said: Json) -> int:
    """Discord's own code of an error; 0 where it has none."""
    return said["code"] if isinstance(said.get("code"), int) else 0


def _seconds(value: Any) -> float | None:
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return None
