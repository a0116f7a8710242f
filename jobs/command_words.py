"""The words that a chat command takes beside its flags: what each names, so that platforms can ask for it. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class WordType(StrEnum):
    """What a word names; platforms offer what there is of it, as far as the asker may see it."""

    REPOSITORY = "repository"
    ARCHIVE = "archive"
    JOB = "job"
    PACKAGE = "package"
    SCHEDULE = "schedule"
    CONFIRMATION = "confirmation"
    DELIVERY = "delivery"
    COMMAND = "command"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Positional:
    """A word by its place: `name` is the field that it fills, `placeholder` how the usage shows it.

    `many` takes every word that is left; `after` is the word that must stand before it, such as `to`.
    """

    name: str
    type: WordType = WordType.TEXT
    placeholder: str = ""
    required: bool = True
    many: bool = False
    after: str | None = None
    help: str = ""

    @property
    def usage(self) -> str:
        """`REPO`, `[PATH…]`, `to DESTINATION`."""
        word = (self.placeholder or self.name.upper()) + ("…" if self.many else "")
        written = f"{self.after} {word}" if self.after else word
        return written if self.required else f"[{written}]"


REPOSITORY = Positional("repository", WordType.REPOSITORY, "REPO", help="the repository's name")
