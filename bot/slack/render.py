"""A message as Slack shows it: the content of `chat.postMessage` and `chat.update`. Pure.

Escaping and formatting: https://docs.slack.dev/messaging/formatting-message-text; the limits of blocks:
https://docs.slack.dev/reference/block-kit/blocks; metadata: https://docs.slack.dev/messaging/message-metadata.

Sentences, log lines and names come from outside. `&`, `<`, `>` are escaped everywhere, which leaves no mention and no
link; sentences and small print stand in `plain_text`, where nothing is formatting; names stand in `mrkdwn`, as code
when Slack would read formatting into them; `verbatim` keeps Slack from making links of what looks like one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, takewhile
from typing import Any

from bot import wording
from bot.card import Button, Field, Message
from bot.commands.asking import Answer
from bot.figures import Bar

EVENT_TYPE, QUESTION_EVENT_TYPE = "locutus_job", "locutus_confirmation"
# A little under Slack's own limits, as Slack does not say in which unit it counts.
_TEXT_LIMIT = 3_800
_SECTION_LIMIT = 2_900
_HEADLINE_LIMIT = 500
_VALUE_LIMIT = 1_900
_LABEL_LIMIT = 75
_CONTEXT_ELEMENTS = 10
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_FORMATTING = re.compile(r"[*~`]|(?<!\w)_|_(?!\w)|:[\w+-]*[a-z][\w+-]*:|^>", re.IGNORECASE)
_PERSON = re.compile(r"slack:[A-Z0-9]+:([UW][A-Z0-9]+)")

Block = dict[str, Any]


def render(message: Message) -> dict[str, Any]:
    """`text`, `blocks` and `metadata` of the message, and that nothing in it is unfurled."""
    return {
        "text": _start(message.text, _TEXT_LIMIT),
        "blocks": list(blocks_of(message)),
        "metadata": metadata(message),
        "unfurl_links": False,
        "unfurl_media": False,
    }


@dataclass(frozen=True, slots=True)
class Content:
    """What is said to one person: mrkdwn, and blocks where there is something to click."""

    text: str
    blocks: tuple[Block, ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """As Slack's methods and acknowledgements take it."""
        return {"text": self.text} | ({"blocks": list(self.blocks)} if self.blocks else {})


def render_answer(answer: Answer) -> Content:
    """A private answer, its `code` fenced under it; either is cut where it is too long, code at its start."""
    said = wording.with_moments(_start(answer.text, _TEXT_LIMIT), answer.moments, date)
    text = said + (f"\n{_code_block(answer.code)}" if answer.code else "")
    if not answer.buttons:
        return Content(text)
    return Content(text, tuple(answer_blocks(answer)))


def answer_blocks(answer: Answer) -> Iterator[Block]:
    """A private answer laid out, as a view shows it too."""
    yield {"type": "section", "text": plain(answer.text or "Done.", _SECTION_LIMIT)}
    if answer.code:
        yield {"type": "section", "text": mrkdwn(_code_block(answer.code))}
    yield from action_blocks(answer.buttons)


def metadata(message: Message) -> dict[str, Any]:
    """What tells the messages of all jobs and questions apart; only the payload's `status` changes."""
    about = {"job_id": message.job_id} if message.job_id is not None else {"confirmation_id": message.confirmation_id}
    kind = EVENT_TYPE if message.job_id is not None else QUESTION_EVENT_TYPE
    return {"event_type": kind, "event_payload": {**about, "part": message.part.value, "status": message.status.value}}


def blocks_of(message: Message) -> Iterator[Block]:
    """The message laid out."""
    yield {"type": "section", "text": mrkdwn(_first_lines(message))}
    if lines := "\n".join(filter(None, message.lines)):
        yield {"type": "section", "text": plain(lines, _SECTION_LIMIT)}
    for start in range(0, len(message.fields), _CONTEXT_ELEMENTS):
        fields = message.fields[start : start + _CONTEXT_ELEMENTS]
        yield {"type": "context", "elements": [mrkdwn(_fact(field)) for field in fields]}
    if message.note:
        yield {"type": "context", "elements": [plain(message.note, _VALUE_LIMIT)]}
    if message.code:
        yield {"type": "section", "text": mrkdwn(_code_block(message.code))}
    yield from action_blocks(message.buttons)


def _first_lines(message: Message) -> str:
    first = f"{escape(message.mark)} *{name(message.headline, _HEADLINE_LIMIT)}* {name(message.state, _HEADLINE_LIMIT)}"
    return first + (f"\n{_bar(message.bar)}" if message.bar else "")


def _bar(bar: Bar) -> str:
    return f"`{wording.bar(bar.fraction)}`  {name(bar.caption, _HEADLINE_LIMIT)}"


def _fact(field: Field) -> str:
    person = _PERSON.fullmatch(field.subject or "")
    value = f"<@{person[1]}>" if person else f"*{name(field.value, _VALUE_LIMIT)}*"
    return f"{name(field.name, _LABEL_LIMIT)} {value}"


def action_blocks(buttons: Sequence[Button]) -> Iterator[Block]:
    """The buttons in order; a block takes an action once, so that the next of its kind begins another."""
    row: list[Button] = []
    for button in buttons:
        if button.action in {each.action for each in row}:
            yield _actions(row)
            row = []
        row.append(button)
    if row:
        yield _actions(row)


def _actions(buttons: Sequence[Button]) -> Block:
    return {"type": "actions", "elements": [button_block(button) for button in buttons]}


def button_block(button: Button) -> Block:
    """A button that comes back as (`action_id`, `value`)."""
    style = {"style": button.style} if button.style else {}
    label = plain(button.label, _LABEL_LIMIT)
    return {"type": "button", "text": label, "action_id": button.action, "value": button.value, **style}


def date(written: str, when: datetime) -> str:
    """A moment inside `mrkdwn`, which each reader sees by their own clock; `written` stands where none can be shown.

    https://docs.slack.dev/messaging/formatting-message-text#date-formatting
    """
    return f"<!date^{int(when.timestamp())}^{{date_short_pretty}} {{time}}|{escape(written)}>"


def escape(text: str) -> str:
    """The text without Slack's three control characters."""
    return "".join(_ENTITIES.get(character, character) for character in text)


def mrkdwn(text: str) -> Block:
    """Text of ours with names made safe by `name`."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def plain(text: str, limit: int) -> Block:
    """Text in which nothing is formatting, cut at its end."""
    return {"type": "plain_text", "text": _start(text, limit), "emoji": False}


def name(text: str, limit: int = _HEADLINE_LIMIT) -> str:
    """A name inside `mrkdwn`: as it is where that is safe, else as inline code, which formats nothing."""
    if not text.strip():
        return "?"
    if not _FORMATTING.search(text):
        return _start(text, limit)
    return f"`{_start(text.replace('`', 'ˋ'), limit)}`"


def _code_block(code: str) -> str:
    """Fenced; zero-width spaces between backticks keep the text from closing the fence. A long one loses its start."""
    apart = re.sub("`(?=`)", "`\u200b", code)
    return f"```\n{_end(apart, _SECTION_LIMIT)}\n```"


def _start(text: str, limit: int) -> str:
    escaped = escape(text)
    return escaped if len(escaped) <= limit else escape(text[: _room(text, limit - 1)]) + "…"


def _end(text: str, limit: int) -> str:
    escaped = escape(text)
    return escaped if len(escaped) <= limit else "…" + escape(text[-_room(reversed(text), limit - 1) :])


def _room(text: Iterable[str], limit: int) -> int:
    """How many characters of the text fit into `limit` when escaped, so that no entity is cut in two."""
    lengths = accumulate(len(_ENTITIES.get(character, character)) for character in text)
    return sum(1 for _ in takewhile(lambda length: length <= limit, lengths))
