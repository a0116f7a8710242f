"""A channel of a chat platform as the people in it see it, and their clicks as the platform signs them.

A further platform joins by a class like these and a line in `CHANNELS`.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from bot.commands import COMMANDS
from bot.discord.app import PATH as INTERACTIONS
from bot.discord.command_tree import registration
from bot.slack.app import PATH as EVENTS
from tests.fakes.discord import CHANNEL, GUILD, FakeDiscord
from tests.fakes.instance import Instance
from tests.fakes.slack import FakeSlack, action_payload, signed_interaction

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class Channel(Protocol):
    """`subject` and `other` are two people in it; messages are counted from 0, oldest first."""

    subject: str
    other: str
    place: str
    settings: dict[str, Any]

    def shown(self) -> list[str]:
        """All that each message shows, people as `<@ID>`, without what keeps a text from being formatted."""

    def buttons(self, number: int = 0) -> list[tuple[str, str]]: ...
    async def click(self, running: Instance, subject: str, action: str, value: str, number: int = 0) -> str:
        """What the person alone was told after a click on a button of a message."""


class SlackChannel:
    """A channel in Slack, and its threads."""

    subject, other, place = "slack:T1:U1", "slack:T1:U2", "slack:T1:C1"

    def __init__(self, slack: FakeSlack) -> None:
        self.slack = slack
        self.settings = {
            "slack_bot_token": slack.token, "slack_signing_secret": SECRET, "slack_api_url": slack.base_url,
        }  # fmt: skip

    def shown(self) -> list[str]:
        return [plain("\n".join(_texts(message.content["blocks"]))) for message in self.slack.messages["C1"]]

    def buttons(self, number: int = 0) -> list[tuple[str, str]]:
        blocks = self.slack.messages["C1"][number].content["blocks"]
        elements = [element for block in blocks for element in block.get("elements", ())]
        return [(each["action_id"], each["value"]) for each in elements if each["type"] == "button"]

    async def click(self, running: Instance, subject: str, action: str, value: str, number: int = 0) -> str:
        user, message = subject.rpartition(":")[2], self.slack.messages["C1"][number]
        payload = action_payload(action, value, message=message, user=user, trigger_id=self.slack.trigger())
        headers, body = signed_interaction(SECRET, payload)
        async with running.http.post(EVENTS, data=body, headers=headers) as answer:
            assert answer.status == 200
            return await answer.text()


class DiscordChannel:
    """A channel in Discord, without its threads."""

    subject, other, place = f"discord:{GUILD}:300", f"discord:{GUILD}:301", f"discord:{GUILD}:{CHANNEL}"

    def __init__(self, discord: FakeDiscord) -> None:
        self.discord = discord
        self.settings = {
            "discord_token": discord.token, "discord_public_key": discord.public_key,
            "discord_api_url": discord.api_url,
        }  # fmt: skip

    def shown(self) -> list[str]:
        return [plain(message.text) for message in self.discord.messages()]

    def buttons(self, number: int = 0) -> list[tuple[str, str]]:
        found = [each.partition(":") for each in self.discord.messages()[number].buttons]
        return [(action, value) for action, _, value in found]

    async def click(self, running: Instance, subject: str, action: str, value: str, number: int = 0) -> str:
        data, user = {"component_type": 2, "custom_id": f"{action}:{value}"}, subject.rpartition(":")[2]
        message = self.discord.messages()[number].as_json() | {"flags": 0}
        payload = self.discord.payload(3, data, user=user, message=message)
        headers, body = self.discord.signed(payload)
        async with running.http.post(INTERACTIONS, data=body, headers=headers) as answer:
            response = self.discord.check_answer(payload, await answer.json())
        assert (response["type"], response["data"]["flags"]) == (4, 64), "the channel's message is the reporter's"
        return plain(response["data"]["content"])


def named(subject: str) -> str:
    """A person as both platforms write a mention."""
    return f"<@{subject.rpartition(':')[2]}>"


def plain(text: str) -> str:
    """Without what formats it in Slack, and what keeps Discord from formatting it."""
    return re.sub(r"[\\*]", "", text)


def _texts(content: Any) -> list[str]:
    if isinstance(content, dict):
        content = [content["text"]] if isinstance(content.get("text"), str) else list(content.values())
    if isinstance(content, list):
        return [text for part in content for text in ([part] if isinstance(part, str) else _texts(part))]
    return []


@asynccontextmanager
async def _slack() -> AsyncIterator[SlackChannel]:
    async with FakeSlack() as slack:
        yield SlackChannel(slack)


@asynccontextmanager
async def _discord() -> AsyncIterator[DiscordChannel]:
    async with FakeDiscord() as discord:
        discord.commands = [registration(COMMANDS)]
        yield DiscordChannel(discord)


CHANNELS: dict[str, Callable[[], AbstractAsyncContextManager[Channel]]] = {"slack": _slack, "discord": _discord}
