"""What a command is: the words and flags that it takes, the right that it needs, the function that carries it out.

Flags follow from a pydantic model's fields, so that a job type's parameters are named in one place. Pure.
"""

import types
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from bot.commands.asking import Answer, Asker
from jobs.access import Role
from jobs.command_words import Positional

Values = Mapping[str, Any]
"""What was said, by field: texts, numbers of jobs, lists for what may stand several times, truths for switches."""

CarryOut = Callable[[Asker, Values], Awaitable[Answer]]


class FlagType(StrEnum):
    """How a flag's value is written; a switch needs none, a list is given by naming the flag again."""

    SWITCH = "switch"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Flag:
    """`--keep-daily 7`: `name` is the field that it fills; with `choices` nothing else is taken."""

    name: str
    type: FlagType = FlagType.TEXT
    choices: tuple[str, ...] = ()
    help: str = ""

    @property
    def written(self) -> str:
        """As it is typed: `--keep-daily`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def usage(self) -> str:
        """With what follows it: `--priority high|normal|low`, `--dry-run`."""
        value = "" if self.type is FlagType.SWITCH else f" {'|'.join(self.choices) or self.type.upper()}"
        return self.written + value


@dataclass(frozen=True, slots=True)
class Command:
    """One sub-command, of one word or two (`schedule add`); `role` None: everybody may."""

    name: str
    summary: str
    carry_out: CarryOut
    role: Role | None = Role.VIEW
    positionals: tuple[Positional, ...] = ()
    flags: tuple[Flag, ...] = ()

    @property
    def usage(self) -> str:
        """`restore REPO ARCHIVE [PATH…] to DESTINATION`: the words; the flags stand in the command's own help."""
        return " ".join((self.name, *(word.usage for word in self.positionals)))


def flags_of(model: type[BaseModel], *, without: Collection[str] = ()) -> tuple[Flag, ...]:
    """A flag for each field of the model but those in `without`."""
    return tuple(_flag(name, field) for name, field in model.model_fields.items() if name not in without)


def _flag(name: str, field: Any) -> Flag:
    plain = list(_plain(field.annotation))
    choices = tuple(choice for annotation in plain for choice in _choices(annotation))
    types_ = {_base(annotation) for annotation in plain}
    return Flag(name, _type(types_), choices, field.description or "")


def _type(found: Collection[Any]) -> FlagType:
    if bool in found:
        return FlagType.SWITCH
    if {list, tuple, set, frozenset, Sequence} & set(found):
        return FlagType.LIST
    if found == {int}:
        return FlagType.INTEGER
    return FlagType.NUMBER if float in found else FlagType.TEXT


def _plain(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, without None and what pydantic was told of them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _plain(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for inner in get_args(annotation):
            yield from _plain(inner)
    elif annotation is not type(None):
        yield annotation


def _base(annotation: Any) -> Any:
    origin = get_origin(annotation)
    return annotation if origin is None else origin


def _choices(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (str(member.value) for member in annotation)
