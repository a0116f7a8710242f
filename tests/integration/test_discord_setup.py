"""Setting Discord up: `locutus discord sync`, and what `locutus doctor` says of it."""

import asyncio
import os

import pytest
from typer.testing import CliRunner

from bot.commands import COMMANDS
from bot.discord.command_tree import registration
from cli.__main__ import app
from cli.discord_checks import discord as check
from cli.finding import FAIL, OK, WARN
from jobs.database.connection import database
from jobs.models import Repository
from jobs.settings import Settings, SettingsError, load_settings
from tests.fakes.discord import APPLICATION, CHANNEL, GUILD, FakeDiscord
from tests.fakes.instance import repository_row


@pytest.fixture
async def discord():
    async with FakeDiscord() as fake:
        yield fake


def settings(tmp_path, discord, **overrides):
    given = {
        "data_dir": tmp_path,
        "discord_token": discord.token,
        "discord_api_url": discord.api_url,
        "public_url": "https://locutus.example.org",
    }
    return Settings(_env_file=None, **{**given, **overrides})


@pytest.fixture
def set_up(discord):
    """Everything as it should be."""
    discord.commands = [registration(COMMANDS)]
    discord.application["interactions_endpoint_url"] = "https://locutus.example.org/discord/interactions"
    return {"discord_public_key": discord.public_key, "discord_application_id": APPLICATION}


async def found(tmp_path, discord, **overrides):
    return [
        (finding.standing, f"{finding.seen} {finding.mend or ''}")
        for finding in await check(settings(tmp_path, discord, **overrides))
    ]


async def test_all_is_well(tmp_path, discord, set_up):
    assert await found(tmp_path, discord, **set_up) == [(OK, "Locutus, /backup is known ")]
    assert await found(tmp_path, discord, discord_token=None) == []


@pytest.mark.parametrize(
    ("overrides", "application", "named"),
    [
        ({"discord_token": "another"}, {}, "refuses DISCORD_TOKEN"),
        ({"discord_token": None}, {}, "DISCORD_TOKEN is not set"),
        ({"discord_public_key": "0" * 64}, {}, "DISCORD_PUBLIC_KEY is not the application's"),
        ({"discord_application_id": "7"}, {}, "DISCORD_APPLICATION_ID to 500"),
        ({}, {"interactions_endpoint_url": None}, "https://locutus.example.org/discord/interactions"),
        ({"discord_public_key": ""}, {}, "Set DISCORD_PUBLIC_KEY, or remove the Interactions Endpoint URL"),
        ({"discord_api_url": "http://127.0.0.1:9"}, {}, "does not answer"),
    ],
)
async def test_what_is_wrong_is_named_with_its_mend(tmp_path, discord, set_up, overrides, application, named):
    discord.application.update(application)
    (finding,) = await found(tmp_path, discord, **{**set_up, **overrides})
    assert finding[0] is FAIL
    assert named in finding[1]
    assert discord.token not in finding[1]


@pytest.mark.parametrize(("known", "standing"), [([], FAIL), ([{"name": "backup", "options": []}], WARN)])
async def test_commands_that_discord_does_not_know_are_to_be_registered(tmp_path, discord, set_up, known, standing):
    discord.commands = known
    ((stands, told),) = await found(tmp_path, discord, **set_up)
    assert stands is standing
    assert "locutus discord sync" in told


async def test_clock_that_makes_every_signature_too_old_is_named(tmp_path, discord, set_up):
    discord.clock_ahead_s = 600
    ((standing, told),) = await found(tmp_path, discord, **set_up)
    assert standing is FAIL
    assert "timedatectl" in told


async def test_channel_that_the_bot_does_not_see_is_named(tmp_path, sqlite_url, discord, set_up):
    async with database(sqlite_url):
        await repository_row("photos", tmp_path, [tmp_path], channel=f"discord:{GUILD}:{CHANNEL}")
        await repository_row("music", tmp_path, [tmp_path], channel=f"discord:{GUILD}:999")
        assert await Repository.all().count() == 2
    ((standing, told),) = await found(tmp_path, discord, database_url_setting=sqlite_url, **set_up)
    assert standing is FAIL
    assert f"discord:{GUILD}:999" in told
    assert "View Channel" in told


async def test_permission_that_the_bot_lacks_in_a_channel_is_named(tmp_path, sqlite_url, discord, set_up):
    async with database(sqlite_url):
        await repository_row("photos", tmp_path, [tmp_path], channel=f"discord:{GUILD}:{CHANNEL}")
    assert [standing for standing, _ in await found(tmp_path, discord, database_url_setting=sqlite_url, **set_up)] == [
        OK
    ]
    discord.places[CHANNEL].missing |= {"threads", "send in threads"}
    ((standing, told),) = await found(tmp_path, discord, database_url_setting=sqlite_url, **set_up)
    assert standing is FAIL
    assert "may not Create Public Threads, Send Messages in Threads " in told


@pytest.mark.parametrize(("name", "value"), [("DISCORD_PUBLIC_KEY", "0" * 63), ("DISCORD_APPLICATION_ID", "abc")])
def test_bad_setting_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}: copy the"):
        load_settings()


async def locutus(discord, tmp_path, *arguments, **variables):
    given = {"DISCORD_TOKEN": discord.token, "LOCUTUS_DISCORD_API_URL": discord.api_url}
    environment = {"PATH": os.environ["PATH"], "LOCUTUS_DATA_DIR": str(tmp_path), **given, **variables}
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)


@pytest.mark.parametrize("variables", [{}, {"DISCORD_APPLICATION_ID": APPLICATION}])
async def test_sync_registers_the_commands(tmp_path, discord, variables):
    ended = await locutus(discord, tmp_path, "discord", "sync", **variables)
    assert ended.exit_code == 0, ended.output
    assert f"Discord knows /backup with {len(COMMANDS)} sub-commands" in ended.stdout
    (known,) = discord.commands
    assert {**known, "id": ""} == {**registration(COMMANDS), "id": ""}


@pytest.mark.parametrize(
    ("variables", "status", "told"),
    [
        ({"DISCORD_TOKEN": "another"}, 1, "the token is not valid"),
        ({"DISCORD_TOKEN": ""}, 2, "DISCORD_TOKEN is not set"),
        ({"DISCORD_APPLICATION_ID": "7"}, 1, "code 50001"),
    ],
)
async def test_sync_says_what_is_wrong(tmp_path, discord, variables, status, told):
    ended = await locutus(discord, tmp_path, "discord", "sync", **variables)
    assert told in (ended.stderr or str(ended.exception))
    assert ended.exit_code == status or isinstance(ended.exception, SettingsError)
    assert discord.commands == []
