"""Slack as a chat platform: calls of its Web API, each made once, and its errors in the words of the port.

Methods and error codes: https://docs.slack.dev/reference/methods (chat.postMessage, chat.update, chat.delete,
chat.postEphemeral, conversations.history, conversations.replies, auth.test); limits: https://docs.slack.dev/apis/web-api/rate-limits.

Nothing is repeated here: a `chat.postMessage` whose answer was lost may have been posted, so the caller looks for it
first (`find`), by the metadata that every message of ours carries. 429 is an error that says when to come back.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.card import Message
from bot.platform import ChannelRefused, ChatError, MessageGone
from bot.slack.render import EVENT_TYPE, identity, render

API_URL = "https://slack.com/api/"
TIMEOUT_S = 10.0
RETRY_AFTER_S = 10.0
"""Waited after a 429 that does not say how long."""
PAGE_SIZE, PAGES = 200, 5
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_log = structlog.get_logger()


class _ContentRefusedError(ChatError):
    """Slack does not take the message as it is laid out."""


_INVITE = "invite the bot to the channel with /invite"
_REINSTALL = "reinstall the app to the workspace and set the new SLACK_BOT_TOKEN"
_ERRORS: dict[str, tuple[type[ChatError], str]] = {
    "message_not_found": (MessageGone, "the message was deleted"),
    "cant_update_message": (MessageGone, "the message can't be edited by this bot"),
    "edit_window_closed": (MessageGone, "the workspace does not allow edits of a message this old"),
    "thread_not_found": (MessageGone, "the thread's first message was deleted"),
    "cannot_reply_to_message": (MessageGone, "the message can't have a thread"),
    "cant_delete_message": (MessageGone, "the message can't be deleted by this bot"),
    "channel_not_found": (ChannelRefused, f"the channel does not exist or is private; {_INVITE}"),
    "not_in_channel": (ChannelRefused, f"the bot is not in the channel; {_INVITE}"),
    "is_archived": (ChannelRefused, "the channel is archived; choose another one"),
    "messages_tab_disabled": (ChannelRefused, "the app takes no direct messages; switch its messages tab on"),
    "restricted_action": (ChannelRefused, "the workspace lets only some members post there; ask its owner"),
    "restricted_action_read_only_channel": (ChannelRefused, "the channel is read-only; choose another one"),
    "restricted_action_thread_locked": (ChannelRefused, "the thread is locked; unlock it"),
    "restricted_action_non_threadable_channel": (ChannelRefused, "the channel has no threads; choose another one"),
    "restricted_action_thread_only_channel": (ChannelRefused, "the channel takes replies only; choose another one"),
    "team_access_not_granted": (ChannelRefused, f"the app has no access to the workspace; {_REINSTALL}"),
    "access_denied": (ChannelRefused, "the workspace refuses the app; ask its owner"),
    "no_permission": (ChannelRefused, f"the token lacks the right; {_REINSTALL}"),
    "missing_scope": (ChannelRefused, "the token lacks a scope; `locutus doctor` names it"),
    "not_authed": (ChannelRefused, "no token was sent; set SLACK_BOT_TOKEN"),
    "invalid_auth": (ChannelRefused, f"the token is not valid; {_REINSTALL}"),
    "account_inactive": (ChannelRefused, f"the app was removed from the workspace; {_REINSTALL}"),
    "token_expired": (ChannelRefused, f"the token has expired; {_REINSTALL}"),
    "token_revoked": (ChannelRefused, f"the token was revoked; {_REINSTALL}"),
    "not_allowed_token_type": (ChannelRefused, "the token is of the wrong type; SLACK_BOT_TOKEN begins with xoxb-"),
    "invalid_blocks": (_ContentRefusedError, "the layout of the message is not valid"),
    "invalid_blocks_format": (_ContentRefusedError, "the layout of the message is not valid"),
    "msg_blocks_too_long": (_ContentRefusedError, "the layout of the message is too long"),
    "ratelimited": (ChatError, "too many calls"),
}


class SlackPlatform:
    """Posts as the bot that `token` belongs to. Make it inside the running event loop; `close` it, or use `async with`.

    Of the environment's proxies the one for `api_url` is used, unless NO_PROXY names its host or it is this machine.
    """

    name = "slack"

    def __init__(self, token: str, api_url: str = API_URL, timeout_s: float = TIMEOUT_S) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s))
        self._client = AsyncWebClient(token, api_url, session=self._session, retry_handlers=[])
        # The SDK itself takes any proxy of the environment for any URL and knows no NO_PROXY.
        self._client.proxy = _proxy(api_url)
        self._bot_id: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def post(self, channel: str, thread: str | None, message: Message) -> str:
        """Post into `slack:TEAM:CHANNEL`, under the message with the ts `thread` if given; returns the new ts."""
        arguments = {"channel": _channel_id(channel), "thread_ts": thread}
        return _ts(await self._send(self._client.chat_postMessage, arguments, render(message)))

    async def edit(self, channel: str, address: str, message: Message) -> None:
        """Replace text, blocks and metadata of the message with the ts `address`."""
        arguments = {"channel": _channel_id(channel), "ts": address}
        await self._send(self._client.chat_update, arguments, render(message))

    async def find(self, channel: str, thread: str | None, message: Message) -> str | None:
        """The ts of this bot's message for the same job and part among the newest 1,000 there (a thread: the first)."""
        try:
            return await self._search({"channel": _channel_id(channel), "ts": thread}, identity(message))
        except MessageGone:  # no thread, so nothing in it
            return None

    async def delete(self, channel: str, address: str) -> None:
        """Delete the message with the ts `address`; one that is gone already is no error."""
        try:
            await _call(self._client.chat_delete, channel=_channel_id(channel), ts=address)
        except MessageGone:
            return

    async def whisper(self, channel: str, user: str, text: str) -> None:
        """Show `text`, which is mrkdwn, to `user` alone in `slack:TEAM:CHANNEL`; a failure is logged, never raised."""
        try:
            await _call(self._client.chat_postEphemeral, channel=_channel_id(channel), user=user, text=text)
        except ChatError as error:
            _log.warning("slack_whisper_failed", channel=channel, user=user, reason=str(error))

    async def _send(self, method: "_Method", arguments: dict[str, Any], content: dict[str, Any]) -> Mapping[str, Any]:
        """Send laid out; if Slack refuses the layout, which it then has not shown, as plain text: late is worse."""
        try:
            return await _call(method, **arguments, **content)
        except _ContentRefusedError:
            return await _call(method, **arguments, **{**content, "blocks": []})

    async def _search(self, place: dict[str, Any], wanted: dict[str, int | str]) -> str | None:
        method = self._client.conversations_replies if place["ts"] else self._client.conversations_history
        bot_id, cursor = await self._own_bot_id(), None
        for _ in range(PAGES):
            page = await _call(method, **place, include_all_metadata=True, limit=PAGE_SIZE, cursor=cursor)
            for found in page.get("messages") or ():
                if found.get("bot_id") == bot_id and _is_about(found, wanted):
                    return _ts(found)
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
        return None

    async def _own_bot_id(self) -> str | None:
        if self._bot_id is None:
            self._bot_id = (await _call(self._client.auth_test)).get("bot_id")
        return self._bot_id


_Method = Callable[..., Awaitable[Any]]


async def _call(method: _Method, **arguments: Any) -> Mapping[str, Any]:
    """One call, made once; every way in which it can fail becomes a `ChatError`."""
    try:
        answer: Mapping[str, Any] = (await method(**arguments)).data
    except SlackApiError as error:
        raise _chat_error(error.response) from error
    except TimeoutError as error:
        raise ChatError("Slack did not answer in time.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ChatError(f"Slack could not be reached ({type(error).__name__}).") from error
    except (AttributeError, ValueError) as error:  # the SDK, of an answer that is not a JSON object
        raise ChatError("What answered for Slack did not speak its language; is there a proxy in between?") from error
    return answer


def _chat_error(response: Any) -> ChatError:
    """The error that an answer with `ok: false`, or with another status than 200, stands for."""
    data = getattr(response, "data", None)
    code = data.get("error") if isinstance(data, dict) else None
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    if status == 429:
        code = "ratelimited"
    kind, reason = _ERRORS.get(code or "", (ChatError, "its service failed" if not code else "the call failed"))
    said = f"Slack did not do it: {reason} ({code or f'status {status}'})."
    return kind(said, retry_after_s=_retry_after_s(response) if code == "ratelimited" else None)


def _retry_after_s(response: Any) -> float:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return RETRY_AFTER_S


def _channel_id(channel: str) -> str:
    platform, _, place = channel.partition(":")
    team, _, channel_id = place.partition(":")
    if platform != "slack" or not team or not channel_id:
        raise ChannelRefused(f"{channel!r} is no Slack channel; it is written slack:TEAM:CHANNEL.")
    return channel_id


def _is_about(found: Mapping[str, Any], wanted: Mapping[str, int | str]) -> bool:
    metadata = found.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    return metadata.get("event_type") == EVENT_TYPE and all(payload.get(key) == wanted[key] for key in wanted)


def _ts(answer: Mapping[str, Any]) -> str:
    ts = answer.get("ts")
    if not isinstance(ts, str):
        raise ChatError("Slack's answer names no message.")
    return ts


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _LOOPBACK or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
