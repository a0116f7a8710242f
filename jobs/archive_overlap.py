"""Whether a pattern of archive names matches a name that a template may ever make, at whatever time. Pure."""

import re
from collections.abc import Iterator, Sequence
from string import Formatter
from typing import NamedTuple

from jobs.archive_name import NameFacts

DIGITS = frozenset("0123456789")
ISO = "%Y-%m-%dT%H:%M:%S"
_ONLY_DIGITS = frozenset("YmdHMSfjyGVuwUWIs")
_TIMES = frozenset({"now", "utcnow"})


class Piece(NamedTuple):
    """One character of a name, or any number of characters; None: whichever they are."""

    characters: frozenset[str] | None
    repeated: bool


ANYTHING = Piece(None, repeated=True)


def overlap(glob: str, template: str, facts: NameFacts) -> bool:
    """Whether `glob`, as `archive_glob_of` makes it, matches some name of the template.

    Repository, schedule and host are those of `facts`, time and job any. Rather yes than no where that is open: the
    month's name, say, may be any text. A clash's `-<job id>` may stand behind it.
    """
    one, other = tuple(_of_glob(glob)), (*_of_template(template, facts), Piece(DIGITS | {"-"}, repeated=True))
    seen: set[tuple[int, int]] = set()
    ahead = [(0, 0)]
    while ahead:
        place = ahead.pop()
        if place == (len(one), len(other)):
            return True
        if place not in seen:
            seen.add(place)
            ahead.extend(_next(one, other, *place))
    return False


def _next(one: Sequence[Piece], other: Sequence[Piece], at: int, beside: int) -> Iterator[tuple[int, int]]:
    """The places in both that can be reached from this pair: by the end of a run, or by a character of both."""
    mine, theirs = (pieces[place] if place < len(pieces) else None for pieces, place in ((one, at), (other, beside)))
    if mine and mine.repeated:
        yield at + 1, beside
    if theirs and theirs.repeated:
        yield at, beside + 1
    if mine and theirs and _shared(mine, theirs):
        yield at + (not mine.repeated), beside + (not theirs.repeated)


def _shared(one: Piece, other: Piece) -> bool:
    if one.characters is None or other.characters is None:
        return True
    return not one.characters.isdisjoint(other.characters)


def _of_glob(glob: str) -> Iterator[Piece]:
    for part in re.findall(r"\*|\[.\]|.", glob):
        yield ANYTHING if part == "*" else Piece(frozenset(part[1] if len(part) == 3 else part), repeated=False)


def _of_template(template: str, facts: NameFacts) -> Iterator[Piece]:
    known = facts.values()
    for literal, field, specification, _ in Formatter().parse(template):
        yield from _literally(literal)
        if field in _TIMES:
            yield Piece(_of_time(specification or ISO), repeated=True)
        elif field == "job":
            yield Piece(DIGITS, repeated=True)
        elif field == "user":
            yield ANYTHING
        elif field is not None:
            yield from _literally(str(known[field]))


def _of_time(specification: str) -> frozenset[str] | None:
    """The characters of a time in this format; None where a directive writes more than digits."""
    if not _ONLY_DIGITS.issuperset(re.findall(r"%(.?)", specification)):
        return None
    return DIGITS | frozenset(re.sub(r"%.", "", specification))


def _literally(text: str) -> Iterator[Piece]:
    return (Piece(frozenset(character), repeated=False) for character in text)
