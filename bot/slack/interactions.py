"""What people do in Slack, by whichever way it comes in: commands, clicks, forms, the app's home, carried out.

A command's answer goes back with the acknowledgement, within Slack's three seconds; one that takes longer follows, by
the `response_url`. A click's can't: it is sent after the acknowledgement. The thread is the reporter's.

https://docs.slack.dev/interactivity/handling-user-interaction
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import structlog
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from bot.commands import Answer, Asker, answer, carry_out, click, complete, read
from bot.commands.declaration import Command
from bot.slack import forms
from bot.slack.home import home_of
from bot.slack.payloads import Who, form_data, who_commands, who_interacts
from bot.slack.render import Content, render_answer
from bot.slack.user_groups import UserGroups
from jobs import audit
from jobs.access import Principal, chat_principal
from jobs.command_words import WordType
from jobs.database.connection import CAUSES
from jobs.errors import ForbiddenError, RequestRefusedError
from jobs.threads import is_first_in

T = TypeVar("T")
View = Mapping[str, Any]

ORIGIN = "slack"
COMMAND = "/backup"
ACKNOWLEDGE_WITHIN_S = 2.0
"""Of Slack's three seconds, what may pass before something is acknowledged whose answer is not there yet."""
REPLY_GRACE_S = 0.5
"""How long a stopping gateway waits for answers that are on their way."""

_ANY = re.compile("")
_FAILED = "Something went wrong here and nothing was started. Please try again; the gateway's log has the reason."
_TOO_LATE_FOR_A_FORM = "Write the command with all it needs, or again: it took too long here to show the form for it."
_WORKING = "This takes a moment. What comes of it is shown here."
_FOREIGN = "Locutus does not serve this workspace. Whoever runs it can add its id to LOCUTUS_SLACK_TEAMS."
_MAY_NOT_POST = (
    "Nothing of mine stands here yet. If I may not post here, the thread comes in the repository's channel; "
    "`/invite @Locutus` lets me into a private channel, and `/backup status` shows the job everywhere."
)
_log = structlog.get_logger()
# bolt warns of a SLACK_BOT_TOKEN in the environment, which it looks up and does not need here; its errors are told.
_bolt_log = logging.getLogger("locutus.slack_bolt")
_bolt_log.setLevel(logging.ERROR)


class Replies(Protocol):
    """What is shown to one person after the acknowledgement; failures are logged, never raised."""

    async def whisper(self, channel: str, user: str, content: Content) -> bool:
        """Show it to `user` alone in `slack:TEAM:CHANNEL`; whether Slack took it."""

    async def respond(self, response_url: str, content: Content, *, replace: bool) -> None:
        """Show it to who clicked, alone or, with `replace`, in place of the message that was clicked."""

    async def open_form(self, trigger_id: str, view: Mapping[str, Any]) -> None:
        """Open a modal for who typed or clicked within the last three seconds."""

    async def update_form(self, view_id: str, view: Mapping[str, Any]) -> None:
        """Show something else in an open modal."""

    async def publish_home(self, user: str, view: Mapping[str, Any]) -> None:
        """Show the user their home."""


class SlackInteractions:
    """Carries out what Slack sends; `dispatch` takes what is known to come from Slack.

    `teams`: the ids of workspaces and enterprises that are served; none: every one that the app is installed in.
    """

    def __init__(
        self, replies: Replies | None = None, *, teams: Collection[str] = (), groups: UserGroups | None = None
    ) -> None:
        self._replies = replies
        self._teams = frozenset(teams)
        self._groups = groups
        self._tasks: set[asyncio.Task[Any]] = set()
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
        self._bolt.view(forms.FORM)(self._on_form)
        self._bolt.options(_ANY)(self._on_menu)
        self._bolt.event("app_home_opened")(self._on_home)

    async def dispatch(self, request: AsyncBoltRequest) -> BoltResponse:
        """Carry it out; the response is the acknowledgement."""
        return await self._bolt.async_dispatch(request)

    async def finish(self) -> None:
        """Give the answers that are on their way a moment, and end the rest."""
        if self._groups is not None:
            await self._groups.close()
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
        who, text = who_commands(command), command.get("text", "")
        work = await self._begun(self._carried_out(who, lambda asker: self._commanded(who, text, asker)))
        if not work.done():
            await ack()
            self._later(lambda replies: _answer_late(replies, command, work))
        elif isinstance(said := work.result(), Answer):
            content = render_answer(said)
            await (ack(**content.arguments, response_type="ephemeral") if content.blocks else ack(content.text))
        else:
            await ack()
            self._later(lambda replies: replies.open_form(command.get("trigger_id", ""), said))

    async def _commanded(self, who: Who, text: str, asker: Asker) -> Answer | View:
        """The answer; or the form for a command that is too much to type."""
        if view := self._form(who, text, asker):
            return view
        reply = await answer(text, asker)
        if reply.job_id is not None and who.private and who.place:
            with contextlib.suppress(*CAUSES):  # the job is accepted, whatever can be said of its thread
                if await is_first_in(who.place, reply.job_id):
                    return replace(reply, text=f"{reply.text}\n{_MAY_NOT_POST}")
        return reply

    def _form(self, who: Who, text: str, asker: Asker) -> View | None:
        """None too where the asker may do nothing here at all."""
        try:
            command, values = read(text)
        except RequestRefusedError:
            return None
        if self._replies is None or not forms.unfinished(command, values):
            return None
        return forms.form(command, values, who.channel) if asker.principal.may_anything(asker.channel) else None

    async def _on_button(self, ack: AsyncAck, body: dict[str, Any], action: dict[str, Any]) -> None:
        who = who_interacts(body)
        clicked = self._carried_out(who, lambda asker: click(action["action_id"], action["value"], asker))
        work = await self._begun(clicked)
        await ack(render_answer(work.result()).text if work.done() else "")
        self._later(lambda replies: self._answer_click(replies, body, who, work))

    async def _answer_click(
        self, replies: Replies, body: Mapping[str, Any], who: Who, work: "asyncio.Task[Answer]"
    ) -> None:
        """In the view that was clicked in; a private question is replaced; else the one who clicked is told, alone."""
        reply = await work
        content, view = render_answer(reply), body.get("view") or {}
        if view.get("type") == "home":
            await replies.publish_home(who.user, await home_of(await self._asker(who), reply))
        elif (command := forms.command_in(form_data(view))) is not None:
            await replies.update_form(view["id"], forms.told(command, reply, who.channel))
        elif _is_private_question(body) and isinstance(body.get("response_url"), str):
            await replies.respond(body["response_url"], content, replace=not reply.refused)
        elif not (who.place and await replies.whisper(who.place, who.user, content)) and body.get("response_url"):
            # To who is no member of the channel nothing can be whispered.
            await replies.respond(str(body["response_url"]), content, replace=False)

    async def _on_form(self, ack: AsyncAck, body: dict[str, Any], view: dict[str, Any]) -> None:
        command, who = forms.command_in(form_data(view)), who_interacts(body)
        if command is None:
            await ack()
            return
        values = forms.said_in(command, view.get("state", {}).get("values", {}))
        work = await self._begun(self._carried_out(who, lambda asker: carry_out(command, values, asker)))
        if not work.done():
            await ack(response_action="update", view=forms.told(command, Answer(_WORKING), who.channel))
            self._later(lambda replies: _update_late(replies, view["id"], command, who, work))
        elif (reply := work.result()).refused and (faults := forms.faults(reply.text, command)):
            await ack(response_action="errors", errors=faults)
        else:
            await ack(response_action="update", view=forms.told(command, reply, who.channel))

    async def _on_menu(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        who, view = who_interacts(body), body.get("view") or {}
        command, word = forms.command_in(form_data(view)), body["action_id"].removeprefix(forms.WORD)
        found = []
        if command is not None and word in set(WordType) and self._serves(who):
            said = forms.said_in(command, view.get("state", {}).get("values", {}))
            found = await complete(WordType(word), body["value"], said, await self._asker(who))
        await ack(options=forms.options(found))

    async def _on_home(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        user = event.get("user")
        if event.get("tab") != "home" or not isinstance(user, str):
            return
        who = Who(body["team_id"], user, None, "", body.get("enterprise_id"))
        if self._serves(who):
            self._later(lambda replies: self._show_home(replies, who))

    async def _show_home(self, replies: Replies, who: Who) -> None:
        await replies.publish_home(who.user, await home_of(await self._asker(who)))

    async def _begun(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start it, and give it as long as an acknowledgement may take; if no answer can follow that, all it takes."""
        task = self._owned(asyncio.ensure_future(work))
        await asyncio.wait({task}, timeout=ACKNOWLEDGE_WITHIN_S if self._replies else None)
        return task

    async def _carried_out(self, who: Who, work: Callable[[Asker], Awaitable[T]]) -> T | Answer:
        if not self._serves(who):
            _log.warning("slack_team_not_served", team=who.team, enterprise=who.enterprise)
            refusal = ForbiddenError(_FOREIGN)
            await audit.record_refusal(Principal(who.subject, ()), "workspace.use", refusal, origin=ORIGIN)
            return Answer(_FOREIGN, refused=True)
        try:
            return await work(await self._asker(who))
        except Exception:  # noqa: BLE001 - named edge: bolt loses an acknowledgement when a listener raises
            _log.exception("slack_command_failed", subject=who.subject)
            return Answer(_FAILED, refused=True)

    def _serves(self, who: Who) -> bool:
        return not self._teams or bool(self._teams & {who.team, who.enterprise})

    async def _asker(self, who: Who) -> Asker:
        """The person with the rights that are bound to them and to their user groups."""
        memberships = await self._groups.subjects_of(who.team, who.user) if self._groups else ()
        return Asker(await chat_principal(who.subject, memberships), ORIGIN, who.place, who.request_key)

    def _later(self, work: Callable[[Replies], Coroutine[Any, Any, None]]) -> None:
        if self._replies is not None:
            self._owned(asyncio.ensure_future(work(self._replies)))

    def _owned(self, task: "asyncio.Task[T]") -> "asyncio.Task[T]":
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _answer_late(replies: Replies, command: Mapping[str, Any], work: "asyncio.Task[Answer | View]") -> None:
    said = await work
    content = render_answer(said if isinstance(said, Answer) else Answer(_TOO_LATE_FOR_A_FORM))
    await replies.respond(str(command.get("response_url")), content, replace=False)


async def _update_late(
    replies: Replies, view_id: str, command: Command, who: Who, work: "asyncio.Task[Answer]"
) -> None:
    await replies.update_form(view_id, forms.told(command, await work, who.channel))


async def _authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
    return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id)


def _is_private_question(body: Mapping[str, Any]) -> bool:
    """Whether the click was on a question that its asker alone sees; one in a channel is the reporter's to edit."""
    alone = bool((body.get("container") or {}).get("is_ephemeral", True))
    return alone and all(str(action.get("action_id")).startswith("request.") for action in body["actions"])
