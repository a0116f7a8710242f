"""The ways into the chat that must all do and say the same: each says a command, clicks a button, asks for choices.

A further platform joins by a class with these methods and a line in `FACES`.
"""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from bot import wording
from bot.commands import COMMANDS, grammar
from bot.commands.declaration import FlagType
from bot.discord.app import PATH as INTERACTIONS
from bot.discord.app import DiscordEndpoint
from bot.discord.command_tree import NUMBERED, registration
from bot.discord.gateway import DiscordGateway
from bot.discord.interactions import DiscordInteractions
from bot.slack.app import PATH, SlackEndpoint
from bot.slack.interactions import SlackInteractions
from bot.slack.replies import SlackReplies
from bot.slack.socket_mode import SlackSocket
from bot.slack.user_groups import UserGroups
from jobs.access import chat_principal
from jobs.errors import RequestRefusedError
from jobs.queue import Queue
from jobs.settings import Settings
from tests.conftest import free_port
from tests.fakes.discord import CHANNEL, GUILD, USER, FakeDiscord
from tests.fakes.slack import FakeSlack, action_payload, block_action, command_form, slash_command
from webhooks.app import GatewayContext, gateway

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
UNESCAPED = re.compile(r"\\([^a-zA-Z0-9\s])")


class UnsayableError(Exception):
    """The platform's own client would not send this."""


@dataclass(frozen=True)
class Told:
    """What somebody was told, and what they may click: (action, value)."""

    text: str
    buttons: tuple[tuple[str, str], ...] = ()


class Face(Protocol):
    """One person at one way in. `subject` holds their rights, `place` is where they ask.

    `say` raises `UnsayableError` for what the platform's client would not send.
    """

    subject: str
    place: str

    async def say(self, text: str) -> Told: ...
    async def click(self, action: str, value: str) -> Told: ...


def _as_written(text: str) -> str:
    """The text with moments as they stand where no reader's clock is known."""
    text = re.sub(r"<!date\^\d+\^[^|]*\|([^>]*)>", r"\1", text)
    return re.sub(r"<t:(\d+):F>", lambda found: wording.local(datetime.fromtimestamp(int(found[1]), UTC), UTC), text)


def _of_slack(answer: dict[str, Any]) -> Told:
    elements = [element for block in answer.get("blocks", ()) for element in block.get("elements", ())]
    buttons = [(element["action_id"], element["value"]) for element in elements if element["type"] == "button"]
    return Told(
        _as_written(answer["text"]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"), tuple(buttons)
    )


class SlackHttp:
    """Signed requests to the endpoint; a click's answer by its response_url or as a whisper."""

    subject, place = "slack:T1:U1", "slack:T1:C1"

    def __init__(self, slack: FakeSlack, http: aiohttp.ClientSession) -> None:
        self.slack, self.http, self.keys = slack, http, count()

    async def say(self, text: str) -> Told:
        answer = await self._post(*slash_command(SECRET, text, trigger_id=f"say-{next(self.keys)}"))
        return _of_slack(json.loads(answer) if answer.startswith("{") else {"text": answer})

    async def click(self, action: str, value: str) -> Told:
        card = self.slack.say("C1", "a card", bot_id="B1")
        answer = await self._post(
            *block_action(SECRET, action, value, message=card, trigger_id=f"click-{next(self.keys)}")
        )
        return _of_slack({"text": answer})

    async def _post(self, headers: dict[str, str], body: bytes) -> str:
        async with self.http.post(PATH, data=body, headers=headers) as response:
            assert response.status == 200
            return await response.text()


class SlackSockets(SlackHttp):
    """The same payloads over Socket Mode."""

    async def say(self, text: str) -> Told:
        form = command_form(text, trigger_id=f"say-{next(self.keys)}")
        return _of_slack(await self.slack.send("slash_commands", form))

    async def click(self, action: str, value: str) -> Told:
        card = self.slack.say("C1", "a card", bot_id="B1")
        payload = action_payload(action, value, message=card, trigger_id=f"click-{next(self.keys)}")
        return _of_slack(await self.slack.send("interactive", payload))


class Console:
    """The console's routes, with a token of the person's rights."""

    subject, place = "token:somebody", "console"

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http

    async def say(self, text: str) -> Told:
        return await self._told("/api/console/commands", {"text": text})

    async def click(self, action: str, value: str) -> Told:
        return await self._told("/api/console/clicks", {"action": action, "value": value})

    async def _told(self, path: str, body: dict[str, str]) -> Told:
        async with self.http.post(path, json=body) as response:
            answer = await response.json()
        assert response.status == 200, answer
        code = f"\n```\n{answer['code']}\n```" if answer["code"] else ""
        buttons = tuple((button["action"], button["value"]) for button in answer["buttons"])
        return Told(answer["text"] + code, buttons)


class DiscordHttp:
    """Signed interactions at the endpoint, of what Discord's client would send of a text."""

    subject, place = f"discord:{GUILD}:{USER}", f"discord:{GUILD}:{CHANNEL}"

    def __init__(self, discord: FakeDiscord, http: aiohttp.ClientSession) -> None:
        self.discord, self.http = discord, http

    async def say(self, text: str) -> Told:
        return await self._told(self.discord.payload(2, _options_of(self.discord, text)))

    async def click(self, action: str, value: str) -> Told:
        return await self._told(self.discord.payload(3, {"component_type": 2, "custom_id": f"{action}:{value}"}))

    async def _told(self, payload: dict[str, Any]) -> Told:
        response = await self._response(payload)
        if response["type"] == 9:
            raise UnsayableError("It asks for more.")
        data = response["data"]
        text = data["content"] or data["embeds"][0]["description"]
        buttons = [button["custom_id"].partition(":") for row in data["components"] for button in row["components"]]
        return Told(UNESCAPED.sub(r"\1", _as_written(text)), tuple((action, value) for action, _, value in buttons))

    async def _response(self, payload: dict[str, Any]) -> dict[str, Any]:
        headers, body = self.discord.signed(payload)
        async with self.http.post(INTERACTIONS, data=body, headers=headers) as response:
            assert response.status == 200
            return self.discord.check_answer(payload, await response.json())


class DiscordConnection(DiscordHttp):
    """The same interactions over the gateway connection."""

    async def _response(self, payload: dict[str, Any]) -> dict[str, Any]:
        return (await self.discord.send(payload)).responses[0]


def _options_of(discord: FakeDiscord, text: str) -> dict[str, Any]:
    """What Discord's client would send; it takes no command that is not there, and no value of another type."""
    try:
        command, words = grammar.command_of(grammar.split(text), COMMANDS)
        values = grammar.values_of(command, words)
        numbered = {word.name for word in command.positionals if word.type in NUMBERED}
        numbered |= {flag.name for flag in command.flags if flag.type is FlagType.INTEGER}
        options = {name: _option(value, is_number=name in numbered) for name, value in values.items()}
        return discord.command(command.name, **options)
    except (RequestRefusedError, AssertionError, ValueError) as error:
        raise UnsayableError(text) from error


def _option(value: Any, *, is_number: bool) -> Any:
    if isinstance(value, list):
        return shlex.join(value)
    return int(value.removeprefix("#")) if is_number else value


@asynccontextmanager
async def _discord_over(queue: Queue, settings: Settings, kind: type[DiscordHttp]) -> AsyncIterator[Face]:
    async with FakeDiscord() as discord:
        discord.commands = [registration(COMMANDS)]
        interactions = DiscordInteractions(discord.api_url)
        ways = [
            DiscordEndpoint(discord.public_key, interactions).add_routes,
            DiscordGateway(discord.token, discord.api_url, interactions).add_routes,
        ]
        async with _served(gateway(GatewayContext(settings, queue, None, ways))) as http:
            await discord.until(lambda: discord.sockets)
            yield kind(discord, http)


@asynccontextmanager
async def _slack_over(queue: Queue, settings: Settings, kind: type[SlackHttp]) -> AsyncIterator[Face]:
    async with FakeSlack() as slack:
        replies = SlackReplies(slack.token, slack.base_url)
        interactions = SlackInteractions(replies, groups=UserGroups(replies.members))
        ways = [
            SlackEndpoint(SECRET, interactions).add_routes,
            SlackSocket(slack.app_token, slack.base_url, interactions).add_routes,
        ]
        context = GatewayContext(settings, queue, None, ways)
        async with _served(gateway(context)) as http:
            await slack.until(lambda: slack.called("apps.connections.open"))
            await _until(lambda: slack.sockets)
            yield kind(slack, http)
            assert slack.faults == []


@asynccontextmanager
async def _console(queue: Queue, settings: Settings) -> AsyncIterator[Face]:
    local = await chat_principal(Console.subject)
    async with _served(gateway(GatewayContext(settings, queue), local=local)) as http:
        yield Console(http)


@asynccontextmanager
async def _served(application: web.Application) -> AsyncIterator[aiohttp.ClientSession]:
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            yield http
    finally:
        await runner.cleanup()


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


FACES: dict[str, Callable[[Queue, Settings], AbstractAsyncContextManager[Face]]] = {
    "slack over http": lambda queue, settings: _slack_over(queue, settings, SlackHttp),
    "slack over a socket": lambda queue, settings: _slack_over(queue, settings, SlackSockets),
    "discord over http": lambda queue, settings: _discord_over(queue, settings, DiscordHttp),
    "discord over a connection": lambda queue, settings: _discord_over(queue, settings, DiscordConnection),
    "console": _console,
}
