"""How a command is written: words, quotes, flags, and what was probably meant where one is not known. Pure.

`/backup prune photos --keep-daily 7 --keep-weekly=4 --dry-run`. Quotes and backslashes are the shell's; what phones
make of them while one types (curly quotes, a long dash for two hyphens) is read as what was meant. `--` ends the flags.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from bot import wording
from bot.commands.declaration import Command, Flag, FlagType, Values
from jobs.command_words import Positional, WordType
from jobs.errors import InvalidRequestError, NotFoundError

SLASH = "/backup"
_SAID_LIMIT = 80
_CURLY = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})
_LONG_DASH = re.compile(r"(?<!\S)[–—](?=[A-Za-z])")
_FLAG = re.compile(r"--[A-Za-z][A-Za-z0-9_-]*")
_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_HASH = "#"


def split(text: str) -> list[str]:
    """The words of a text; raises `InvalidRequestError` where a quotation mark is not closed."""
    try:
        return shlex.split(_LONG_DASH.sub("--", text.translate(_CURLY)))
    except ValueError as error:
        raise InvalidRequestError("command", "a quotation mark is not closed.") from error


def command_of(words: Sequence[str], commands: Mapping[str, Command]) -> tuple[Command, list[str]]:
    """The command that the words name, and the words behind its name; without a word it is `help`.

    Raises `NotFoundError` with a suggestion.
    """
    lowered = [word.lower() for word in words[:2]] or ["help"]
    for length in (2, 1):
        name = " ".join(lowered[:length])
        if name in commands:
            return commands[name], list(words[length:])
    raise NotFoundError(_unknown(" ".join(lowered), words, commands))


def _unknown(name: str, words: Sequence[str], commands: Mapping[str, Command]) -> str:
    group = [known for known in commands if known.startswith(f"{words[0].lower()} ")]
    said = " ".join(words[:2]) if group else words[0]
    near = get_close_matches(name, group or commands, n=1) or get_close_matches(words[0].lower(), commands, n=1)
    if near and not (group and len(words) == 1):
        hint = f"Did you mean `{SLASH} {near[0]}`?"
    elif group:
        hint = f"There are {', '.join(f'`{SLASH} {known}`' for known in group)}."
    else:
        hint = f"`{SLASH} help` shows the commands there are."
    return f"There is no command {quoted(said)}. {hint}"


def values_of(command: Command, words: Sequence[str]) -> dict[str, Any]:
    """What was said for each field, as text; raises `InvalidRequestError` that shows how the command is written."""
    plain, flags = _parted(command, words)
    return _placed(command, plain) | flags


def checked(command: Command, values: Values) -> dict[str, Any]:
    """The values with all that the command needs, jobs and confirmations as numbers; raises `InvalidRequestError`."""
    for positional in command.positionals:
        if positional.required and values.get(positional.name) in (None, ""):
            raise misused(command)
    numbered = {word.name: word for word in command.positionals if word.type in _NUMBERED}
    return {
        name: _number(command, numbered[name], value) if name in numbered else value for name, value in values.items()
    }


def misused(command: Command) -> InvalidRequestError:
    """The error of a command that is written another way."""
    return InvalidRequestError("command", f"write `{SLASH} {command.usage}`.")


def quoted(word: str) -> str:
    """A word of the asker's, in quotes, on one line and not too long."""
    return repr(wording.clip(word, _SAID_LIMIT))


_NUMBERED = {WordType.JOB, WordType.CONFIRMATION, WordType.DELIVERY}


def _number(command: Command, word: Positional, value: Any) -> int:
    text = str(value).removeprefix(_HASH)
    if not text.isdecimal() or len(text) > 9:
        raise InvalidRequestError(word.name, f"write the {word.type}'s number: `{SLASH} {command.usage}`.")
    return int(text)


def _placed(command: Command, words: Sequence[str]) -> dict[str, Any]:
    """The words by their places; one that must follow another word, such as `to`, stands at the end."""
    rest = list(words)
    placed: dict[str, Any] = {}
    for positional in reversed([word for word in command.positionals if word.after]):
        if len(rest) > 1 and rest[-2].lower() == positional.after:
            placed[positional.name] = rest.pop()
            rest.pop()
    for positional in (word for word in command.positionals if not word.after):
        if positional.many:
            placed |= {positional.name: rest} if rest else {}
            return placed
        if rest:
            placed[positional.name] = rest.pop(0)
    if rest:
        raise misused(command)
    return placed


def _parted(command: Command, words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The words that are no flags, and the flags' values by field."""
    plain: list[str] = []
    values: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        if word == "--":
            return [*plain, *left], values
        if not _FLAG.match(word):
            plain.append(word)
            continue
        flag, value = _flag(command, word, left)
        values[flag.name] = [*values.get(flag.name, ()), value] if flag.type is FlagType.LIST else value
    return plain, values


def _flag(command: Command, word: str, left: Iterator[str]) -> tuple[Flag, Any]:
    name, equals, value = word.partition("=")
    flag, denied = _named(command, name)
    if flag.type is FlagType.SWITCH:
        return flag, _truth(flag, value) != denied if equals else not denied
    if not equals:
        following = next(left, None)
        if following is None:
            raise InvalidRequestError(flag.name, f"say what: `{flag.usage}`.")
        value = following
    if flag.choices and value not in flag.choices:
        raise InvalidRequestError(flag.name, f"give one of {', '.join(flag.choices)}.{_nearest(value, flag.choices)}")
    return flag, value


def _named(command: Command, name: str) -> tuple[Flag, bool]:
    """The flag called `name`, and whether it is denied (`--no-compact-after`)."""
    by_name = {flag.written: flag for flag in command.flags}
    written = name.lower().replace("_", "-")
    if written in by_name:
        return by_name[written], False
    positive = by_name.get(written.replace("--no-", "--", 1))
    if written.startswith("--no-") and positive is not None and positive.type is FlagType.SWITCH:
        return positive, True
    hint = _nearest(written, by_name) or f" `{SLASH} help {command.name}` shows what can be said."
    raise InvalidRequestError("command", f"there is no {quoted(name)} for `{command.name}`.{hint}")


def _truth(flag: Flag, value: str) -> bool:
    try:
        return _TRUTHS[value.lower()]
    except KeyError:
        raise InvalidRequestError(flag.name, "give true or false.") from None


def _nearest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else ""
