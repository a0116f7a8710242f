"""`/backup help`: every command on a line, or one command with its words and flags."""

from collections.abc import Iterator, Mapping
from functools import partial

from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Values
from bot.commands.grammar import SLASH, command_of
from jobs.command_words import Positional, WordType


def help_command(commands: Mapping[str, Command]) -> Command:
    """The command that explains `commands`, which it is to stand in itself."""
    word = Positional("command", WordType.COMMAND, "COMMAND", required=False, many=True)
    return Command("help", "shows this, or one command", partial(_help, commands), None, (word,))


async def _help(commands: Mapping[str, Command], asker: Asker, values: Values) -> Answer:
    del asker
    if named := values.get("command"):
        words = named.split() if isinstance(named, str) else named
        return Answer("\n".join(_explained(command_of(words, commands)[0])))
    return Answer("\n".join(map(_line, commands.values())))


def _line(command: Command) -> str:
    return f"`{SLASH} {command.usage}` – {command.summary}"


def _explained(command: Command) -> Iterator[str]:
    yield _line(command)
    for word in command.positionals:
        if word.help:
            yield f"`{word.usage}` – {word.help}"
    for flag in command.flags:
        yield f"`{flag.usage}`" + (f" – {flag.help.rstrip('.')}" if flag.help else "")
    if command.role:
        yield f"It takes the role {command.role.word}."
