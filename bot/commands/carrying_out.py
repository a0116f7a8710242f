"""Carrying out a command: as text that was typed, or with the values that a platform has asked for one by one."""

from collections.abc import Awaitable

from pydantic import TypeAdapter, ValidationError

from bot.commands import grammar
from bot.commands.asking import Answer, Asker
from bot.commands.catalogue import COMMANDS
from bot.commands.declaration import Command, Values
from bot.commands.lookup import HiddenError
from jobs import audit
from jobs.errors import ForbiddenError, InvalidRequestError, RequestRefusedError
from jobs.repository_fields import RepositoryName

_NAME = TypeAdapter(RepositoryName)


async def answer(text: str, asker: Asker) -> Answer:
    """Carry out what was typed after `/backup`; what is refused is answered with the reason and changes nothing."""
    try:
        command, words = grammar.command_of(grammar.split(text), COMMANDS)
    except RequestRefusedError as refusal:
        return Answer(str(refusal), refused=True)
    try:
        values = grammar.values_of(command, words)
    except InvalidRequestError as refusal:
        return await _guarded(_misread(command, asker, refusal), command, {}, asker)
    return await carry_out(command, values, asker)


def read(text: str) -> tuple[Command, Values]:
    """The command that was typed, and what was said for each of its fields; raises `RequestRefusedError`."""
    command, words = grammar.command_of(grammar.split(text), COMMANDS)
    return command, grammar.values_of(command, words)


async def carry_out(command: Command, values: Values, asker: Asker) -> Answer:
    """Carry out a command whose values came by field; refused as in `answer`."""
    return await _guarded(_carried_out(command, values, asker), command, values, asker)


async def _guarded(work: Awaitable[Answer], command: Command, values: Values, asker: Asker) -> Answer:
    try:
        with audit.said_in(asker.channel):
            return await work
    except (ForbiddenError, HiddenError) as refusal:
        action = f"command.{command.name.replace(' ', '_')}"
        with audit.said_in(asker.channel):
            await audit.record_refusal(asker.principal, action, refusal, origin=asker.origin, target=_target(values))
        return Answer(str(refusal), refused=True)
    except RequestRefusedError as refusal:
        return Answer(str(refusal), refused=True)


async def _misread(command: Command, asker: Asker, refusal: InvalidRequestError) -> Answer:
    """Who may do nothing here is told that, and not how it is written."""
    _let_in(asker, command, {})
    raise refusal


def _target(values: Values) -> str | None:
    """What a command was about, for the audit: its repository, or whatever number it named."""
    said = values.get("repository") or values.get("job") or values.get("confirmation")
    return str(said) if said is not None else None


async def _carried_out(command: Command, values: Values, asker: Asker) -> Answer:
    _let_in(asker, command, values)
    return await command.carry_out(asker, grammar.checked(command, values))


def _let_in(asker: Asker, command: Command, values: Values) -> None:
    """Refuse who may do nothing here, in the same words whether or not what was named exists."""
    if command.role is not None and not asker.principal.may_anything(asker.channel):
        asker.principal.require(command.role, _named_repository(values), asker.channel)


def _named_repository(values: Values) -> str | None:
    try:
        return _NAME.validate_python(values.get("repository"))
    except ValidationError:
        return None
