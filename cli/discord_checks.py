"""What `locutus doctor` looks at in Discord: token, public key, the way that commands come in, channels, clock."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from bot.commands import COMMANDS
from bot.discord.app import PATH
from bot.discord.command_tree import NAME, registration
from bot.discord.permissions import missing
from bot.discord.rest import DiscordRest
from bot.platform import ChatError, Refused
from cli.finding import FAIL, OK, WARN, Finding
from cli.platform_checks import channels_on, clock
from jobs.settings import Settings

Json = dict[str, Any]


async def discord(settings: Settings) -> Sequence[Finding]:
    """Everything about Discord, where any of it is set."""
    if settings.discord_token is None:
        if not settings.discord_public_key:
            return []
        return [_failure("DISCORD_TOKEN is not set: nothing is posted", "Copy it from the application's Bot page.")]
    token = settings.discord_token.get_secret_value()
    async with DiscordRest(token, settings.discord_api_url) as rest:
        try:
            application: Json = await rest.call("GET", "/applications/@me")
            found = [
                *clock("Discord", rest.answered_at),
                *_identity(settings, application),
                *await _commands(rest, application),
            ]
            bot_id = str((await rest.call("GET", "/users/@me"))["id"])
            found += [finding async for finding in _channels(settings, rest, bot_id)]
        except Refused as error:
            return [_failure("it refuses DISCORD_TOKEN", str(error))]
        except ChatError as error:
            return [_failure("it does not answer", f"{error} Look at the network and the proxy.")]
    return found or [Finding("discord", OK, f"{application.get('name')}, /{NAME} is known")]


def _identity(settings: Settings, application: Json) -> list[Finding]:
    """Whether what is set belongs to the token's application, and commands come in by the way that is set up."""
    found = []
    if settings.discord_application_id not in {"", application.get("id")}:
        mend = f"Set DISCORD_APPLICATION_ID to {application.get('id')}, or take the token of the right application."
        found.append(_failure("DISCORD_APPLICATION_ID is not the token's application", mend))
    key, endpoint = settings.discord_public_key.lower(), application.get("interactions_endpoint_url")
    address = f"{settings.base_url}{PATH}"
    if key and key != application.get("verify_key"):
        mend = f"Set DISCORD_PUBLIC_KEY to {application.get('verify_key')}, as on the General Information page."
        found.append(_failure("DISCORD_PUBLIC_KEY is not the application's: every command is refused", mend))
    elif key and not endpoint:
        mend = f"Set the Interactions Endpoint URL on the General Information page: {address}"
        found.append(_failure("commands can't come in: the application has no Interactions Endpoint URL", mend))
    elif endpoint and not key:
        mend = "Set DISCORD_PUBLIC_KEY, or remove the Interactions Endpoint URL on the General Information page."
        found.append(_failure(f"commands go to {endpoint}, and not over the connection", mend))
    return found


async def _commands(rest: DiscordRest, application: Json) -> list[Finding]:
    """Whether Discord knows the sub-commands that there are."""
    known = await rest.call("GET", f"/applications/{application['id']}/commands")
    ours = next((command for command in known if command.get("name") == NAME), None)
    wanted = {option["name"] for option in registration(COMMANDS)["options"]}
    if ours is None:
        return [_failure(f"it does not know /{NAME}", "Run `locutus discord sync`.")]
    if wanted != {option.get("name") for option in ours.get("options", ())}:
        return [Finding("discord", WARN, f"it knows an older /{NAME}", "Run `locutus discord sync`.")]
    return []


async def _channels(settings: Settings, rest: DiscordRest, bot_id: str) -> AsyncIterator[Finding]:
    """Whether the bot may do in the channels that threads go to what a card and its thread take."""
    for channel in await channels_on("discord", settings):
        try:
            lacking = await _lacking(rest, channel, bot_id)
        except ChatError as error:
            mend = "Add the bot to the server (OAuth2 page), and allow it View Channel in the channel's permissions."
            yield _failure(f"{channel} can't be posted to ({error})", mend)
            continue
        if lacking:
            mend = "Allow it in the channel's permissions, or in those of the bot's role."
            yield _failure(f"{channel}: the bot may not {', '.join(lacking)}", mend)


async def _lacking(rest: DiscordRest, place: str, bot_id: str) -> list[str]:
    _, guild_id, channel_id = place.split(":")
    channel = await rest.call("GET", f"/channels/{channel_id}")
    guild = await rest.call("GET", f"/guilds/{guild_id}")
    member = await rest.call("GET", f"/guilds/{guild_id}/members/{bot_id}")
    return missing(guild, member, channel)


def _failure(seen: str, mend: str) -> Finding:
    return Finding("discord", FAIL, seen, mend)
