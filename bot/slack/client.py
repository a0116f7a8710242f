"""Slack as a chat platform: a thread's messages, by its Web API.

Nothing is repeated here: a `chat.postMessage` whose answer was lost may have been posted, so the caller looks for it
first (`find`), by the metadata that every message of ours carries. 429 is an error that says when to come back.
"""

from collections.abc import Mapping
from typing import Any, Self

import aiohttp

from bot.card import Message
from bot.platform import ChatError, MessageGone, Refused
from bot.slack.calls import API_URL, TIMEOUT_S, ContentRefusedError, Method, call, channel_id, web_client
from bot.slack.render import metadata, render

PAGE_SIZE, PAGES = 200, 5


class SlackPlatform:
    """Posts as the bot that `token` belongs to. Make it inside the running event loop; `close` it, or use `async with`.

    Of the environment's proxies the one for `api_url` is used, unless NO_PROXY names its host or it is this machine.
    """

    name = "slack"

    def __init__(self, token: str, api_url: str = API_URL, timeout_s: float = TIMEOUT_S) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s))
        self._client = web_client(token, api_url, self._session)
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
        arguments = {"channel": channel_id(channel), "thread_ts": thread}
        return _ts(await self._send(self._client.chat_postMessage, arguments, render(message)))

    async def edit(self, channel: str, address: str, message: Message) -> None:
        """Replace text, blocks and metadata of the message with the ts `address`."""
        arguments = {"channel": channel_id(channel), "ts": address}
        await self._send(self._client.chat_update, arguments, render(message))

    async def find(self, channel: str, thread: str | None, message: Message) -> str | None:
        """The ts of this bot's message for the same job and part among the newest 1,000 there (a thread: the first)."""
        try:
            return await self._search({"channel": channel_id(channel), "ts": thread}, metadata(message))
        except (MessageGone, Refused):
            # No thread, or nothing of it can be read, as in a public channel that the bot may post in unasked
            # (`chat:write.public`): a second card is better than a first one that nobody edits.
            return None

    async def delete(self, channel: str, address: str) -> None:
        """Delete the message with the ts `address`; one that is gone already is no error."""
        try:
            await call(self._client.chat_delete, channel=channel_id(channel), ts=address)
        except MessageGone:
            return

    async def _send(self, method: Method, arguments: dict[str, Any], content: dict[str, Any]) -> Mapping[str, Any]:
        """Send laid out; if Slack refuses the layout, which it then has not shown, as plain text: late is worse."""
        try:
            return await call(method, **arguments, **content)
        except ContentRefusedError:
            return await call(method, **arguments, **{**content, "blocks": []})

    async def _search(self, place: dict[str, Any], wanted: dict[str, Any]) -> str | None:
        method = self._client.conversations_replies if place["ts"] else self._client.conversations_history
        bot_id, cursor = await self._own_bot_id(), None
        for _ in range(PAGES):
            page = await call(method, **place, include_all_metadata=True, limit=PAGE_SIZE, cursor=cursor)
            for found in page.get("messages") or ():
                if found.get("bot_id") == bot_id and _is_about(found, wanted):
                    return _ts(found)
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
        return None

    async def _own_bot_id(self) -> str | None:
        if self._bot_id is None:
            self._bot_id = (await call(self._client.auth_test)).get("bot_id")
        return self._bot_id


def _is_about(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a message has this metadata, in whatever state it shows the job."""
    has = found.get("metadata") or {}
    payload = has.get("event_payload") or {}
    same = {name: value for name, value in wanted["event_payload"].items() if name != "status"}
    return has.get("event_type") == wanted["event_type"] and all(payload.get(name) == same[name] for name in same)


def _ts(answer: Mapping[str, Any]) -> str:
    ts = answer.get("ts")
    if not isinstance(ts, str):
        raise ChatError("Slack's answer names no message.")
    return ts
