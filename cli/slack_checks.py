"""What `locutus doctor` looks at of Slack: tokens, scopes, the clock, Socket Mode, the channels that threads go to."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
from pydantic import SecretStr

from cli.finding import FAIL, OK, TIMEOUT, WARN, Finding
from cli.platform_checks import channels_on, clock
from cli.slack import BOT_SCOPES
from jobs.settings import Settings

_UNREACHABLE = {"not_in_channel": "the bot is not in it", "channel_not_found": "it does not exist, or is private"}

Answer = tuple[Mapping[str, Any], Mapping[str, str]]


async def slack(settings: Settings) -> Sequence[Finding]:
    """Slack's tokens: their shape, whether Slack takes them, and the scopes they have."""
    secrets = {
        "SLACK_BOT_TOKEN": (settings.slack_bot_token, r"xoxb-.+", "it starts with xoxb-"),
        "SLACK_SIGNING_SECRET": (settings.slack_signing_secret, r"[0-9a-f]{32}", "it is 32 hexadecimal digits"),
        "SLACK_APP_TOKEN": (settings.slack_app_token, r"xapp-.+", "it starts with xapp-"),
    }
    wrong = [finding for name, secret in secrets.items() if (finding := _misshapen(name, *secret))]
    if not any(secret for secret, _, _ in secrets.values()):
        return wrong
    if settings.slack_bot_token is None:
        mend = "Copy it from the app's OAuth & Permissions."
        return [*wrong, Finding("slack", FAIL, "SLACK_BOT_TOKEN is not set", mend)]
    if settings.slack_signing_secret is None and settings.slack_app_token is None:
        mend = "Copy the signing secret from the app's Basic Information, or make an app-level token for Socket Mode."
        wrong.append(
            Finding("slack", FAIL, "commands can't come in: neither SLACK_SIGNING_SECRET nor SLACK_APP_TOKEN", mend)
        )
    return [*wrong, *await _asked(settings, settings.slack_bot_token.get_secret_value())]


def _misshapen(name: str, secret: SecretStr | None, shape: str, rule: str) -> Finding | None:
    if secret is None or re.fullmatch(shape, secret.get_secret_value()):
        return None
    return Finding("slack", FAIL, f"{name} does not look like one: {rule}", "Copy it again from api.slack.com/apps.")


async def _asked(settings: Settings, token: str) -> list[Finding]:
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session:
            found = _bot(await _call(session, settings, "auth.test", token))
            if found[-1].standing is FAIL and "refuses" in found[-1].seen:
                return found
            if settings.slack_app_token is not None:
                app_token = settings.slack_app_token.get_secret_value()
                found += _socket_mode(await _call(session, settings, "apps.connections.open", app_token))
            for channel in await channels_on("slack", settings):
                found += _channel(
                    channel, await _call(session, settings, "conversations.history", token, channel=channel)
                )
            return found
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        seen = f"it can't be reached ({type(error).__name__})"
        return [Finding("slack", FAIL, seen, "Look at the network and the proxy.")]


async def _call(session: aiohttp.ClientSession, settings: Settings, method: str, token: str, **form: str) -> Answer:
    data = {**form, "limit": "1"} if form else {}
    if "channel" in data:
        data["channel"] = data["channel"].rpartition(":")[2]
    headers = {"Authorization": f"Bearer {token}"}
    async with session.post(f"{settings.slack_api_url}{method}", headers=headers, data=data) as response:
        answer = await response.json(content_type=None)
        return (answer if isinstance(answer, dict) else {"error": "no JSON object"}), response.headers


def _bot(answer: Answer) -> list[Finding]:
    """By `auth.test`, whose answer names the scopes in a header. https://docs.slack.dev/reference/methods/auth.test"""
    said, headers = answer
    if not said.get("ok"):
        seen = f"it refuses SLACK_BOT_TOKEN ({said.get('error')})"
        return [Finding("slack", FAIL, seen, "Reinstall the app and set the new token.")]
    scopes = headers.get("x-oauth-scopes")
    missing = [scope for scope in BOT_SCOPES if scope not in re.split(r"[,\s]+", scopes)] if scopes is not None else []
    if missing:
        mend = "Add them (`locutus slack manifest` has them all) and reinstall the app."
        return [
            *clock("Slack", headers.get("Date")),
            Finding("slack", FAIL, f"the app lacks the scopes {', '.join(missing)}", mend),
        ]
    return [*clock("Slack", headers.get("Date")), Finding("slack", OK, f"{said.get('user')} in {said.get('team')}")]


def _socket_mode(answer: Answer) -> list[Finding]:
    said, _ = answer
    if said.get("ok"):
        return []
    mend = "Make an app-level token with the scope connections:write, and switch Socket Mode on."
    return [Finding("slack", FAIL, f"it refuses SLACK_APP_TOKEN ({said.get('error')})", mend)]


def _channel(channel: str, answer: Answer) -> list[Finding]:
    """What was posted is looked for there after a crash: for that the bot must be in the channel."""
    error = str(answer[0].get("error"))
    if answer[0].get("ok") or error not in _UNREACHABLE:
        return []
    return [Finding("slack", WARN, f"{channel}: {_UNREACHABLE[error]}", "Invite the bot there: /invite @Locutus.")]
