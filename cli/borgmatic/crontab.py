"""Lines of a crontab that have borgmatic run: when, with which actions, on which configuration. Pure.

crontab(5); borgmatic's actions: https://torsion.org/borgmatic/docs/how-to/run-backups/
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "borgmatic"
ACTIONS = frozenset(
    {"create", "prune", "compact", "check", "list", "info", "extract", "export-tar", "mount", "restore", "config"}
)
_FLAGS = {
    "--create": "create", "-C": "create", "--prune": "prune", "-p": "prune", "--check": "check", "-k": "check",
}  # fmt: skip
"""Actions as borgmatic's older versions wrote them."""
_FIELDS = 5
_FIELD = re.compile(r"@\w+|[\w*/,#?-]+")
FITS_BEST, FITS, SAYS_NONE, FITS_NOT = range(4)


@dataclass(frozen=True, slots=True)
class Line:
    """`when` is cron's five fields or an alias; no action named means borgmatic's usual ones."""

    when: str
    actions: frozenset[str]
    configurations: Sequence[Path]

    def __str__(self) -> str:
        """When and what, and no more of it: a line may hold secrets."""
        return " ".join([self.when, PROGRAM, *sorted(self.actions)])

    @property
    def makes_backups(self) -> bool:
        """Whether it runs `create`."""
        return not self.actions or "create" in self.actions

    def fit(self, file: Path) -> int:
        """How well it fits a configuration file, the least number best; `FITS_NOT`: it runs other ones."""
        if not self.configurations:
            return SAYS_NONE
        if {file, file.parent} & set(self.configurations):
            return FITS_BEST
        return FITS if file.name in {named.name for named in self.configurations} else FITS_NOT


def lines_of(text: str) -> list[Line]:
    """The lines that have borgmatic run, in order."""
    written = (line for line in text.splitlines() if not re.match(r"\s*(#|\w+\s*=)", line))
    return [found for line in written if (found := _line(line.split()))]


def _line(words: Sequence[str]) -> Line | None:
    count = 1 if words and words[0].startswith("@") else _FIELDS
    commands = [command for command in re.split("[;&|]+", " ".join(words[count:])) if PROGRAM in command]
    if not commands or not all(map(_FIELD.fullmatch, words[:count])):
        return None
    said = [_arguments(command) for command in commands]
    named = [{_FLAGS.get(word, word) for word in arguments} & ACTIONS for arguments in said]
    return Line(
        when=" ".join(words[:count]),
        actions=frozenset().union(*named) if all(named) else frozenset(),
        configurations=tuple(Path(name) for arguments in said for name in _configurations(arguments)),
    )


def _arguments(command: str) -> Sequence[str]:
    """What follows the program's name."""
    words = [word.strip("'\"()") for word in command.replace("--config=", "--config ").split()]
    first = next(number for number, word in enumerate(words) if PROGRAM in word)
    return words[first + 1 :]


def _configurations(arguments: Sequence[str]) -> Iterator[str]:
    """The values of `-c` and `--config`, of which older versions take several at once."""
    taking = False
    for word in arguments:
        if word in ACTIONS or re.match(r"-|\d?[<>]", word):
            taking = word in {"-c", "--config"}
        elif taking:
            yield word
