"""Commands in Slack's direct messages and private channels: the thread there where the bot may post, else elsewhere."""

import json
import time
from urllib.parse import urlencode

import pytest

from bot.slack.app import PATH
from jobs.models import RoleBinding
from tests.fakes.instance import instance, settings_for, until
from tests.fakes.slack import FakeSlack, command_form, sign

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
PLACES = {"direct message": ("D1", "directmessage"), "private channel": ("G1", "privategroup")}
FIRST = "Nothing of mine stands here yet"


@pytest.fixture
async def slack():
    async with FakeSlack(channels=("C1",)) as fake:
        yield fake


@pytest.fixture
def settings(tmp_path, sqlite_url, redis_url, slack):
    given = {"slack_bot_token": slack.token, "slack_signing_secret": SECRET, "slack_api_url": slack.base_url}
    return settings_for(tmp_path, sqlite_url, redis_url, **given)


async def say(running, slack, text, channel, name):
    form = command_form(text, channel=channel, trigger_id=slack.trigger()) | {"channel_name": name}
    body = urlencode(form).encode()
    async with running.http.post(PATH, data=body, headers=sign(SECRET, body, int(time.time()))) as answer:
        assert answer.status == 200
        return await answer.text()


async def set_up(running, tmp_path):
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "file").write_bytes(b"few bytes")
    await running.add_repository("photos", tmp_path / "repo", [tmp_path / "few"])
    await RoleBinding.create(subject="slack:T1:U1", role="operate")


async def let(running, **settings):
    status, answer = await running.call("PUT", "/api/settings", json=settings)
    assert status == 200, answer


@pytest.mark.parametrize("place", PLACES)
async def test_thread_stands_where_it_was_asked_if_the_bot_may_post_there(settings, slack, tmp_path, place):
    channel, name = PLACES[place]
    slack.messages[channel] = []
    async with instance(settings) as running:
        await set_up(running, tmp_path)
        told = await say(running, slack, "run photos", channel, name)
        assert "Job #2 is queued" in told
        assert FIRST in told
        assert (await running.ended(2)).status == "completed"
        await until(lambda: len([each for each in slack.messages[channel] if "#2 completed" in each.text]) == 2)
        card, progress = slack.messages[channel]
        assert progress.thread_ts == card.ts
        assert FIRST not in await say(running, slack, "run photos", channel, name)
        assert FIRST not in await say(running, slack, "status 3", channel, name)
        await running.ended(3)
    assert slack.messages["C1"] == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("other", ["slack:T1:C1", None])
async def test_job_runs_and_its_thread_is_shown_elsewhere_where_the_bot_may_not_post(
    settings, slack, tmp_path, place, other
):
    channel, name = PLACES[place]
    async with instance(settings) as running:
        await set_up(running, tmp_path)
        if other:
            await let(running, default_channel=other)
        told = await say(running, slack, "run photos", channel, name)
        assert FIRST in told
        assert (await running.ended(2)).status == "completed"
        if other is None:
            await until(lambda: slack.called("chat.postMessage"))
            assert "#2 backup of photos on test-host: completed" in await say(running, slack, "status 2", channel, name)
            assert slack.messages == {"C1": []}
            return
        await until(lambda: len([each for each in slack.messages["C1"] if "#2 completed" in each.text]) == 2)
        card, progress = slack.messages["C1"]
        assert progress.thread_ts == card.ts
        assert "not shown where it was asked" in card.text
        assert "/invite" in card.text
        assert "<@U1>" in json.dumps(card.content["blocks"])


async def test_question_that_can_not_be_shown_where_it_was_asked_is_shown_elsewhere(settings, slack, tmp_path):
    async with instance(settings) as running:
        await set_up(running, tmp_path)
        await let(running, default_channel="slack:T1:C1", two_person=["backup"])
        assert "Somebody else with the right" in await say(running, slack, "run photos", "G1", "privategroup")
        await until(lambda: slack.messages["C1"])
        assert "waits for a second person" in slack.messages["C1"][0].text
