"""The main way through Discord, whole: a signed interaction or one over the connection, real borg, a thread."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from bot.commands import COMMANDS
from bot.discord import gateway, interactions
from bot.discord.app import PATH
from bot.discord.command_tree import registration
from bot.discord.gateway import LEASE
from bot.discord.render import COLOURS
from jobs.models import Job, Lease, RoleBinding
from jobs.view import JobStatus
from tests.fakes.discord import GUILD, POST, USER, FakeDiscord
from tests.fakes.instance import instance, settings_for, until

SUBJECT = f"discord:{GUILD}:{USER}"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    directory = tmp_path / "sources"
    directory.mkdir()
    for number in range(20):
        (directory / f"file-{number}.bin").write_bytes(bytes([number]) * 50_000)
    return directory


@pytest.fixture
async def discord():
    async with FakeDiscord() as fake:
        fake.commands = [registration(COMMANDS)]
        yield fake


def discord_settings(tmp_path, database_url, redis_url, discord, **overrides):
    given = {
        "discord_token": discord.token,
        "discord_public_key": discord.public_key,
        "discord_api_url": discord.api_url,
    }
    return settings_for(tmp_path, database_url, redis_url, **{**given, **overrides})


async def sent(running, discord, payload):
    headers, body = discord.signed(payload)
    async with running.http.post(PATH, data=body, headers=headers) as answer:
        assert answer.status == 200
        return discord.check_answer(payload, await answer.json())


async def test_command_becomes_a_card_a_thread_and_an_archive(tmp_path, sqlite_url, redis_url, discord, sources):
    async with instance(discord_settings(tmp_path, sqlite_url, redis_url, discord)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await RoleBinding.create(subject=SUBJECT, role="operate")
        answer = await sent(running, discord, discord.payload(2, discord.command("run", repository="photos")))
        assert answer["data"]["content"] == "Job #2 is queued: backup of photos on test-host."
        job = await running.ended(2)
        assert job.status == "completed", job.error_message
        card = discord.messages()[0]
        await until(lambda: [message.text for message in discord.messages(card.id) if "completed" in message.text])
        await until(lambda: "#2 completed" in card.text)
        (progress,) = discord.messages(card.id)
        assert "20 files" in progress.text
        assert progress.embed["color"] == card.embed["color"] == COLOURS[JobStatus.COMPLETED]
        assert {"name": "Asked by", "value": f"<@{USER}>", "inline": True} in card.embed["fields"]
        assert len(discord.messages()) == 1
        assert all(call.status in {200, 201} for call in discord.calls), discord.calls


async def test_cancel_button_ends_the_job_also_where_it_was_pressed_twice(
    tmp_path, sqlite_url, redis_url, discord, sources
):
    with (sources / "big.bin").open("wb") as file:
        file.truncate(40_000_000_000)
    async with instance(discord_settings(tmp_path, sqlite_url, redis_url, discord)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await RoleBinding.create(subject=SUBJECT, role="operate")
        await sent(running, discord, discord.payload(2, discord.command("run", repository="photos")))
        await running.until(2, lambda job: job.status == "running")
        await until(lambda: discord.messages() and "job.cancel:2" in discord.messages()[0].buttons)
        for _ in range(2):
            await sent(running, discord, discord.payload(3, {"component_type": 2, "custom_id": "job.cancel:2"}))
        job = await running.ended(2)
        assert (job.status, job.cancel_requested_by) == ("cancelled", SUBJECT)
        card = discord.messages()[0]
        await until(lambda: "#2 cancelled" in card.text)
        assert {"name": "Cancelled by", "value": f"<@{USER}>", "inline": True} in card.embed["fields"]


async def test_thread_is_whole_although_answers_are_lost_and_calls_are_too_many(
    tmp_path, sqlite_url, redis_url, discord, sources
):
    async with instance(discord_settings(tmp_path, sqlite_url, redis_url, discord)) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await RoleBinding.create(subject=SUBJECT, role="operate")
        discord.lose_next_answer(POST)
        discord.fail_next("thread", 429, retry_after=0.2, **{"global": False})
        await sent(running, discord, discord.payload(2, discord.command("run", repository="photos")))
        await running.ended(2)
        await until(lambda: discord.messages() and discord.messages(discord.messages()[0].id), 60)
        card = discord.messages()[0]
        await until(lambda: "#2 completed" in card.text and "#2 completed" in discord.messages(card.id)[0].text, 60)
        assert (len(discord.messages()), len(discord.messages(card.id))) == (1, 1)


async def test_without_a_public_key_the_same_comes_over_the_connection_that_one_gateway_holds(
    tmp_path, sqlite_url, redis_url, discord, sources
):
    settings = discord_settings(tmp_path, sqlite_url, redis_url, discord, discord_public_key="")
    async with instance(settings) as running:
        await running.add_repository("photos", tmp_path / "repo", [sources])
        await RoleBinding.create(subject=SUBJECT, role="operate")
        await discord.until(lambda: discord.sockets)
        assert discord.identified[0]["intents"] == 1
        asked = await discord.send(discord.payload(2, discord.command("run", repository="photos")))
        assert asked.responses[0]["data"]["content"] == "Job #2 is queued: backup of photos on test-host."
        await running.ended(2)
        clicked = await discord.send(discord.payload(3, {"component_type": 2, "custom_id": "job.retry:2"}))
        assert clicked.responses[0]["data"]["content"] == "Job #3 is queued: backup of photos on test-host."
        typing = discord.command("run", focused="repository", repository="ph")
        offered = await discord.send(discord.payload(4, typing))
        assert [choice["value"] for choice in offered.responses[0]["data"]["choices"]] == ["photos"]
        # What can't be read ends no connection, and one that Discord ends is resumed.
        await discord.sockets[-1].send_str(json.dumps({"op": 0, "t": "INTERACTION_CREATE", "s": 9, "d": {"type": 2}}))
        await discord.sockets[-1].send_str(json.dumps({"op": 7, "d": None}))
        await discord.until(lambda: len(discord.sockets) == 2)
        again = await discord.send(discord.payload(2, discord.command("status", job=2)))
        assert "#2 backup of photos on test-host: completed" in again.responses[0]["data"]["content"]
        await running.ended(3)
        assert await Lease.filter(name=LEASE).count() == 1
        assert await Job.filter(kind="backup").count() == 2
    assert len(discord.identified) == 1
    assert all(call.status in {200, 201, 204} for call in discord.calls), discord.calls


async def test_stop_waits_a_moment_for_promised_answers_and_ends_the_rest(
    opened_sqlite, discord, aiohttp_client, monkeypatch
):
    ended = []

    async def slow(*_):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    monkeypatch.setattr(interactions, "chat_principal", slow)
    monkeypatch.setattr(interactions, "ACKNOWLEDGE_WITHIN_S", 0.05)
    app = web.Application()
    served = interactions.DiscordInteractions(discord.api_url)
    gateway.DiscordGateway(discord.token, discord.api_url, served).add_routes(app)
    client = await aiohttp_client(app)
    await discord.until(lambda: discord.sockets)
    asked = await discord.send(discord.payload(2, discord.command("status")))
    assert asked.responses[0]["type"] == 5
    assert not ended
    await client.close()
    assert ended == [True]


async def test_wrong_token_is_said_and_tried_again_with_patience(opened_sqlite, discord, monkeypatch):
    discord.fail_next("me", 401)
    monkeypatch.setattr(gateway, "TRY_AGAIN_S", 0.01)
    connection = gateway.DiscordGateway(discord.token, discord.api_url, gateway.DiscordInteractions(discord.api_url))
    running = asyncio.create_task(connection.run())
    await discord.until(lambda: discord.sockets)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [call.status for call in discord.called("me")] == [401, 200]
