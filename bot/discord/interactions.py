"""What people do in Discord, by whichever way it comes in: commands, clicks, forms, and words that are being typed.

https://docs.discord.com/developers/interactions/receiving-and-responding#responding-to-an-interaction

An interaction must be answered within three seconds. What takes longer is acknowledged, and its answer follows by the
interaction's token, which is good for fifteen minutes. Threads don't use it: they are the reporter's.
"""

import asyncio
from dataclasses import replace
from enum import IntEnum
from typing import Any

import structlog

from bot.commands import COMMANDS, Answer, Asker, carry_out, click, complete
from bot.discord import modal
from bot.discord.command_tree import NUMBERED, command_in, values_in
from bot.discord.payload import EPHEMERAL, Interaction, InteractionType, focused, parsed
from bot.discord.render import render_answer
from bot.discord.rest import API_URL, DiscordRest
from bot.platform import ChatError
from jobs.access import chat_principal
from jobs.errors import RequestRefusedError
from jobs.threads import is_to_come_in

ORIGIN = "discord"
ACKNOWLEDGE_WITHIN_S = 2.0
"""Of Discord's three seconds, what may pass before an answer that is not there yet is promised."""
ANSWER_GRACE_S = 0.5
"""How long a stopping gateway waits for promised answers."""
QUESTION = "request."
"""What the buttons' actions begin with that stand under a question whether something is meant."""
_TOO_LATE_FOR_A_FORM = "Write the command with all of its options: it took too long here to show a form for them."
_OUTSIDE = "Locutus works in servers only: use the command in a channel of one."
_SEEN_BY_MORE = "This thread is private, the job's card is not: it stands in the channel that the thread belongs to."
_FAILED = "Something went wrong here and nothing was started. Please try again; the gateway's log has the reason."

Json = dict[str, Any]
_log = structlog.get_logger()


class Response(IntEnum):
    """How an interaction is answered."""

    PONG = 1
    MESSAGE = 4
    PROMISE = 5
    UPDATE = 7
    CHOICES = 8
    MODAL = 9


class DiscordInteractions:
    """Carries out what Discord sends; `respond` takes what is known to come from Discord."""

    def __init__(self, api_url: str = API_URL) -> None:
        self._api_url = api_url
        self._tasks: set[asyncio.Task[Json]] = set()
        self._promised: set[asyncio.Task[None]] = set()

    async def respond(self, payload: Any) -> Json:
        """The response within three seconds; raises `InvalidInteractionError`."""
        interaction = parsed(payload)
        if interaction.type is InteractionType.PING:
            return {"type": Response.PONG}
        task = asyncio.create_task(_guarded(interaction))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait({task}, timeout=ACKNOWLEDGE_WITHIN_S)
        if done:
            return task.result()
        if interaction.type is InteractionType.AUTOCOMPLETE:
            task.cancel()
            return _choices([])
        promised = asyncio.create_task(self._answer_later(interaction, task))
        self._promised.add(promised)
        promised.add_done_callback(self._promised.discard)
        return {"type": Response.PROMISE, "data": {"flags": EPHEMERAL}}

    async def finish(self) -> None:
        """Give the promised answers a moment, and end the rest."""
        pending: set[asyncio.Task[Any]] = {*self._tasks, *self._promised}
        if not pending:
            return
        _, late = await asyncio.wait(pending, timeout=ANSWER_GRACE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _answer_later(self, interaction: Interaction, task: "asyncio.Task[Json]") -> None:
        response = await task
        late_form = response["type"] == Response.MODAL
        data = render_answer(Answer(_TOO_LATE_FOR_A_FORM)) if late_form else response["data"]
        path = f"/webhooks/{interaction.application_id}/{interaction.token}/messages/@original"
        try:
            async with DiscordRest(None, self._api_url) as rest:
                await rest.call("PATCH", path, _without_flags(data))
        except ChatError as error:
            _log.warning("discord_answer_lost", interaction=interaction.id, reason=str(error))


async def _guarded(interaction: Interaction) -> Json:
    try:
        return await _response(interaction)
    except RequestRefusedError as refusal:
        return _message(interaction, Answer(str(refusal), refused=True))
    except Exception:  # noqa: BLE001 - named edge: whoever asked must be told something
        _log.exception("discord_interaction_failed", interaction=interaction.id, subjects=interaction.subjects)
        return _message(interaction, Answer(_FAILED, refused=True))


async def _response(interaction: Interaction) -> Json:
    if not interaction.subjects or interaction.place is None:
        return _message(interaction, Answer(_OUTSIDE, refused=True))
    subject, *roles = interaction.subjects
    principal = await chat_principal(subject, roles)
    asker = Asker(principal, ORIGIN, interaction.place, f"discord:{interaction.id}")
    if interaction.type is InteractionType.AUTOCOMPLETE:
        return await _completed(interaction, asker)
    if interaction.type is InteractionType.COMPONENT:
        action, _, value = interaction.data.custom_id.partition(":")
        return await _told(interaction, await click(action, value, asker))
    if interaction.type is InteractionType.MODAL_SUBMIT:
        command, values = modal.submitted(interaction.data, COMMANDS)
        return await _told(interaction, await carry_out(command, values, asker))
    return await _commanded(interaction, asker)


async def _commanded(interaction: Interaction, asker: Asker) -> Json:
    command, options = command_in(interaction.data, COMMANDS)
    values = values_in(command, options)
    if modal.asks_for_more(command, values) and asker.principal.may_anything(asker.channel):
        form = modal.modal(command, values)
        if form is not None:
            return {"type": Response.MODAL, "data": form}
    return await _told(interaction, await carry_out(command, values, asker))


async def _completed(interaction: Interaction, asker: Asker) -> Json:
    command, options = command_in(interaction.data, COMMANDS)
    typed = focused(options)
    word = next((word for word in command.positionals if typed and word.name == typed.name), None)
    if typed is None or word is None:
        return _choices([])
    said = {option.name: option.value for option in options if not option.focused}
    found = await complete(word.type, str(typed.value or ""), said, asker)
    number = int if word.type in NUMBERED else str
    return _choices([{"name": choice.label, "value": number(choice.value)} for choice in found])


async def _told(interaction: Interaction, answer: Answer) -> Json:
    """What came of it; in a private thread, before and when a job comes of it, that more people will see that."""
    place = interaction.place
    if place and interaction.in_private_thread:
        comes = answer.job_id is not None and await is_to_come_in(place, answer.job_id)
        if comes or answer.confirmation_id is not None:
            answer = replace(answer, text=f"{answer.text}\n{_SEEN_BY_MORE}")
    return _message(interaction, answer)


def _message(interaction: Interaction, answer: Answer) -> Json:
    """A private answer; a private question is replaced by what became of it, unless the click was refused.

    A question in a channel is the reporter's to edit.
    """
    if interaction.type is InteractionType.AUTOCOMPLETE:
        return _choices([])
    data = render_answer(answer)
    asked_alone = interaction.message.flags & EPHEMERAL and interaction.data.custom_id.startswith(QUESTION)
    if asked_alone and not answer.refused:
        return {"type": Response.UPDATE, "data": _without_flags(data)}
    return {"type": Response.MESSAGE, "data": data}


def _without_flags(data: Json) -> Json:
    """Who sees a message was settled when it was made."""
    return {key: value for key, value in data.items() if key != "flags"}


def _choices(choices: list[Json]) -> Json:
    return {"type": Response.CHOICES, "data": {"choices": choices}}
