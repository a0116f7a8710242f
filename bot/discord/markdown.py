"""Text from outside inside Discord's markdown: what formats, mentions or links is taken from it, and its length. Pure.

Formatting: https://docs.discord.com/developers/reference#message-formatting. Discord shows the character behind a
backslash as it is. Nothing here relies on that alone: no message of ours may mention anybody (`allowed_mentions`).

Discord does not say in which unit it counts. UTF-16 units are the most that a character can count for.
"""

import re
from itertools import accumulate, takewhile

_ELLIPSIS = "…"
_FENCE = "```"
_FORMATTING = re.compile(
    r"""
    [\\*`<\[\]]                                       # wherever it stands
    | ~(?=~) | (?<=~)~ | \|(?=\|) | (?<=\|)\|         # in pairs
    | (?<![^\W_])_ | _(?![^\W_])                      # at the edge of a word
    | :(?=//) | :(?=[\w+-]*[A-Za-z][\w+-]*:)          # links and emojis
    | @(?=everyone|here)
    | ^\s*(?: \#(?=\#*\s) | >(?=(?:>>)?\s) | \+(?=\s) | -(?=\#?\s) | \d+(?=[.)]\s) )  # headings, quotes, lists
    """,
    re.MULTILINE | re.VERBOSE,
)


def escape(text: str) -> str:
    """The text with a backslash before everything that Discord would read as more than itself."""
    return _FORMATTING.sub(_escaped, text)


def code(text: str) -> str:
    """The text as inline code, in which nothing is formatting."""
    return f"`{text.replace('`', 'ˋ') or ' '}`"


def fenced(text: str, limit: int) -> str:
    """A code block of at most `limit` units; a long text loses its start.

    Zero-width spaces between backticks keep the text from closing the fence.
    """
    apart = re.sub("`(?=`)", "`\u200b", text)
    return f"{_FENCE}\n{_end(apart, limit - 2 * len(_FENCE) - 2)}\n{_FENCE}"


def start(text: str, limit: int) -> str:
    """The start of the text, escaped, in at most `limit` units."""
    escaped = escape(text)
    if width(escaped) <= limit:
        return escaped
    cut = _fitting(escaped, limit - 1)
    # A backslash that is left over would take away the meaning of what follows.
    return (cut[:-1] if (len(cut) - len(cut.rstrip("\\"))) % 2 else cut) + _ELLIPSIS


def plain_start(text: str, limit: int) -> str:
    """The start of a text that stands where there is no formatting, in at most `limit` units."""
    return text if width(text) <= limit else _fitting(text, limit - 1) + _ELLIPSIS


def width(text: str) -> int:
    """How many UTF-16 units the text takes."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _escaped(match: re.Match[str]) -> str:
    """The match with a backslash: before the sign itself, which blanks and a list's number may precede."""
    found = match[0]
    sign = found.lstrip()
    if sign[:1].isdigit():
        return f"{found}\\"
    return f"{found[: len(found) - len(sign)]}\\{sign}"


def _end(text: str, limit: int) -> str:
    return text if width(text) <= limit else _ELLIPSIS + _fitting(text[::-1], limit - 1)[::-1]


def _fitting(text: str, limit: int) -> str:
    widths = accumulate(width(character) for character in text)
    return text[: sum(1 for _ in takewhile(lambda units: units <= limit, widths))]
