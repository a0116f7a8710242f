"""A message as a terminal shows it, by rich. Pure.

Every text becomes a `Text`, in which rich looks for no markup; log lines lose what a terminal would obey.
"""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from bot import wording
from bot.card import Button, Field, Message, Part
from bot.commands.clicking import BUTTON_COMMANDS
from bot.commands.grammar import SLASH
from bot.figures import SEPARATOR
from jobs.confirmations import ConfirmationState
from jobs.view import JobStatus

_INDENT = (0, 0, 0, 2)
_STYLES = {
    JobStatus.PENDING: "yellow",
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "magenta",
    ConfirmationState.WAITING: "yellow",
    ConfirmationState.CONFIRMED: "green",
    ConfirmationState.DISMISSED: "magenta",
    ConfirmationState.EXPIRED: "dim",
}


def thread(messages: Sequence[Message]) -> Group:
    """A job's thread: the card, and under it, indented, what was said about it."""
    return Group(*(_placed(message) for message in messages))


def rendered(message: Message) -> Group:
    """The whole message, a line for each of its parts."""
    return Group(_headline(message), *(Padding(part, _INDENT) for part in _details(message)))


def status_line(message: Message) -> Text:
    """The message on one line, cut at the terminal's edge: `● Backing up photos #7 running  ████░░ 41 %`."""
    details = [*([_bar(message)] if message.bar else []), *map(Text, message.lines)]
    line = Text("  ").join([_headline(message), *details])
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _placed(message: Message) -> RenderableType:
    whole = rendered(message)
    return whole if message.part is Part.CARD else Padding(whole, _INDENT)


def _headline(message: Message) -> Text:
    style = _STYLES[message.status]
    return Text.assemble((message.mark, style), " ", (message.headline, "bold"), " ", (message.state, style))


def _details(message: Message) -> Iterator[Text]:
    if message.bar:
        yield _bar(message)
    yield from map(Text, message.lines)
    if message.fields:
        yield Text(SEPARATOR, style="dim").join(map(_field, message.fields))
    if message.note:
        yield Text(message.note, style="dim")
    if message.code:
        yield Text("\n".join(map(wording.log_line, message.code.splitlines())), style="dim")
    if message.buttons:
        yield Text(choices(message.buttons), style="dim")


def _bar(message: Message) -> Text:
    bar = message.bar
    return Text(f"{wording.bar(bar.fraction)} {bar.caption}", style="cyan") if bar else Text()


def _field(field: Field) -> Text:
    return Text.assemble((f"{field.name} ", "dim"), field.value)


def choices(buttons: Sequence[Button]) -> str:
    """What to type instead of a click, on one line."""
    return SEPARATOR.join(map(_button, buttons))


def _button(button: Button) -> str:
    """What to type instead of a click, as far as the command grammar has it."""
    command = BUTTON_COMMANDS.get(button.action)
    return f"{button.label}: {SLASH} {command} {button.value}" if command else button.label
