"""The form that asks for what a command lacks: one input for each of its words, those that were said filled in. Pure.

https://docs.discord.com/developers/components/reference#text-input
"""

import json
from collections.abc import Mapping
from typing import Any

from bot import wording
from bot.commands.declaration import Command, Values
from bot.discord.payload import TEXT_INPUT, Data, filled_in
from jobs.command_words import Positional
from jobs.errors import NotFoundError

INPUTS, _CUSTOM_ID_LIMIT, _TITLE_LIMIT, _LABEL_LIMIT, _VALUE_LIMIT = 5, 100, 45, 45, 4_000
_PREFIX = "ask:"
_LABEL = 18
_SHORT, _PARAGRAPH = 1, 2

Json = dict[str, Any]


def asks_for_more(command: Command, values: Values) -> bool:
    """Whether a word is missing that only a form can ask for."""
    return any(word.required and values.get(word.name) in (None, "") for word in command.positionals)


def modal(command: Command, values: Values) -> Json | None:
    """The form; None where one can't hold all that was said and has to be."""
    flags = {name: values[name] for name in values if name in {flag.name for flag in command.flags}}
    custom_id = _PREFIX + command.name + (json.dumps(flags, separators=(",", ":")) if flags else "")
    if len(custom_id) > _CUSTOM_ID_LIMIT or len(command.positionals) > INPUTS:
        return None
    return {
        "custom_id": custom_id,
        "title": wording.clip(f"/backup {command.name}", _TITLE_LIMIT),
        "components": [_input(word, values.get(word.name)) for word in command.positionals],
    }


def submitted(data: Data, commands: Mapping[str, Command]) -> tuple[Command, dict[str, Any]]:
    """The command of a form that was filled in, and all its values; raises `NotFoundError` where it is not known."""
    name, brace, flags = data.custom_id.removeprefix(_PREFIX).partition("{")
    if not data.custom_id.startswith(_PREFIX) or name not in commands:
        raise NotFoundError("This form is not known any more. Write the command again.")
    command = commands[name]
    values: dict[str, Any] = json.loads(brace + flags) if brace else {}
    fields = filled_in(data)
    for word in command.positionals:
        if said := fields.get(word.name, "").strip():
            values[word.name] = said.splitlines() if word.many else said
    return command, values


def _input(word: Positional, value: Any) -> Json:
    text = "\n".join(value) if isinstance(value, list) else str(value if value is not None else "")
    field = {
        "type": TEXT_INPUT,
        "custom_id": word.name,
        "style": _PARAGRAPH if word.many else _SHORT,
        "required": word.required,
        "max_length": _VALUE_LIMIT,
    }
    label = wording.clip(f"{word.name}, one a line" if word.many else word.name, _LABEL_LIMIT).capitalize()
    help_text = {"description": wording.clip(word.help, 100)} if word.help else {}
    return {
        "type": _LABEL,
        "label": label,
        **help_text,
        "component": field | ({"value": wording.clip(text, _VALUE_LIMIT)} if text else {}),
    }
