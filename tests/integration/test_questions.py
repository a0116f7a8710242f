"""A question for a second person, whoever asked it: in the channel, also after a restart, until it is over."""

import asyncio
import json
from datetime import timedelta

import pytest

from bot.console.content import restored
from jobs.clock import now
from jobs.models import Confirmation, ConsoleMessage, Job, QuestionMessage, RoleBinding, Setting
from tests.fakes.channels import CHANNELS, named
from tests.fakes.instance import instance, repository_row, settings_for, until


@pytest.fixture(params=CHANNELS)
async def chat(request):
    async with CHANNELS[request.param]() as channel:
        yield channel


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
    assert "Prune of photos waits for a second person (confirmation 1)" in text
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
        assert "It is job #1" in chat.shown()[0]
        assert (names(chat, chat.other), chat.buttons()) == (True, [])
        await until(lambda: len(chat.shown()) > 1)
        assert f"Confirmed by {named(chat.other)}" in chat.shown()[1]
        assert "it is job #1. Cancel that" in await chat.click(running, chat.other, "request.dismiss", "1")
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
        assert (names(chat, chat.subject), chat.buttons()) == (way == "dismissed", [])
        await until_settled()
        assert await Job.all().count() == 0


def names(chat, subject):
    return named(subject) in chat.shown()[0]


async def until_settled():
    async with asyncio.timeout(10):
        while await QuestionMessage.filter(settled=False).exists():
            await asyncio.sleep(0.01)
