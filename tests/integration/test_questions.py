"""A question for a second person, whoever asked it: in the channel, also after a restart, until it is over."""

import asyncio
import json
from datetime import timedelta

import pytest

from bot.commands import COMMANDS
from bot.console.content import restored
from bot.discord.app import PATH as INTERACTIONS
from bot.discord.command_tree import registration
from bot.slack.app import PATH as EVENTS
from jobs.clock import now
from jobs.models import Confirmation, ConsoleMessage, Job, QuestionMessage, RoleBinding, Setting
from tests.fakes.discord import CHANNEL, GUILD, FakeDiscord
from tests.fakes.instance import instance, repository_row, settings_for, until
from tests.fakes.slack import FakeSlack, action_payload, signed_interaction

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class Slack:
    """A person in a Slack channel; `shown` is what the channel shows, `told` what they alone were told."""

    subject, other, place = "slack:T1:U1", "slack:T1:U2", "slack:T1:C1"

    def __init__(self, fake):
        self.fake = fake
        self.settings = {
            "slack_bot_token": fake.token, "slack_signing_secret": SECRET, "slack_api_url": fake.base_url,
        }  # fmt: skip

    def shown(self):
        return [message.text for message in self.fake.messages["C1"]]

    def buttons(self):
        elements = [e for block in self.fake.messages["C1"][0].content["blocks"] for e in block.get("elements", ())]
        return [(each["action_id"], each["value"]) for each in elements if each["type"] == "button"]

    def names(self, subject):
        return f"<@{subject.rpartition(':')[2]}>" in json.dumps(self.fake.messages["C1"][0].content["blocks"])

    async def click(self, running, subject, action, value):
        user, trigger = subject.rpartition(":")[2], self.fake.trigger()
        message = self.fake.messages["C1"][0]
        payload = action_payload(action, value, message=message, user=user, trigger_id=trigger)
        headers, body = signed_interaction(SECRET, payload)
        async with running.http.post(EVENTS, data=body, headers=headers) as answer:
            assert answer.status == 200
            return await answer.text()


class Discord:
    """The same of Discord."""

    subject, other, place = f"discord:{GUILD}:300", f"discord:{GUILD}:301", f"discord:{GUILD}:{CHANNEL}"

    def __init__(self, fake):
        self.fake = fake
        self.settings = {
            "discord_token": fake.token, "discord_public_key": fake.public_key, "discord_api_url": fake.api_url,
        }  # fmt: skip

    def shown(self):
        return [message.text for message in self.fake.messages()]

    def buttons(self):
        rows = self.fake.messages()[0].content["components"]
        return [tuple(button["custom_id"].split(":")) for row in rows for button in row["components"]]

    def names(self, subject):
        return f"<@{subject.rpartition(':')[2]}>" in json.dumps(self.fake.messages()[0].embed)

    async def click(self, running, subject, action, value):
        data, user = {"component_type": 2, "custom_id": f"{action}:{value}"}, subject.rpartition(":")[2]
        message = self.fake.messages()[0].as_json() | {"flags": 0}
        payload = self.fake.payload(3, data, user=user, message=message)
        headers, body = self.fake.signed(payload)
        async with running.http.post(INTERACTIONS, data=body, headers=headers) as answer:
            response = self.fake.check_answer(payload, await answer.json())
        assert (response["type"], response["data"]["flags"]) == (4, 64), "the channel's message is the reporter's"
        return response["data"]["content"]


@pytest.fixture(params=["slack", "discord"])
async def chat(request):
    if request.param == "slack":
        async with FakeSlack() as slack:
            yield Slack(slack)
    else:
        async with FakeDiscord() as discord:
            discord.commands = [registration(COMMANDS)]
            yield Discord(discord)


@pytest.fixture
def settings(tmp_path, database_url, redis_url, chat):
    return settings_for(tmp_path, database_url, redis_url, **chat.settings)


@pytest.fixture
def sqlite_settings(tmp_path, sqlite_url, redis_url, chat):
    return settings_for(tmp_path, sqlite_url, redis_url, **chat.settings)


async def ask(running, chat, tmp_path):
    """By the API, as a pipeline does."""
    (tmp_path / "home").mkdir(exist_ok=True)
    await repository_row("photos", tmp_path / "repo", [tmp_path / "home"], channel=chat.place)
    await Setting.create(name="two_person", value=json.dumps(["prune"]))
    for subject in (chat.subject, chat.other):
        await RoleBinding.create(subject=subject, role="administer")
    status, asked = await running.call("POST", "/api/repositories/photos/prune", json={"keep_daily": 7})
    assert (status, asked["confirmation_id"]) == (202, 1), asked
    await until(chat.shown)
    (text,) = chat.shown()
    assert "Prune of photos waits for a second person (confirmation 1)" in plain(text)
    assert "Somebody else with the right must confirm by" in text
    assert chat.buttons() == [("request.confirm", "1"), ("request.dismiss", "1")]


async def test_question_stands_in_the_channel_and_its_click_works_after_a_restart(settings, chat, tmp_path):
    async with instance(settings) as running:
        await ask(running, chat, tmp_path)
        assert "locutus grant" in await chat.click(running, f"{chat.subject}9", "request.confirm", "1")
    async with instance(settings) as running:
        told = [await chat.click(running, chat.other, "request.confirm", "1") for _ in range(2)]
        assert told[0] == told[1]
        assert told[0].startswith("Job #1 is queued")
        assert await Job.all().count() == 1
        await until(lambda: "was confirmed" in chat.shown()[0])
        assert "It is job #1" in plain(chat.shown()[0])
        assert (chat.names(chat.other), chat.buttons()) == (True, [])
        assert "it is job #1. Cancel that" in plain(await chat.click(running, chat.other, "request.dismiss", "1"))
        await running.ended(1)
        console = restored((await ConsoleMessage.get(confirmation_id=1)).content)
        assert (console.status, console.buttons) == ("confirmed", ())


@pytest.mark.parametrize("way", ["dismissed", "expired"])
async def test_question_says_that_nothing_was_done_and_who_said_so(sqlite_settings, chat, tmp_path, way):
    async with instance(sqlite_settings) as running:
        await ask(running, chat, tmp_path)
        if way == "dismissed":
            assert "nothing was done" in await chat.click(running, chat.subject, "request.dismiss", "1")
        else:
            await Confirmation.all().update(expires_at=now() - timedelta(seconds=1))
        await until(lambda: way in chat.shown()[0])
        assert "Nothing was done" in chat.shown()[0]
        assert (chat.names(chat.subject), chat.buttons()) == (way == "dismissed", [])
        await until_settled()
        assert await Job.all().count() == 0


async def until_settled():
    async with asyncio.timeout(10):
        while await QuestionMessage.filter(settled=False).exists():
            await asyncio.sleep(0.01)


def plain(text):
    """Without what keeps Discord from formatting it."""
    return text.replace("\\", "")
