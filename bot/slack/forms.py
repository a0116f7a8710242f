"""A command as a form, for what is too much to type: an input for each of its words and flags. Pure.

https://docs.slack.dev/surfaces/modals and …/reference/block-kit/block-elements
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot import wording
from bot.commands import COMMANDS, Answer, Choice
from bot.commands.declaration import Command, Flag, FlagType, Values
from bot.slack.render import Block, answer_blocks, plain
from jobs.command_words import Positional, WordType

FORM = "command.form"
WORD = "word."
"""Before a word's type in the action of a menu whose choices are asked for."""
_TITLE_LIMIT, _LABEL_LIMIT, _TEXT_LIMIT, _METADATA_LIMIT = 24, 150, 2_900, 3_000
_FREE = {WordType.TEXT, WordType.CONFIRMATION}


def form(command: Command, values: Values, channel: str | None) -> dict[str, Any]:
    """The modal for `command`, filled in with what was typed already."""
    words = (_word(word, values.get(word.name)) for word in command.positionals)
    flags = (_flag(flag, values.get(flag.name)) for flag in command.flags)
    return {
        "type": "modal",
        "callback_id": FORM,
        "title": _title(command),
        "submit": plain("Go on", _TITLE_LIMIT),
        "close": plain("Close", _TITLE_LIMIT),
        "private_metadata": _metadata(command, channel),
        "blocks": [*words, *flags],
    }


def told(command: Command, answer: Answer, channel: str | None) -> dict[str, Any]:
    """The modal after it was sent, or clicked in: what came of it, and what can be clicked."""
    return {
        "type": "modal",
        "callback_id": FORM,
        "title": _title(command),
        "close": plain("Close", _TITLE_LIMIT),
        "private_metadata": _metadata(command, channel),
        "blocks": list(answer_blocks(answer)),
    }


def said_in(command: Command, state: Mapping[str, Any]) -> dict[str, Any]:
    """The values by field of a view's state (`state.values`); what was left empty is left out."""
    inputs: dict[str, Mapping[str, Any]] = {
        block: next(iter(elements.values()), {}) for block, elements in state.items()
    }
    many = {word.name for word in command.positionals if word.many}
    lists = many | {flag.name for flag in command.flags if flag.type is FlagType.LIST}
    found = {name: _value(element) for name, element in inputs.items()}
    return {
        name: _lines(value) if name in lists and isinstance(value, str) else value
        for name, value in found.items()
        if value is not None and value != ""
    }


def options(choices: Iterable[Choice]) -> list[dict[str, Any]]:
    """Choices as a menu takes them: labels of at most 75 characters."""
    return [_option(choice.value, choice.label) for choice in choices]


def command_in(data: Mapping[str, Any]) -> Command | None:
    """The command that a form of ours is for."""
    return COMMANDS.get(str(data.get("command")))


def _metadata(command: Command, channel: str | None) -> str:
    return json.dumps({"command": command.name, "channel": channel})[:_METADATA_LIMIT]


def _title(command: Command) -> Block:
    return plain(wording.clip(f"/backup {command.name}", _TITLE_LIMIT), _TITLE_LIMIT)


def _word(word: Positional, value: Any) -> Block:
    label = word.help or word.name.replace("_", " ")
    return _input(word.name, label, _word_element(word, value), optional=not word.required)


def _word_element(word: Positional, value: Any) -> Block:
    if word.type in _FREE or word.many:
        return _text(value, multiline=word.many)
    menu = {"type": "external_select", "action_id": f"{WORD}{word.type}", "min_query_length": 0}
    return menu | ({"initial_option": _option(str(value), str(value))} if value else {})


def _flag(flag: Flag, value: Any) -> Block:
    return _input(flag.name, flag.help or flag.name.replace("_", " "), _flag_element(flag, value), optional=True)


def _flag_element(flag: Flag, value: Any) -> Block:
    if flag.type is FlagType.SWITCH:
        yes = _option("yes", "Yes")
        boxes = {"type": "checkboxes", "action_id": "flag", "options": [yes]}
        return boxes | ({"initial_options": [yes]} if value else {})
    if flag.choices:
        menu = {"type": "static_select", "action_id": "flag", "options": [_option(one, one) for one in flag.choices]}
        return menu | ({"initial_option": _option(value, value)} if value in flag.choices else {})
    return _text(value, multiline=flag.type is FlagType.LIST)


def _text(value: Any, *, multiline: bool) -> Block:
    written = "\n".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    field = {"type": "plain_text_input", "action_id": "text", "multiline": multiline}
    return field | ({"initial_value": str(written)[:_TEXT_LIMIT]} if written else {})


def _input(name: str, label: str, element: Block, *, optional: bool) -> Block:
    shown = label[:1].upper() + label[1:]
    return {
        "type": "input",
        "block_id": name,
        "label": plain(shown, _LABEL_LIMIT),
        "element": element,
        "optional": optional,
    }


def _option(value: str, label: str) -> Block:
    return {"text": plain(label, 75), "value": value[:150]}


def _value(element: Mapping[str, Any]) -> Any:
    if element.get("type") == "checkboxes":
        return bool(element.get("selected_options")) or None
    chosen = element.get("selected_option")
    return chosen.get("value") if isinstance(chosen, Mapping) else element.get("value")


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def faults(refusal: str, command: Command) -> dict[str, str] | None:
    """The refusal under the input that it names, else under the first; None for one that is too long to stand there."""
    if len(refusal) > _LABEL_LIMIT:
        return None
    names = [word.name for word in command.positionals] + [flag.name for flag in command.flags]
    named = next((name for name in names if refusal.startswith(f"{name}:")), names[0])
    return {named: refusal}


def unfinished(command: Command, values: Values) -> bool:
    """Whether a form should ask for the rest: a command that names an archive is too much to type."""
    missing = any(word.required and not values.get(word.name) for word in command.positionals)
    return missing and any(word.type is WordType.ARCHIVE for word in command.positionals)
