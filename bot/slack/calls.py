"""Calls of Slack's Web API, each made once, and its errors in the words of the port.

Methods and error codes: https://docs.slack.dev/reference/methods (chat.postMessage, chat.update, chat.delete,
chat.postEphemeral, conversations.history, conversations.replies, auth.test); limits: https://docs.slack.dev/apis/web-api/rate-limits.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.platform import AccountRefused, ChannelRefused, ChatError, MessageGone
from bot.proxy import proxy_for

API_URL = "https://slack.com/api/"
TIMEOUT_S = 10.0
RETRY_AFTER_S = 10.0
"""Waited after a 429 that does not say how long."""

Method = Callable[..., Awaitable[Any]]


class ContentRefusedError(ChatError):
    """Slack does not take the message as it is laid out."""


_INVITE = "invite the bot to the channel with /invite"
_REINSTALL = "reinstall the app to the workspace and set the new SLACK_BOT_TOKEN"
_ERRORS: dict[str, tuple[type[ChatError], str]] = {
    "message_not_found": (MessageGone, "the message was deleted"),
    "cant_update_message": (MessageGone, "the message can't be edited by this bot"),
    "edit_window_closed": (MessageGone, "the workspace does not allow edits of a message this old"),
    "thread_not_found": (MessageGone, "the thread's first message was deleted"),
    "cannot_reply_to_message": (MessageGone, "the message can't have a thread"),
    "cant_delete_message": (MessageGone, "the message can't be deleted by this bot"),
    "channel_not_found": (ChannelRefused, f"the channel does not exist or is private; {_INVITE}"),
    "not_in_channel": (ChannelRefused, f"the bot is not in the channel; {_INVITE}"),
    "is_archived": (ChannelRefused, "the channel is archived; choose another one"),
    "messages_tab_disabled": (ChannelRefused, "the app takes no direct messages; switch its messages tab on"),
    "restricted_action": (ChannelRefused, "the workspace lets only some members post there; ask its owner"),
    "restricted_action_read_only_channel": (ChannelRefused, "the channel is read-only; choose another one"),
    "restricted_action_thread_locked": (ChannelRefused, "the thread is locked; unlock it"),
    "restricted_action_non_threadable_channel": (ChannelRefused, "the channel has no threads; choose another one"),
    "restricted_action_thread_only_channel": (ChannelRefused, "the channel takes replies only; choose another one"),
    "team_access_not_granted": (AccountRefused, f"the app has no access to the workspace; {_REINSTALL}"),
    "access_denied": (ChannelRefused, "the workspace refuses the app; ask its owner"),
    "no_permission": (ChannelRefused, f"the token lacks the right; {_REINSTALL}"),
    "missing_scope": (AccountRefused, "the token lacks a scope; `locutus doctor` names it"),
    "not_authed": (AccountRefused, "no token was sent; set SLACK_BOT_TOKEN"),
    "invalid_auth": (AccountRefused, f"the token is not valid; {_REINSTALL}"),
    "account_inactive": (AccountRefused, f"the app was removed from the workspace; {_REINSTALL}"),
    "token_expired": (AccountRefused, f"the token has expired; {_REINSTALL}"),
    "token_revoked": (AccountRefused, f"the token was revoked; {_REINSTALL}"),
    "not_allowed_token_type": (AccountRefused, "the token is of the wrong type; SLACK_BOT_TOKEN begins with xoxb-"),
    "invalid_blocks": (ContentRefusedError, "the layout of the message is not valid"),
    "invalid_blocks_format": (ContentRefusedError, "the layout of the message is not valid"),
    "msg_blocks_too_long": (ContentRefusedError, "the layout of the message is too long"),
    "ratelimited": (ChatError, "too many calls"),
}


def web_client(token: str, api_url: str, session: aiohttp.ClientSession) -> AsyncWebClient:
    """A client that repeats nothing by itself."""
    client = AsyncWebClient(token, api_url, session=session, retry_handlers=[])
    # The SDK itself takes any proxy of the environment for any URL and knows no NO_PROXY.
    client.proxy = proxy_for(api_url)
    return client


async def call(method: Method, **arguments: Any) -> Mapping[str, Any]:
    """One call, made once; every way in which it can fail becomes a `ChatError`."""
    try:
        answer: Mapping[str, Any] = (await method(**arguments)).data
    except SlackApiError as error:
        raise _chat_error(error.response) from error
    except TimeoutError as error:
        raise ChatError("Slack did not answer in time.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ChatError(f"Slack could not be reached ({type(error).__name__}).") from error
    except (AttributeError, ValueError) as error:  # the SDK, of an answer that is not a JSON object
        raise ChatError("What answered for Slack did not speak its language; is there a proxy in between?") from error
    return answer


def _chat_error(response: Any) -> ChatError:
    """The error that an answer with `ok: false`, or with another status than 200, stands for."""
    data = getattr(response, "data", None)
    code = data.get("error") if isinstance(data, dict) else None
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    if status == 429:
        code = "ratelimited"
    kind, reason = _ERRORS.get(code or "", (ChatError, "its service failed" if not code else "the call failed"))
    said = f"Slack did not do it: {reason} ({code or f'status {status}'})."
    return kind(said, retry_after_s=_retry_after_s(response) if code == "ratelimited" else None)


def _retry_after_s(response: Any) -> float:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return RETRY_AFTER_S


def channel_id(channel: str) -> str:
    """The id in `slack:TEAM:CHANNEL`."""
    platform, _, place = channel.partition(":")
    team, _, identifier = place.partition(":")
    if platform != "slack" or not team or not identifier:
        raise ChannelRefused(f"{channel!r} is no Slack channel; it is written slack:TEAM:CHANNEL.")
    return identifier
