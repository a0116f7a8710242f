"""A question for a second person, whoever asked it: in the channel, also after a restart, until it is over."""

import asyncio
import contextlib
import json
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from bot.console.content import restored
from bot.slack.client import SlackPlatform
from jobs import confirmations, runtime_settings
from jobs.access import Role, everywhere
from jobs.clock import now
from jobs.database.unit import unit
from jobs.models import Confirmation, ConsoleMessage, Job, QuestionMessage, RoleBinding, Setting
from jobs.submit import JobRequest, submit_or_ask
from tests.fakes.channels import CHANNELS, named
from tests.fakes.instance import instance, repository_row, settings_for, until
from tests.fakes.slack import POST, FakeSlack
from worker import posting, questions
from worker.budget import Budget
from worker.questions import Questions

ADMIN = everywhere("token:admin", Role.ADMINISTER)


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


@pytest.fixture
async def slack(opened_sqlite, monkeypatch):
    monkeypatch.setattr(posting, "FAILURE_DELAY_S", 0.01)
    monkeypatch.setattr(questions, "LOOK_EVERY_S", 0.01)
    async with FakeSlack() as fake:
        yield fake


@contextlib.asynccontextmanager
async def asking(slack):
    async with SlackPlatform(slack.token, slack.base_url) as platform:
        task = asyncio.create_task(Questions(platform, Budget(1000, 1000, 0)).run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def asked_in(channel, own, default):
    await repository_row("photos", Path("/r/photos"), [Path("/home")], channel=own)
    await unit(partial(runtime_settings.store, {"two_person": ["prune"], "default_channel": default}))
    return await submit_or_ask(JobRequest("prune", ADMIN, "slack", "photos", {"keep_daily": 7}, channel=channel))


async def test_question_stays_where_it_was_asked_until_the_token_is_mended(slack):
    slack.messages["C2"] = []
    async with asking(slack):
        slack.token = "xoxb-new"
        await asked_in("slack:T1:C1", None, "slack:T1:C2")
        async with asyncio.timeout(10):
            while not await QuestionMessage.filter(platform="slack", state="refused").exists():
                await asyncio.sleep(0.01)
    async with asking(slack):
        await until(lambda: slack.messages["C1"])
    assert slack.messages["C2"] == []


@pytest.mark.parametrize("channel", ["slack:T1:C9", None])
async def test_question_is_shown_in_the_default_channel_where_the_repositorys_takes_none(slack, channel):
    async with asking(slack):
        await asked_in(channel, "slack:T1:C8", "slack:T1:C1")
        await until(lambda: slack.messages["C1"])
    assert len(slack.called(POST)) == (3 if channel else 2)


async def test_every_question_is_shown_and_edited_however_many_wait_before_it(slack, monkeypatch):
    monkeypatch.setattr(questions, "AT_ONCE", 2)
    async with asking(slack):
        await asked_in("slack:T1:C1", None, None)
        for days in (8, 9):
            await submit_or_ask(
                JobRequest("prune", ADMIN, "slack", "photos", {"keep_daily": days}, channel="slack:T1:C1")
            )
        await until(lambda: len(slack.messages["C1"]) == 3)
        await confirmations.dismiss(3, ADMIN, origin="slack")
        await until(lambda: "dismissed" in slack.messages["C1"][2].text)


def names(chat, subject):
    return named(subject) in chat.shown()[0]


async def until_settled():
    async with asyncio.timeout(10):
        while await QuestionMessage.filter(settled=False).exists():
            await asyncio.sleep(0.01)
