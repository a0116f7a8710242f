"""A message as Discord shows it: an embed and its buttons. Pure.

Embeds and their limits: https://docs.discord.com/developers/resources/message#embed-object-embed-limits; buttons:
https://docs.discord.com/developers/components/reference#button; who may be mentioned:
https://docs.discord.com/developers/resources/message#allowed-mentions-object.

Sentences, log lines and names come from outside: what Discord would read as formatting is escaped, and nobody is
notified by a mention that stands in one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, takewhile
from typing import Any

from bot import wording
from bot.card import Button, Field, Message, Part
from bot.commands.asking import Answer
from bot.discord.markdown import code, escape, fenced, plain_start, start, width
from bot.discord.payload import EPHEMERAL
from jobs.confirmations import ConfirmationState
from jobs.view import JobStatus

COLOURS = {
    JobStatus.PENDING: 0x9AA0A6,
    JobStatus.RUNNING: 0x2F80ED,
    JobStatus.COMPLETED: 0x2DA44E,
    JobStatus.FAILED: 0xCF222E,
    JobStatus.CANCELLED: 0x8250DF,
    ConfirmationState.WAITING: 0xBF8700,
    ConfirmationState.CONFIRMED: 0x2DA44E,
    ConfirmationState.DISMISSED: 0x8250DF,
    ConfirmationState.EXPIRED: 0x9AA0A6,
}
NOBODY: Mapping[str, Sequence[str]] = {"parse": []}
_ALL_TEXT_LIMIT, _DESCRIPTION_LIMIT, _CONTENT_LIMIT = 6_000, 4_096, 2_000
_HEADLINE_LIMIT, _STATE_LIMIT, _CAPTION_LIMIT, _LINES_LIMIT, _NOTE_LIMIT = 150, 100, 250, 1_000, 200
_FIELDS, _FIELD_NAME_LIMIT, _FIELD_VALUE_LIMIT = 12, 60, 240
_LABEL_LIMIT, _CUSTOM_ID_LIMIT, _BUTTONS_IN_A_ROW, _ROWS = 80, 100, 5, 5
_PERSON = re.compile(r"discord:\d+:(\d{1,20})")
_SPAN = "`"
_MORE = "\n…"

Json = dict[str, Any]


def render(message: Message) -> Json:
    """`embeds`, `components` and `allowed_mentions` of the message.

    A further reply calls who asked by a mention in its `content`: in an embed it would notify nobody.
    """
    shown = {"embeds": [_embed(message)], "components": _rows(message.buttons)}
    called = _called(message)
    if called is None:
        return {**shown, "allowed_mentions": NOBODY}
    return {**shown, "content": f"<@{called}>", "allowed_mentions": {"parse": [], "users": [called]}}


def _called(message: Message) -> str | None:
    """The person whom a further reply is for, where Discord knows them."""
    if message.part not in {Part.FAILURE, Part.END}:
        return None
    people = (_PERSON.fullmatch(field.subject or "") for field in message.fields)
    return next((person[1] for person in people if person), None)


def render_answer(answer: Answer) -> Json:
    """What one person is answered, its `code` fenced under it.

    What is long stands in an embed, which holds more; what is too long for that is cut, a log at its start.
    """
    prose = _prose(answer.text, _DESCRIPTION_LIMIT // 2 if answer.code else _DESCRIPTION_LIMIT)
    said = wording.with_moments(prose, answer.moments, _date)
    if answer.code:
        said = f"{said}\n{fenced(answer.code, _DESCRIPTION_LIMIT - 1 - width(said))}"
    shown = {"content": _shown(said)} if width(said) <= _CONTENT_LIMIT else {"embeds": [{"description": said}]}
    said_to = {"allowed_mentions": NOBODY, "flags": EPHEMERAL}
    return {"content": "", "embeds": [], **shown, "components": _rows(answer.buttons), **said_to}


def identity(message: Message) -> str:
    """What tells the messages of all jobs and questions apart: it stands in the embed's footer."""
    if message.job_id is None:
        return f"Locutus confirmation {message.confirmation_id}"
    return f"Locutus #{message.job_id} {message.part}"


def _embed(message: Message) -> Json:
    title = f"{start(f'{message.mark} {message.headline}', _HEADLINE_LIMIT)} {start(message.state, _STATE_LIMIT)}"
    fields = [_fact(field) for field in message.fields[:_FIELDS]]
    footer = identity(message)
    used = width(title) + width(footer) + sum(width(field["name"]) + width(field["value"]) for field in fields)
    description = _description(message, min(_DESCRIPTION_LIMIT, _ALL_TEXT_LIMIT - used))
    return {
        "title": _shown(title),
        "color": COLOURS[message.status],
        "footer": {"text": footer},
        **({"description": description} if description.strip() else {}),
        **({"fields": fields} if fields else {}),
    }


def _description(message: Message, limit: int) -> str:
    lines = "\n".join(_lines(message))
    if not message.code:
        return lines
    return "\n".join(filter(None, (lines, fenced(message.code, limit - 1 - width(lines)))))


def _lines(message: Message) -> Iterator[str]:
    if message.bar:
        yield f"{code(wording.bar(message.bar.fraction))} {start(message.bar.caption, _CAPTION_LIMIT)}"
    if lines := "\n".join(filter(None, message.lines)):
        yield start(lines, _LINES_LIMIT)
    if message.note:
        yield code(plain_start(message.note, _NOTE_LIMIT))


def _fact(field: Field) -> Json:
    person = _PERSON.fullmatch(field.subject or "")
    value = f"<@{person[1]}>" if person else start(_shown(field.value), _FIELD_VALUE_LIMIT)
    return {"name": start(_shown(field.name), _FIELD_NAME_LIMIT), "value": value, "inline": True}


def _rows(buttons: Sequence[Button]) -> list[Json]:
    rows = [buttons[at : at + _BUTTONS_IN_A_ROW] for at in range(0, len(buttons), _BUTTONS_IN_A_ROW)]
    return [{"type": 1, "components": [_button(button) for button in row]} for row in rows[:_ROWS]]


def _button(button: Button) -> Json:
    custom_id = plain_start(f"{button.action}:{button.value}", _CUSTOM_ID_LIMIT)
    style = {"primary": 1, "danger": 4}.get(button.style or "", 2)
    return {"type": 2, "style": style, "label": plain_start(_shown(button.label), _LABEL_LIMIT), "custom_id": custom_id}


def _prose(text: str, limit: int) -> str:
    """Sentences of ours, in which commands stand as inline code; a text that is too long loses its last lines."""
    lines = [_prose_line(line, limit - len(_MORE)) for line in text.split("\n")]
    lengths = accumulate(width(line) + 1 for line in lines)
    fitting = sum(1 for _ in takewhile(lambda length: length <= limit - len(_MORE), lengths))
    return "\n".join(lines) if fitting == len(lines) else "\n".join(lines[:fitting]) + _MORE


def _prose_line(line: str, limit: int) -> str:
    parts = line.split(_SPAN)
    if len(parts) % 2 == 0:
        return start(line, limit)
    marked = "".join(f"{_SPAN}{part}{_SPAN}" if number % 2 else escape(part) for number, part in enumerate(parts))
    return marked if width(marked) < limit else start(line, limit - 1)


def _date(written: str, when: datetime) -> str:
    """A moment that each reader sees by their own clock, and never longer than as it was written.

    https://docs.discord.com/developers/reference#message-formatting-timestamp-styles
    """
    del written
    return f"<t:{int(when.timestamp())}:F>"


def _shown(text: str) -> str:
    """The text, or a question mark where Discord would see nothing."""
    return text if text.strip() else "?"
