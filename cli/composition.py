"""The composition root: from settings to an open database and queue, platforms, a gateway and a worker."""

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from aiohttp import web
from pydantic import SecretStr

from bot.console.platform import ConsolePlatform
from bot.discord.client import DiscordPlatform
from bot.platform import ChatPlatform
from bot.slack.client import SlackPlatform
from cli.discord_gateway import discord_routes
from cli.embedded_redis import embedded_url
from cli.slack_gateway import slack_routes
from jobs.access import Principal
from jobs.database.connection import database
from jobs.queue import Queue, open_queue
from jobs.secrets import SecretBox, write_private
from jobs.settings import Settings, SettingsError
from webhooks.app import gateway, serve
from webhooks.context import GatewayContext

SECRET_KEY_FILE = "secret-key"  # noqa: S105 - a file's name
SECRET_KEY_BYTES = 32


@contextlib.asynccontextmanager
async def storage(settings: Settings, redis_url: str | None = None) -> AsyncIterator[Queue]:
    """The open database and queue; the embedded Redis is used, running or not, where none is set."""
    url = redis_url or settings.redis_url or embedded_url(settings.data_dir)
    async with database(settings.database_url), open_queue(url) as queue:
        yield queue


def require_redis(settings: Settings) -> None:
    """Raise `SettingsError` where a part of a fleet has no Redis to meet the others in."""
    if not settings.redis_url:
        raise SettingsError(
            "LOCUTUS_REDIS_URL is not set. `locutus up` has a Redis of its own; a part of a fleet needs one."
        )


def secret_box(settings: Settings) -> SecretBox:
    """The box of `LOCUTUS_SECRET_KEY`, or of the key in the data directory; raises `SettingsError` without either."""
    file = settings.data_dir / SECRET_KEY_FILE
    if settings.secret_key is not None:
        return SecretBox(settings.secret_key.get_secret_value())
    if file.exists():
        return SecretBox(file.read_text().strip())
    raise SettingsError(
        "LOCUTUS_SECRET_KEY is not set. Give gateway and worker the same text of at least 32 characters."
    )


def make_secret_key(settings: Settings) -> None:
    """Make the data directory's key on the first start of `up`."""
    file = settings.data_dir / SECRET_KEY_FILE
    if settings.secret_key is None and not file.exists():
        write_private(file, secrets.token_urlsafe(SECRET_KEY_BYTES).encode())


def make_data_directory(settings: Settings) -> Path:
    """The data directory, made private if it is new; raises `SettingsError` when that can't be."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.runs.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"LOCUTUS_DATA_DIR: {settings.data_dir} can't be used ({error.strerror}).") from error
    return settings.data_dir


@contextlib.asynccontextmanager
async def chat_platforms(settings: Settings) -> AsyncIterator[Sequence[ChatPlatform]]:
    """The console, and every platform whose token is set."""
    async with contextlib.AsyncExitStack() as opened:
        platforms: list[ChatPlatform] = [ConsolePlatform()]
        if token := _given(settings.slack_bot_token):
            platforms.append(await opened.enter_async_context(SlackPlatform(token, settings.slack_api_url)))
        if token := _given(settings.discord_token):
            platforms.append(await opened.enter_async_context(DiscordPlatform(token, settings.discord_api_url)))
        yield platforms


def gateway_app(
    settings: Settings, queue: Queue, secrets: SecretBox | None, local: Principal | None = None
) -> web.Application:
    """The gateway with the routes of every platform that is switched on; `local`: for one command, without them."""
    routes = [] if local else [*slack_routes(settings), *discord_routes(settings)]
    return gateway(GatewayContext(settings, queue, secrets, routes), local=local)


@contextlib.asynccontextmanager
async def served(settings: Settings, app: web.Application) -> AsyncIterator[None]:
    """The gateway listening on `LOCUTUS_BIND`; raises `SettingsError` when the address is taken."""
    try:
        runner = await serve(app, settings.bind)
    except OSError as error:
        raise SettingsError(f"LOCUTUS_BIND: can't listen on {settings.bind} ({error.strerror}).") from error
    try:
        yield
    finally:
        await runner.cleanup()


async def until_stopped() -> None:
    """Return at SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _given(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
