"""Discord's part of a gateway, as far as it is set up: requests over HTTP, or a connection without a public key."""

from collections.abc import Callable

from aiohttp import web

from bot.discord.app import DiscordEndpoint
from bot.discord.interactions import DiscordInteractions
from jobs.settings import Settings


def discord_routes(settings: Settings) -> list[Callable[[web.Application], None]]:
    """What adds Discord to the gateway's application."""
    interactions = DiscordInteractions(settings.discord_api_url)
    if settings.discord_public_key:
        return [DiscordEndpoint(settings.discord_public_key, interactions).add_routes]
    if settings.discord_token is None:
        return []
    # Half a second, for those who use it.
    from bot.discord.gateway import DiscordGateway  # noqa: PLC0415

    token = settings.discord_token.get_secret_value()
    return [DiscordGateway(token, settings.discord_api_url, interactions).add_routes]
