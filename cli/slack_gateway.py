"""Slack's part of a gateway, as far as its tokens are set: requests over HTTP, over Socket Mode, or both."""

import re
from collections.abc import Callable

from aiohttp import web
from pydantic import SecretStr

from bot.slack.app import SlackEndpoint
from bot.slack.interactions import SlackInteractions
from bot.slack.replies import SlackReplies
from bot.slack.socket_mode import SlackSocket
from bot.slack.user_groups import UserGroups
from jobs.settings import Settings


def slack_routes(settings: Settings) -> list[Callable[[web.Application], None]]:
    """What adds Slack to the gateway's application."""
    token = _given(settings.slack_bot_token)
    replies = SlackReplies(token, settings.slack_api_url) if token else None
    groups = UserGroups(replies.members) if replies else None
    teams = re.findall("[A-Z0-9]+", settings.slack_teams)
    interactions = SlackInteractions(replies, teams=teams, groups=groups)
    routes: list[Callable[[web.Application], None]] = []
    if signing_secret := _given(settings.slack_signing_secret):
        routes.append(SlackEndpoint(signing_secret, interactions).add_routes)
    if app_token := _given(settings.slack_app_token):
        routes.append(SlackSocket(app_token, settings.slack_api_url, interactions).add_routes)
    return routes


def _given(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
