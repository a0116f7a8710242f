"""Discord's requests at the endpoint alone: who is believed, who may, what is answered, what is offered."""

import asyncio
import json
import time
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from bot.commands import COMMANDS
from bot.discord import interactions
from bot.discord.app import PATH, DiscordEndpoint
from bot.discord.command_tree import registration
from bot.discord.interactions import DiscordInteractions
from jobs import lifecycle
from jobs.access import Role, everywhere
from jobs.database.unit import unit
from jobs.lifecycle import Ending
from jobs.models import ChatMessage, Job, RoleBinding, Setting
from jobs.submit import JobRequest, submit
from jobs.view import JobStatus
from tests.fakes.discord import CHANNEL, GUILD, ROLE, USER, FakeDiscord
from tests.fakes.discord_rules import command_faults
from tests.fakes.instance import repository_row

ADMIN = everywhere("token:admin", Role.ADMINISTER)
EPHEMERAL = 64


class Endpoint:
    """Discord, and a client of the endpoint that holds every answer against Discord's rules."""

    def __init__(self, discord, client):
        self.discord, self.client = discord, client

    async def post(self, payload, **signing):
        headers, body = self.discord.signed(payload, **signing)
        async with self.client.post(PATH, data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def ask(self, payload):
        status, response = await self.post(payload)
        assert status == 200
        return self.discord.check_answer(payload, response)

    async def command(self, name, *, by=None, **options):
        return await self.ask(self.discord.payload(2, self.discord.command(name, **options), **(by or {})))

    async def say(self, name, **options):
        response = await self.command(name, **options)
        assert (response["type"], response["data"]["flags"]) == (4, EPHEMERAL)
        return response["data"]["content"]

    async def click(self, custom_id, **changes):
        data = {"component_type": 2, "custom_id": custom_id}
        return await self.ask(self.discord.payload(3, data, **changes))

    async def offered(self, name, focused, **options):
        payload = self.discord.payload(4, self.discord.command(name, focused=focused, **options))
        return (await self.ask(payload))["data"]["choices"]


@pytest.fixture
async def endpoint(opened_sqlite, aiohttp_client):
    async with FakeDiscord() as discord:
        discord.commands = [registration(COMMANDS)]
        app = web.Application()
        DiscordEndpoint(discord.public_key, DiscordInteractions(discord.api_url)).add_routes(app)
        yield Endpoint(discord, await aiohttp_client(app))


@pytest.fixture
async def jobs(opened_sqlite):
    """One ended job of each of two repositories: #1 of music, #2 of photos."""
    for name in ("music", "photos"):
        await repository_row(name, Path("/r") / name, [Path("/home")])
        job = (await submit(JobRequest("backup", ADMIN, "api", name))).job
        await unit(partial(lifecycle.end, job.id, job.attempt, Ending(JobStatus.CANCELLED)))


async def grant(role="operate", subject=f"discord:{GUILD}:{USER}", **limits):
    await RoleBinding.create(subject=subject, role=role, **limits)


def test_registered_command_is_one_that_discord_takes():
    assert list(command_faults(registration(COMMANDS))) == []


async def test_ping_is_answered_before_anything_else(endpoint):
    assert await endpoint.post({"id": "1", "type": 1, "application_id": "2", "token": "t", "version": 1}) == (
        200,
        {"type": 1},
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Signature-Ed25519": "00" * 64},
        {"X-Signature-Ed25519": "no hexadecimal digits"},
        {"X-Signature-Ed25519": "ä"},
        {"X-Signature-Ed25519": "00"},
        {"X-Signature-Timestamp": ""},
        {"X-Signature-Timestamp": str(int(time.time()) + 1)},
    ],
)
async def test_who_does_not_sign_as_discord_is_refused(endpoint, jobs, headers):
    await grant()
    right, body = endpoint.discord.signed(
        endpoint.discord.payload(2, endpoint.discord.command("run", repository="photos"))
    )
    sent = headers and {**right, **headers}
    async with endpoint.client.post(PATH, data=body, headers=sent) as answer:
        assert answer.status == 401
    assert await Job.all().count() == 2


@pytest.mark.parametrize("shift_s", [-600, 600, 10**30])
async def test_signature_of_another_time_is_refused(endpoint, shift_s):
    assert (await endpoint.post(endpoint.discord.payload(1), timestamp=int(time.time()) + shift_s))[0] == 401


@pytest.mark.parametrize(
    "junk",
    [[], 7, None, {}, {"type": 2}, {"id": "x", "type": 2}, {"id": "1", "type": 99}, {"id": "1", "type": 2, "data": 3}],
)
async def test_signed_junk_is_a_bad_request(endpoint, junk):
    status, problem = await endpoint.post(junk)
    assert (status, problem["status"]) == (400, 400)


async def test_command_becomes_a_job_once_however_often_and_to_whomever_it_is_sent(endpoint, jobs, aiohttp_client):
    await grant()
    payload = endpoint.discord.payload(2, endpoint.discord.command("run", repository="photos", priority="high"))
    app = web.Application()
    DiscordEndpoint(endpoint.discord.public_key, DiscordInteractions(endpoint.discord.api_url)).add_routes(app)
    other = Endpoint(endpoint.discord, await aiohttp_client(app))
    answers = await asyncio.gather(endpoint.post(payload), other.post(payload), endpoint.post(payload))
    assert {json.dumps(answer) for answer in answers} == {json.dumps(answers[0])}
    assert answers[0][1]["data"]["content"] == "Job #3 is queued: backup of photos on test-host."
    job = await Job.get(id=3)
    assert await Job.all().count() == 3
    card = await ChatMessage.get(job_id=3, platform="discord", part="card")
    assert (job.requested_by, job.origin, card.channel) == (
        f"discord:{GUILD}:{USER}",
        "discord",
        f"discord:{GUILD}:{CHANNEL}",
    )


async def test_unknown_user_is_refused_in_private_with_the_grant_to_run(endpoint, jobs):
    told = [await endpoint.say("run", repository=name) for name in ("photos", "nope")]
    assert told[0].replace("photos", "X") == told[1].replace("nope", "X")
    assert f"`locutus grant discord:{GUILD}:{USER} operate" in told[0]
    assert await Job.all().count() == 2


@pytest.mark.parametrize(("roles", "may"), [([ROLE], True), (["401"], False), ([], False)])
async def test_role_of_the_server_gives_its_rights(endpoint, jobs, roles, may):
    await grant(subject=f"discord:{GUILD}:role:{ROLE}")
    response = await endpoint.command("run", repository="photos", by={"roles": roles})
    assert ("is queued" in response["data"]["content"]) is may


async def test_right_of_a_channel_holds_there_and_in_its_threads(endpoint, jobs):
    await grant(channels=[f"discord:{GUILD}:{CHANNEL}"])
    for channel, may in (
        ({"id": CHANNEL, "type": 0}, True),
        ({"id": "777", "type": 11, "parent_id": CHANNEL}, True),
        ({"id": "201", "type": 0}, False),
        ({"id": "778", "type": 0, "parent_id": CHANNEL}, False),
    ):
        response = await endpoint.command("history", by={"channel": channel})
        assert ("locutus grant" not in response["data"]["content"]) is may, channel


@pytest.mark.parametrize(("kind", "private"), [(12, True), (11, False)])
async def test_who_asks_in_a_private_thread_is_told_where_the_card_stands(endpoint, jobs, kind, private):
    await grant("administer")
    by = {"channel": {"id": "777", "type": kind, "parent_id": CHANNEL}}
    for name, said, is_told in (
        ("run", {"repository": "photos"}, private),
        ("status", {"job": 2}, False),
        ("prune", {"repository": "photos", "keep_daily": 7}, private),
    ):
        answer = await endpoint.command(name, by=by, **said)
        assert ("This thread is private" in answer["data"]["content"]) is is_told, name


async def test_outside_of_a_server_nobody_may_anything(endpoint, jobs):
    payload = endpoint.discord.payload(2, endpoint.discord.command("status"))
    user = payload.pop("member")["user"]
    del payload["guild_id"]
    assert "servers only" in (await endpoint.ask({**payload, "user": user}))["data"]["content"]


async def test_job_can_be_named_by_its_number(endpoint, jobs):
    await grant("view")
    assert await endpoint.say("status", job=2) == "#2 backup of photos on test-host: cancelled"


async def test_help_names_every_command(endpoint):
    assert "/backup run REPO" in await endpoint.say("help")
    assert "--priority" in await endpoint.say("help", command="run")


async def test_command_that_is_not_known_any_more_says_how_to_mend_it(endpoint):
    data = {"id": "1", "name": "backup", "type": 1, "options": [{"type": 1, "name": "explode", "options": []}]}
    response = await endpoint.ask(endpoint.discord.payload(2, data))
    assert "locutus discord sync" in response["data"]["content"]


async def test_repositories_jobs_and_commands_are_offered_as_far_as_they_may_be_seen(endpoint, jobs):
    assert await endpoint.offered("run", "repository", repository="p") == []
    await grant("operate", repositories=["photos"])
    assert [choice["value"] for choice in await endpoint.offered("run", "repository", repository="")] == ["photos"]
    assert await endpoint.offered("run", "repository", repository="mus") == []
    assert [choice["value"] for choice in await endpoint.offered("retry", "job", job="2")] == [2]
    assert [choice["value"] for choice in await endpoint.offered("help", "command", command="retr")] == ["retry"]


@pytest.mark.parametrize(
    ("custom_id", "told"),
    [
        ("job.cancel:2", "Job #2 is cancelled already."),
        ("job.retry:2", "Job #3 is queued: backup of photos on test-host."),
        ("job.retry:9999", "There is no job #9999. `/backup status` shows what runs."),
        ("job.explode:2", "Locutus does not know this button. `/backup help` shows what can be written instead."),
        ("nonsense", "Locutus does not know this button. `/backup help` shows what can be written instead."),
    ],
)
async def test_click_is_answered_to_who_clicked_alone(endpoint, jobs, custom_id, told):
    await grant()
    response = await endpoint.click(custom_id)
    assert (response["type"], response["data"]["flags"], response["data"]["content"]) == (4, EPHEMERAL, told)


async def test_click_without_the_right_is_told_the_grant(endpoint, jobs):
    assert f"locutus grant discord:{GUILD}:{USER}" in (await endpoint.click("job.retry:2"))["data"]["content"]
    assert await Job.all().count() == 2


async def test_what_destroys_is_asked_and_the_question_replaced_by_what_became_of_it(endpoint, jobs):
    await grant("administer")
    asked = (await endpoint.command("prune", repository="photos", keep_daily=7))["data"]
    confirm, dismiss = asked["components"][0]["components"]
    assert (confirm["custom_id"], dismiss["custom_id"]) == ("request.confirm:1", "request.dismiss:1")
    assert asked["flags"] == EPHEMERAL
    refused = await endpoint.click("request.confirm:99")
    assert (refused["type"], refused["data"]["flags"]) == (4, EPHEMERAL)
    for _ in range(2):
        confirmed = await endpoint.click(confirm["custom_id"])
        assert (confirmed["type"], confirmed["data"]["components"]) == (7, [])
        assert confirmed["data"]["content"].startswith("Job #3 is queued: prune of photos")
    assert await Job.all().count() == 3


async def test_click_on_a_question_in_a_channel_is_answered_alone(endpoint, jobs):
    await grant("administer")
    await Setting.create(name="two_person", value=json.dumps(["prune"]))
    response = await endpoint.command("prune", repository="photos", keep_daily=7)
    assert response["data"]["flags"] == EPHEMERAL
    assert "takes a second person" in (await endpoint.click("request.confirm:1"))["data"]["content"]
    await grant("administer", subject=f"discord:{GUILD}:301")
    confirmed = await endpoint.click("request.confirm:1", user="301", message={"id": "1", "flags": 0})
    assert (confirmed["type"], confirmed["data"]["flags"]) == (4, EPHEMERAL)
    assert (await Job.get(id=3)).requested_by


async def test_form_asks_for_what_a_command_lacks(endpoint, jobs):
    said = {"repository": "photos", "archive_id": "photos-2026", "paths": "'my files' b"}
    assert (await endpoint.command("restore", **said))["type"] == 4  # a stranger is told to ask for the right
    await grant("administer")
    form = (await endpoint.command("restore", **said))["data"]
    inputs = {label["component"]["custom_id"]: label["component"].get("value") for label in form["components"]}
    assert inputs == {"repository": "photos", "archive_id": "photos-2026", "paths": "my files\nb", "destination": None}
    filled = [
        {"type": 18, "component": {**label["component"], "value": label["component"].get("value", "/restored")}}
        for label in form["components"]
    ]
    submitted = {"custom_id": form["custom_id"], "components": filled}
    answer = await endpoint.ask(endpoint.discord.payload(5, submitted))
    assert answer["type"] == 4
    assert "photos-2026" in answer["data"]["content"]


async def test_what_fails_here_is_told_so(endpoint, jobs, monkeypatch):
    async def broken(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(interactions, "chat_principal", broken)
    assert "Something went wrong" in await endpoint.say("status")
    assert await endpoint.offered("run", "repository", repository="") == []


async def test_slow_answer_is_promised_in_time_and_follows(endpoint, jobs, monkeypatch):
    await grant("view")
    answered = asyncio.Event()
    principal = interactions.chat_principal

    async def slow(*subjects):
        await answered.wait()
        return await principal(*subjects)

    monkeypatch.setattr(interactions, "chat_principal", slow)
    monkeypatch.setattr(interactions, "ACKNOWLEDGE_WITHIN_S", 0.05)
    payload = endpoint.discord.payload(2, endpoint.discord.command("status", job=2))
    assert await endpoint.ask(payload) == {"type": 5, "data": {"flags": EPHEMERAL}}
    assert await endpoint.offered("run", "repository", repository="") == []
    answered.set()
    asked = endpoint.discord.asked[payload["id"]]
    await endpoint.discord.until(lambda: asked.edited)
    assert asked.edited[0]["content"] == "#2 backup of photos on test-host: cancelled"


async def test_answer_that_comes_after_fifteen_minutes_is_lost_and_said_so(endpoint, jobs, monkeypatch):
    await grant("view")
    answered = asyncio.Event()

    async def slow(*_):
        await answered.wait()
        return ADMIN

    monkeypatch.setattr(interactions, "chat_principal", slow)
    monkeypatch.setattr(interactions, "ACKNOWLEDGE_WITHIN_S", 0.05)
    payload = endpoint.discord.payload(2, endpoint.discord.command("status"))
    await endpoint.ask(payload)
    endpoint.discord.asked[payload["id"]].at -= 1_000
    answered.set()
    with capture_logs() as logged:
        await endpoint.discord.until(lambda: endpoint.discord.called("original"))
        await endpoint.client.close()
    assert endpoint.discord.called("original")[0].status == 401
    assert [entry["event"] for entry in logged] == ["discord_answer_lost"]
    assert "fifteen minutes are over" in logged[0]["reason"]
