"""Discord as a chat platform: a job's card in the channel, and a thread started from it.

https://docs.discord.com/developers/resources/message and …/resources/channel#start-thread-from-message.

A post whose answer was lost may have been made. So every post carries a nonce made of the job and the part, at most 25
characters: within some minutes Discord answers a second post with the first message (`enforce_nonce`). Later it is
found by its footer. The thread has its first message's id; the address of a message in it is `THREAD/MESSAGE`.
"""

from contextlib import suppress
from typing import Any, Self

from bot.card import Message, Part
from bot.discord.markdown import plain_start, start
from bot.discord.render import NOBODY, identity, render
from bot.discord.rest import (
    API_URL,
    TIMEOUT_S,
    ContentRefused,
    DiscordRest,
    ThreadArchived,
    ThreadExists,
    UnknownChannel,
)
from bot.platform import ChannelRefused, MessageGone, Refused

ARCHIVED_AFTER_MIN = 1440
THREAD_NAME_LIMIT, PLAIN_LIMIT = 100, 1_000
SILENT = 1 << 12
"""SUPPRESS_NOTIFICATIONS: https://docs.discord.com/developers/resources/message#message-object-message-flags"""
PAGE_SIZE, PAGES = 100, 5


class DiscordPlatform:
    """Posts as the bot that `token` belongs to. Make it inside the running event loop; `close` it."""

    name = "discord"

    def __init__(self, token: str, api_url: str = API_URL, timeout_s: float = TIMEOUT_S) -> None:
        self._rest = DiscordRest(token, api_url, timeout_s)
        self._own_id: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    async def post(self, channel: str, thread: str | None, message: Message) -> str:
        """Post into `discord:GUILD:CHANNEL`, or into the thread of the message `thread`, started if need be."""
        channel_id = _channel_id(channel)
        if thread is None:
            try:
                return await self._send(channel_id, message)
            except UnknownChannel as error:
                raise ChannelRefused(str(error)) from error
        await self._start_thread(channel_id, thread, message)
        return f"{thread}/{await self._send(thread, message)}"

    async def edit(self, channel: str, address: str, message: Message) -> None:
        """Replace embed and buttons of the message."""
        place, message_id = _place(channel, address)
        await self._edit(place, message_id, message)

    async def find(self, channel: str, thread: str | None, message: Message) -> str | None:
        """The address of this bot's message for the same job and part among the newest 500 there."""
        place = thread or _channel_id(channel)
        try:
            found = await self._search(place, identity(message))
        except (MessageGone, Refused):  # no thread, or nothing of it can be read
            return None
        return f"{thread}/{found}" if found and thread else found

    async def delete(self, channel: str, address: str) -> None:
        """Delete the message; one that is gone already is no error."""
        place, message_id = _place(channel, address)
        with suppress(MessageGone):
            await self._rest.call("DELETE", f"/channels/{place}/messages/{message_id}", limit=f"delete:{place}")

    async def _send(self, place: str, message: Message) -> str:
        """The id of the new message, or of the one that an earlier call made, which then shows what this one would."""
        content = render(message)
        try:
            posted = await self._create(place, message, content)
        except ContentRefused:
            content = _as_text(message)
            posted = await self._create(place, message, content)
        if _shown(posted) != _shown(content):
            await self._edit(place, posted["id"], message)
        return str(posted["id"])

    async def _create(self, place: str, message: Message, content: dict[str, Any]) -> dict[str, Any]:
        body = {**content, "nonce": _nonce(message), "enforce_nonce": True}
        if message.part is Part.PROGRESS:
            body["flags"] = SILENT
        posted = await self._rest.call("POST", f"/channels/{place}/messages", body, limit=f"post:{place}")
        return dict(posted)

    async def _edit(self, place: str, message_id: str, message: Message) -> None:
        path, limit = f"/channels/{place}/messages/{message_id}", f"edit:{place}"
        try:
            await self._rest.call("PATCH", path, render(message), limit=limit)
        except ThreadArchived:
            await self._rest.call("PATCH", f"/channels/{place}", {"archived": False})
            await self._rest.call("PATCH", path, render(message), limit=limit)
        except ContentRefused:
            await self._rest.call("PATCH", path, _as_text(message), limit=limit)

    async def _start_thread(self, channel_id: str, root: str, message: Message) -> None:
        body = {
            "name": plain_start(f"#{message.job_id} {message.headline}", THREAD_NAME_LIMIT),
            "auto_archive_duration": ARCHIVED_AFTER_MIN,
        }
        with suppress(ThreadExists):
            path = f"/channels/{channel_id}/messages/{root}/threads"
            await self._rest.call("POST", path, body, limit=f"thread:{channel_id}")

    async def _search(self, place: str, wanted: str) -> str | None:
        own_id, before = await self._own(), None
        for _ in range(PAGES):
            query = {"limit": str(PAGE_SIZE)} | ({"before": before} if before else {})
            page = await self._rest.call("GET", f"/channels/{place}/messages", query=query, limit=f"search:{place}")
            for found in page:
                if found["author"]["id"] == own_id and wanted in _footers(found):
                    return str(found["id"])
            if len(page) < PAGE_SIZE:
                break
            before = str(page[-1]["id"])
        return None

    async def _own(self) -> str:
        if self._own_id is None:
            self._own_id = str((await self._rest.call("GET", "/users/@me"))["id"])
        return self._own_id


def _nonce(message: Message) -> str:
    about = f"c{message.confirmation_id}" if message.job_id is None else str(message.job_id)
    return f"{about}-{message.part}"


def _as_text(message: Message) -> dict[str, Any]:
    """The message where Discord refuses its layout, which it then has not shown: late is worse."""
    embed = {"description": start(message.text, PLAIN_LIMIT), "footer": {"text": identity(message)}}
    return {"embeds": [embed], "components": [], "allowed_mentions": NOBODY}


def _shown(content: dict[str, Any]) -> list[tuple[str, str]]:
    """What tells one state of a message from another, blanks at the ends apart, which Discord takes away."""
    embeds = content.get("embeds") or ()
    return [(embed.get("title", "").strip(), embed.get("description", "").strip()) for embed in embeds]


def _footers(found: dict[str, Any]) -> list[str]:
    return [(embed.get("footer") or {}).get("text", "") for embed in found.get("embeds") or ()]


def _channel_id(channel: str) -> str:
    platform, _, place = channel.partition(":")
    guild, _, channel_id = place.partition(":")
    if platform != "discord" or not guild.isdecimal() or not channel_id.isdecimal():
        raise ChannelRefused(f"{channel!r} is no Discord channel; it is written discord:GUILD:CHANNEL.")
    return channel_id


def _place(channel: str, address: str) -> tuple[str, str]:
    """The channel or thread that the message is in, and its id."""
    thread, _, message_id = address.rpartition("/")
    return thread or _channel_id(channel), message_id
