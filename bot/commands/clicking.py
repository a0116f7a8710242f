"""What a click on a button does: a command with one word. The same on every platform."""

from collections.abc import Mapping

import structlog

from bot.commands.asking import Answer, Asker
from bot.commands.carrying_out import carry_out
from bot.commands.catalogue import COMMANDS
from bot.commands.grammar import SLASH
from bot.commands.notifications import TEST
from bot.question import CONFIRM, DISMISS

BUTTON_COMMANDS: Mapping[str, str] = {
    "job.cancel": "cancel",
    "job.retry": "retry",
    "job.again": "retry",
    "job.log": "logs",
    "repository.run": "run",
    CONFIRM: "confirm",
    DISMISS: "dismiss",
    TEST: "notification test",
}
"""By the button's action; its value is the command's only word."""

_log = structlog.get_logger()


async def click(action: str, value: str, asker: Asker) -> Answer:
    """Carry out what the button stands for; one that is not known is answered with a sentence."""
    name = BUTTON_COMMANDS.get(action)
    if name is None:
        _log.warning("button_unknown", action=action)
        return Answer(
            f"Locutus does not know this button. `{SLASH} help` shows what can be written instead.", refused=True
        )
    command = COMMANDS[name]
    return await carry_out(command, {command.positionals[0].name: value}, asker)
