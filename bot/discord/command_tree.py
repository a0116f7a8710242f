"""`/backup` as Discord registers and sends it: sub-commands with typed options, made from the grammar. Pure.

https://docs.discord.com/developers/interactions/application-commands
"""

from collections.abc import Iterator, Mapping
from typing import Any

from bot import wording
from bot.commands import grammar
from bot.commands.declaration import Command, Flag, FlagType
from bot.discord.payload import Data, Option
from jobs.command_words import Positional, WordType
from jobs.errors import NotFoundError

NAME = grammar.SLASH.removeprefix("/")
SUB_COMMAND, SUB_COMMAND_GROUP, STRING, INTEGER, BOOLEAN, NUMBER = 1, 2, 3, 4, 5, 10
GUILD_INSTALL, IN_GUILDS = 0, 0
_DESCRIPTION_LIMIT = 100
_TEXT_LIMIT = 1_000
NUMBERED = frozenset({WordType.JOB, WordType.CONFIRMATION})
_FLAG_TYPES = {FlagType.SWITCH: BOOLEAN, FlagType.INTEGER: INTEGER, FlagType.NUMBER: NUMBER}

Json = dict[str, Any]


def registration(commands: Mapping[str, Command]) -> Json:
    """The command as `PUT /applications/{id}/commands` takes it."""
    return {
        "name": NAME,
        "type": 1,
        "description": "Run and watch backups",
        "integration_types": [GUILD_INSTALL],
        "contexts": [IN_GUILDS],
        "options": list(_branches(commands)),
    }


def command_in(data: Data, commands: Mapping[str, Command]) -> tuple[Command, tuple[Option, ...]]:
    """The command that was sent and its options; raises `NotFoundError` for one that is not known any more."""
    words, options = [], data.options
    while options and (options[0].options or options[0].value is None):
        words.append(options[0].name)
        options = options[0].options
    name = " ".join(words)
    if data.name != NAME or name not in commands:
        raise NotFoundError(
            f"There is no command {grammar.quoted(f'/{data.name} {name}')} any more. "
            "An administrator can have Discord know the present ones: `locutus discord sync`"
        )
    return commands[name], options


def values_in(command: Command, options: tuple[Option, ...]) -> dict[str, Any]:
    """The options' values by field; what can stand several times is written as in a shell. Raises as the grammar."""
    several = {word.name for word in command.positionals if word.many}
    several |= {flag.name for flag in command.flags if flag.type is FlagType.LIST}
    return {
        option.name: grammar.split(str(option.value)) if option.name in several else option.value
        for option in options
        if option.value not in {None, ""}
    }


def _branches(commands: Mapping[str, Command]) -> Iterator[Json]:
    """Commands of one word as they are, those of two under their first word."""
    groups: dict[str, list[Json]] = {}
    for name, command in commands.items():
        first, _, second = name.partition(" ")
        if not second:
            yield _sub_command(first, command)
        elif first in groups:
            groups[first].append(_sub_command(second, command))
        else:
            groups[first] = [_sub_command(second, command)]
            yield {
                "type": SUB_COMMAND_GROUP,
                "name": first,
                "description": _description(f"{first} commands"),
                "options": groups[first],
            }


def _sub_command(name: str, command: Command) -> Json:
    words = [_word(word) for word in command.positionals]
    words.sort(key=lambda option: not option["required"])  # Discord wants the required ones first
    return {
        "type": SUB_COMMAND,
        "name": name,
        "description": _description(command.summary),
        "options": [*words, *(_flag(flag) for flag in command.flags)],
    }


def _word(word: Positional) -> Json:
    """A word that names something is completed; a required one that names nothing is asked for later where it lacks."""
    option: Json = {
        "type": INTEGER if word.type in NUMBERED else STRING,
        "name": word.name,
        "description": _description(word.help or f"the {word.type if word.type is not WordType.TEXT else word.name}"),
        "required": word.required and word.type is not WordType.TEXT,
    }
    if option["type"] == INTEGER:
        option["min_value"] = 1
    elif word.type is WordType.TEXT:
        option["max_length"] = _TEXT_LIMIT
    return option if word.type is WordType.TEXT else option | {"autocomplete": True}


def _flag(flag: Flag) -> Json:
    option: Json = {
        "type": _FLAG_TYPES.get(flag.type, STRING),
        "name": flag.name,
        "description": _description(flag.help or flag.usage),
        "required": False,
    }
    return option | ({"choices": [{"name": value, "value": value} for value in flag.choices]} if flag.choices else {})


def _description(text: str) -> str:
    return wording.clip(wording.one_line(text), _DESCRIPTION_LIMIT)
