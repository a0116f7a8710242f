"""Carrying out a command: as text that was typed, or with the values that a platform has asked for one by one."""

from pydantic import TypeAdapter, ValidationError

from bot.commands import grammar
from bot.commands.asking import Answer, Asker
from bot.commands.catalogue import COMMANDS
from bot.commands.declaration import Command, Values
from jobs.errors import InvalidRequestError, RequestRefusedError
from jobs.repository_fields import RepositoryName

_NAME = TypeAdapter(RepositoryName)


async def answer(text: str, asker: Asker) -> Answer:
    """Carry out what was typed after `/backup`; what is refused is answered with the reason and changes nothing."""
    try:
        command, words = grammar.command_of(grammar.split(text), COMMANDS)
        try:
            values = grammar.values_of(command, words)
        except InvalidRequestError:
            _let_in(asker, command, {})
            raise
        return await _carried_out(command, values, asker)
    except RequestRefusedError as refusal:
        return Answer(str(refusal), refused=True)


async def carry_out(command: Command, values: Values, asker: Asker) -> Answer:
    """Carry out a command whose values came by field; refused as in `answer`."""
    try:
        return await _carried_out(command, values, asker)
    except RequestRefusedError as refusal:
        return Answer(str(refusal), refused=True)


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
