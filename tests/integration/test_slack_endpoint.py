"""Slack's requests at the endpoint alone: who learns what, how clicks are answered, what is not ours."""

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from bot.slack.app import PATH, SlackEndpoint
from bot.slack.interactions import SlackInteractions
from jobs import lifecycle, log_store
from jobs.access import Role, everywhere
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.log_store import Position
from jobs.models import Job, RoleBinding
from jobs.submit import JobRequest, submit
from jobs.view import JobStatus
from tests.fakes.instance import repository_row
from tests.fakes.slack import Posted, block_action, sign, slash_command

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
ADMIN = everywhere("token:admin", Role.ADMINISTER)
CARD = Posted("1.000001", {"text": "a card"}, "B1", "U0BOT")


class Endpoint:
    """A client of the endpoint, and what was whispered."""

    def __init__(self, client, whispered):
        self.client, self.whispered = client, whispered

    async def post(self, headers, body):
        async with self.client.post(PATH, data=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def say(self, text, *, user="U1", trigger="t1"):
        status, answer = await self.post(*slash_command(SECRET, text, user=user, trigger_id=trigger))
        assert status == 200
        return answer

    async def click(self, action_id, value, *, user="U1", trigger="t1"):
        return await self.post(*block_action(SECRET, action_id, value, message=CARD, user=user, trigger_id=trigger))

    async def signed(self, payload):
        body = urlencode({"payload": json.dumps(payload)}).encode()
        return await self.post(sign(SECRET, body, int(time.time())), body)


class Whispers:
    """The replies of a platform to which only whispering is left; each is given to `whisper`."""

    def __init__(self, whisper):
        self.say = whisper

    async def whisper(self, channel, user, content):
        await self.say(channel, user, content.text)
        return True

    async def respond(self, response_url, content, *, replace):
        await self.say(response_url, "replaced" if replace else "alone", content.text)


def application(whisper=None):
    app = web.Application()
    replies = Whispers(whisper) if whisper else None
    SlackEndpoint(SECRET, SlackInteractions(replies)).add_routes(app)
    return app


@pytest.fixture
async def endpoint(opened_sqlite, aiohttp_client):
    whispered = asyncio.Queue()

    async def whisper(*said):
        whispered.put_nowait(said)

    return Endpoint(await aiohttp_client(application(whisper)), whispered)


@pytest.fixture
async def jobs(opened_sqlite):
    """One ended job of each of two repositories: #1 of music, #2 of photos."""
    for name in ("music", "photos"):
        await repository_row(name, Path("/r") / name, [Path("/home")])
        job = (await submit(JobRequest("backup", ADMIN, "api", name))).job
        await unit(partial(lifecycle.end, job.id, job.attempt, Ending(JobStatus.CANCELLED)))


async def grant(role, repositories=None):
    await RoleBinding.create(subject="slack:T1:U1", role=role, repositories=repositories)


@pytest.mark.parametrize(
    ("there", "not_there"),
    [("run photos", "run nope"), ("run photos", "run photoz"), ("logs 2", "logs 9999"), ("retry 2", "retry 9999")],
)
async def test_unknown_user_can_not_tell_what_exists(endpoint, jobs, there, not_there):
    told = [await endpoint.say(text) for text in (there, not_there)]
    assert told[0].replace("photos", "X") == told[1].replace("nope", "X").replace("photoz", "X")
    assert all("locutus grant slack:T1:U1 " in text for text in told)
    assert await Job.all().count() == 2


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("run music", "There is no repository 'music'. `/backup list` shows those there are."),
        ("run nope", "There is no repository 'nope'. `/backup list` shows those there are."),
        ("run musik", "There is no repository 'musik'. `/backup list` shows those there are."),
        ("run 1", "There is no repository '1'. `/backup list` shows those there are."),
        ("run 99", "There is no repository '99'. `/backup list` shows those there are."),
        ("run photoz", "There is no repository 'photoz'. Did you mean photos?"),
        ("history music", "There is no repository 'music'. `/backup list` shows those there are."),
        ("history nope", "There is no repository 'nope'. `/backup list` shows those there are."),
        ("list", "photos on test-host, last backup never"),
        ("history", "#2 backup of photos on test-host: cancelled"),
        ("status", "Nothing is running or waiting."),
        *(
            (f"{word} {number}", f"There is no job #{number}. `/backup status` shows what runs.")
            for word in ("status", "logs", "cancel", "retry")
            for number in (1, 9999)
        ),
    ],
)
async def test_who_is_limited_to_a_repository_learns_nothing_of_others(endpoint, jobs, typed, told):
    await grant("operate", ["photos"])
    assert await endpoint.say(typed) == told


async def test_who_may_only_look_is_told_the_grant_for_that_repository(endpoint, jobs):
    await grant("view")
    assert "`locutus grant slack:T1:U1 operate --repository photos`" in await endpoint.say("run photos")


@pytest.mark.parametrize(
    ("done", "told"),
    [
        ({"original_size": 5, "total_size": 10}, "running, ≈ 50 % of the previous archive's 10 B, about 10 s left"),
        ({"original_size": 11, "total_size": 10}, "running"),  # an estimate that was passed
        ({"progress_percent": None, "eta_s": None}, "running"),
    ],
)
async def test_status_tells_the_share_done_as_the_thread_does(endpoint, jobs, done, told):
    await grant("operate")
    job = (await submit(JobRequest("backup", ADMIN, "api", "photos"))).job
    await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="photos-1"))
    estimate = {"progress_percent": 50.0, "percent_is_estimate": True, "total_from": "previous archive", "eta_s": 10}
    await Job.filter(id=job.id).update(progress=estimate | done)
    assert await endpoint.say("status 3") == f"#3 backup of photos on test-host: {told}"


@pytest.mark.parametrize("typed", ["RUN photos", "Run photos", "run photos", "run 2"])
async def test_command_word_in_any_case_and_a_number_for_the_name_start_a_backup(endpoint, jobs, typed):
    await grant("operate")
    assert await endpoint.say(typed) == "Job #3 is queued: backup of photos on test-host."


async def test_log_in_an_answer_is_short_and_can_not_leave_its_fence(endpoint, jobs):
    await grant("view")
    lines = [f"```<!channel> \x1b[31m{'x' * 9_000}" for _ in range(19)] + ["```the reason"]
    await unit(partial(log_store.append, 2, Position(), "\n".join(lines).encode()))
    told = await endpoint.say("logs 2")
    assert told.startswith("The last lines of job #2, which is cancelled:\n```\n…")
    assert told.endswith("the reason\n```")
    assert told.count("```") == 2
    assert "<" not in told
    assert "\x1b" not in told
    assert len(told) < 3_000
    assert max(map(len, told.splitlines())) < 200


async def test_long_word_is_echoed_clipped(endpoint, jobs):
    await grant("view")
    assert len(await endpoint.say("run " + "x" * 5_000)) < 200


@pytest.mark.parametrize(
    ("action", "value", "told"),
    [
        ("job.cancel", "2", "Job #2 is cancelled already."),
        ("job.retry", "9999", "There is no job #9999. `/backup status` shows what runs."),
        ("job.retry", "2", "Job #3 is queued: backup of photos on test-host."),
        ("job.retry", "2 2", "job: write the job's number: `/backup retry JOB`."),
    ],
)
async def test_click_is_answered_to_who_clicked_alone(endpoint, jobs, action, value, told):
    await grant("operate")
    assert (await endpoint.click(action, value))[0] == 200
    assert await asyncio.wait_for(endpoint.whispered.get(), 5) == ("slack:T1:C1", "U1", told)


async def test_click_without_the_right_is_told_the_grant(endpoint, jobs):
    assert (await endpoint.click("job.retry", "2"))[0] == 200
    assert "locutus grant slack:T1:U1 operate" in (await asyncio.wait_for(endpoint.whispered.get(), 5))[2]
    assert await Job.all().count() == 2


@pytest.mark.parametrize("step", ["chat_principal", "click"])
async def test_click_that_fails_here_is_told_so(endpoint, jobs, monkeypatch, step):
    async def broken(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(f"bot.slack.interactions.{step}", broken)
    assert (await endpoint.click("job.retry", "2"))[0] == 200
    assert "Something went wrong" in (await asyncio.wait_for(endpoint.whispered.get(), 5))[2]


async def test_click_is_carried_out_where_nothing_can_be_whispered(opened_sqlite, jobs, aiohttp_client):
    await grant("operate")
    endpoint = Endpoint(await aiohttp_client(application()), None)
    assert (await endpoint.click("job.retry", "2"))[0] == 200
    assert await Job.all().count() == 3


async def test_stop_waits_for_answers_on_their_way_and_ends_those_that_hang(opened_sqlite, aiohttp_client):
    ended = []

    async def whisper(_channel, user, _text):
        try:
            await (asyncio.sleep(0.05) if user == "U1" else asyncio.Event().wait())
            ended.append((user, "sent"))
        except asyncio.CancelledError:
            ended.append((user, "cancelled"))
            raise

    client = await aiohttp_client(application(whisper))
    for user in ("U1", "U2"):
        await Endpoint(client, None).click("job.cancel", "1", user=user)
    await client.close()
    assert ended == [("U1", "sent"), ("U2", "cancelled")]


def clicked(**changes):
    _, body = block_action(SECRET, "job.cancel", "2", message=CARD)
    return json.loads(parse_qs(body.decode())["payload"][0]) | changes


@pytest.mark.parametrize(
    "actions",
    [
        [],
        None,
        "job.cancel",
        ["job.cancel"],
        [{}],
        [{"action_id": "job.cancel"}],
        [{"value": "2"}],
        [{"action_id": 1, "value": "2"}],
        [{"action_id": "job.cancel", "value": 2}],
        [{"action_id": "job.cancel", "value": "2"}, {}],
    ],
)
async def test_signed_click_on_nothing_is_a_bad_request(endpoint, actions):
    status, text = await endpoint.signed(clicked(actions=actions))
    assert (status, json.loads(text)["status"]) == (400, 400)


async def test_unknown_button_is_answered_with_a_sentence(endpoint, caplog):
    with capture_logs() as logged:
        status, text = await endpoint.click("job.explode", "2")
    assert status == 200
    assert "does not know this button" in text
    assert (await asyncio.wait_for(endpoint.whispered.get(), 5))[2] == text
    assert [entry["event"] for entry in logged] == ["button_unknown"]
    assert caplog.records == []


async def test_other_command_is_answered_with_a_sentence(endpoint, caplog):
    body = slash_command(SECRET, "run photos")[1].replace(b"%2Fbackup", b"%2Fdeploy")
    with capture_logs() as logged:
        status, text = await endpoint.post(sign(SECRET, body, int(time.time())), body)
    assert (status, text) == (200, "Locutus does not answer to this command. Write `/backup help`.")
    assert [entry["event"] for entry in logged] == ["slack_command_unknown"]
    assert caplog.records == []


async def test_token_in_the_environment_is_no_matter_for_a_warning(monkeypatch, caplog):
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-of-the-environment")
    SlackEndpoint(SECRET, SlackInteractions())
    assert caplog.records == []
