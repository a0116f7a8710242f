"""What one person is told by Slack after the acknowledgement. They are few: no connection is kept between them.

https://docs.slack.dev/interactivity/handling-user-interaction#message_responses
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bot.platform import ChatError
from bot.proxy import proxy_for
from bot.slack.calls import TIMEOUT_S, call, channel_id, web_client
from bot.slack.render import Content

_log = structlog.get_logger()


class SlackReplies:
    """Speaks as the bot that `token` belongs to; what fails is logged, never raised."""

    def __init__(self, token: str, api_url: str) -> None:
        self._token = token
        self._api_url = api_url

    async def whisper(self, channel: str, user: str, content: Content) -> bool:
        """Show it to `user` alone in `slack:TEAM:CHANNEL`; whether Slack took it."""
        said = {"user": user, **content.arguments}
        try:
            async with self._client() as client:
                await call(client.chat_postEphemeral, channel=channel_id(channel), **said)
        except ChatError as error:
            _log.warning("slack_whisper_failed", channel=channel, user=user, reason=str(error))
            return False
        return True

    async def respond(self, response_url: str, content: Content, *, replace: bool) -> None:
        """Show it to who clicked, alone or, with `replace`, in place of the message that was clicked."""
        said = {**content.arguments, "replace_original": replace}
        if not replace:
            said["response_type"] = "ephemeral"
        try:
            async with (
                _session() as session,
                session.post(response_url, json=said, proxy=proxy_for(response_url)) as answer,
            ):
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.warning("slack_respond_failed", reason=type(error).__name__)

    async def open_form(self, trigger_id: str, view: Mapping[str, Any]) -> None:
        """Open a modal for who typed or clicked within the last three seconds."""
        await self._show("views_open", trigger_id=trigger_id, view=view)

    async def update_form(self, view_id: str, view: Mapping[str, Any]) -> None:
        """Show something else in an open modal."""
        await self._show("views_update", view_id=view_id, view=view)

    async def publish_home(self, user: str, view: Mapping[str, Any]) -> None:
        """Show the user their home."""
        await self._show("views_publish", user_id=user, view=view)

    async def members(self, group_id: str) -> frozenset[str]:
        """The members of a user group; raises `ChatError`."""
        async with self._client() as client:
            answer = await call(client.usergroups_users_list, usergroup=group_id)
        return frozenset(map(str, answer.get("users") or ()))

    async def _show(self, method: str, **arguments: Any) -> None:
        try:
            async with self._client() as client:
                await call(getattr(client, method), **arguments)
        except ChatError as error:
            _log.warning("slack_view_failed", method=method, reason=str(error))

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[AsyncWebClient]:
        async with _session() as session:
            yield web_client(self._token, self._api_url, session)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
