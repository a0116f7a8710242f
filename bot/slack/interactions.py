"""What people do in Slack, by whichever way it comes in: slash commands and clicks, carried out and answered.

A command's answer goes back with the acknowledgement, within Slack's three seconds. A click's can't: it is sent after
the acknowledgement. The thread is the reporter's.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from bot.commands import Answer, Asker, answer, click
from bot.slack.render import Content, render_answer
from jobs.access import chat_principal

ORIGIN = "slack"
COMMAND = "/backup"
REPLY_GRACE_S = 0.5
"""How long a stopping gateway waits for answers to clicks that are on their way."""

_ANY = re.compile("")
_FAILED = "Something went wrong here and nothing was started. Please try again; the gateway's log has the reason."
_log = structlog.get_logger()
# bolt warns of a SLACK_BOT_TOKEN in the environment, which it looks up and does not need here; its errors are told.
_bolt_log = logging.getLogger("locutus.slack_bolt")
_bolt_log.setLevel(logging.ERROR)


class Replies(Protocol):
    """What is said to one person after the acknowledgement; failures are logged, never raised."""

    async def whisper(self, channel: str, user: str, content: Content) -> None:
        """Show it to `user` alone in `slack:TEAM:CHANNEL`."""

    async def respond(self, response_url: str, content: Content, *, replace: bool) -> None:
        """Show it to who clicked, alone or, with `replace`, in place of the message that was clicked."""


@dataclass(frozen=True, slots=True)
class Who:
    """Slack's own ids of who asks and where, and the interaction's key."""

    team: str
    user: str
    channel: str
    request_key: str

    @property
    def subject(self) -> str:
        return f"slack:{self.team}:{self.user}"

    @property
    def place(self) -> str:
        return f"slack:{self.team}:{self.channel}"

    async def asker(self) -> Asker:
        """The person with the rights that are bound to them."""
        return Asker(await chat_principal(self.subject), ORIGIN, self.place, self.request_key)


class SlackInteractions:
    """Carries out what Slack sends; `dispatch` takes what is known to come from Slack."""

    def __init__(self, replies: Replies | None = None) -> None:
        self._replies = replies
        self._tasks: set[asyncio.Task[None]] = set()
        self._bolt = AsyncApp(
            signing_secret="checked before",  # noqa: S106 - bolt wants one, and never checks it
            request_verification_enabled=False,
            authorize=_authorize,
            name="locutus",
            logger=_bolt_log,
            ssl_check_enabled=False,
            # Else bolt carries out commands in tasks that nobody awaits.
            process_before_response=True,
        )
        self._bolt.command(_ANY)(self._on_command)
        self._bolt.action({"type": "block_actions", "action_id": _ANY})(self._on_button)

    async def dispatch(self, request: AsyncBoltRequest) -> BoltResponse:
        """Carry it out; the response is the acknowledgement."""
        return await self._bolt.async_dispatch(request)

    async def finish(self) -> None:
        """Give the answers that are on their way a moment, and end the rest."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=REPLY_GRACE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _on_command(self, ack: AsyncAck, command: dict[str, Any]) -> None:
        if command["command"] != COMMAND:
            _log.warning("slack_command_unknown", command=command["command"])
            await ack(f"Locutus does not answer to this command. Write `{COMMAND} help`.")
            return
        who = Who(command["team_id"], command["user_id"], command["channel_id"], request_key(command))
        reply = await _carried_out(who, lambda asker: answer(command.get("text", ""), asker))
        await _acknowledge(ack, reply)

    async def _on_button(self, ack: AsyncAck, body: dict[str, Any], action: dict[str, Any]) -> None:
        who = Who(body["team"]["id"], body["user"]["id"], body["channel"]["id"], request_key(body))
        reply = await _carried_out(who, lambda asker: click(action["action_id"], action["value"], asker))
        content = render_answer(reply)
        await ack(content.text)
        if self._replies is not None:
            self._later(self._answer_click(self._replies, body, who, reply, content))

    async def _answer_click(
        self, replies: Replies, body: Mapping[str, Any], who: Who, reply: Answer, content: Content
    ) -> None:
        """A question of ours is replaced by what became of it; else the one who clicked is told, alone."""
        url = body.get("response_url")
        if _is_question(body) and isinstance(url, str):
            await replies.respond(url, content, replace=not reply.refused)
        else:
            await replies.whisper(who.place, who.user, content)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
    return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id)


async def _acknowledge(ack: AsyncAck, reply: Answer) -> None:
    content = render_answer(reply)
    if content.blocks:
        await ack(**content.arguments, response_type="in_channel" if reply.public else "ephemeral")
    else:
        await ack(content.text)


async def _carried_out(who: Who, work: "_Work") -> Answer:
    try:
        return await work(await who.asker())
    except Exception:  # noqa: BLE001 - named edge: bolt loses an acknowledgement when a listener raises
        _log.exception("slack_command_failed", subject=who.subject)
        return Answer(_FAILED, refused=True)


class _Work(Protocol):
    def __call__(self, asker: Asker) -> Awaitable[Answer]: ...


def _is_question(body: Mapping[str, Any]) -> bool:
    """Whether the click was on a question whether something is meant."""
    return all(str(action.get("action_id")).startswith("request.") for action in body["actions"])


def request_key(body: Mapping[str, Any]) -> str:
    """Slack's trigger id names the interaction; it is the same when Slack, or anyone, sends it again."""
    trigger = body.get("trigger_id") or hashlib.sha256(repr(sorted(body.items())).encode()).hexdigest()
    return f"slack:{trigger}"
