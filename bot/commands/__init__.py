"""The command grammar of `/backup`, declared once for every platform: what can be typed, who may, and what is answered.

An answer is private to the asker; what the channel sees is the job's card. What the asker may not look at is answered
as if it did not exist; who may look at nothing is refused before anything is looked up.
"""

from bot.commands.asking import Answer, Asker
from bot.commands.carrying_out import answer, carry_out, read
from bot.commands.catalogue import COMMANDS
from bot.commands.clicking import BUTTON_COMMANDS, click
from bot.commands.completion import Choice, complete

__all__ = [
    "BUTTON_COMMANDS",
    "COMMANDS",
    "Answer",
    "Asker",
    "Choice",
    "answer",
    "carry_out",
    "click",
    "complete",
    "read",
]
