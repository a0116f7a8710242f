"""`locutus discord sync`: has Discord know `/backup` with its sub-commands and options."""

from typing import Any

import typer

from bot.commands import COMMANDS
from bot.discord.command_tree import registration
from bot.discord.rest import DiscordRest
from bot.platform import ChatError
from cli.api_client import ApiError
from cli.output import AsJson, command, say, say_json
from jobs.settings import Settings, SettingsError, load_settings

discord = typer.Typer(help="Connect Locutus to Discord.", no_args_is_help=True)


@discord.callback()
def group() -> None:
    """Connect Locutus to Discord."""


@discord.command("sync")
@command
async def sync(*, as_json: AsJson = False) -> None:
    """Register /backup with Discord: once at first, and after every upgrade.

    It takes the place of all other commands of the application.
    """
    try:
        made = await _registered(load_settings())
    except ChatError as error:
        raise ApiError(str(error)) from error
    if as_json:
        say_json({"items": made})
        return
    count = sum(len(option.get("options", ())) if option["type"] == 2 else 1 for option in made[0]["options"])
    say(f"Discord knows /{made[0]['name']} with {count} sub-commands. It may take a minute until everybody sees them.")


async def _registered(settings: Settings) -> Any:
    if settings.discord_token is None:
        raise SettingsError("DISCORD_TOKEN is not set. Copy it from the application's Bot page.")
    async with DiscordRest(settings.discord_token.get_secret_value(), settings.discord_api_url) as rest:
        application = settings.discord_application_id or (await rest.call("GET", "/applications/@me"))["id"]
        return await rest.call("PUT", f"/applications/{application}/commands", [registration(COMMANDS)])
