"""What a check of `locutus doctor` found."""

from dataclasses import dataclass
from enum import StrEnum

import aiohttp

TIMEOUT = aiohttp.ClientTimeout(total=10)


class Standing(StrEnum):
    """How a thing stands; `fail` is what keeps Locutus from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


OK, WARN, FAIL = Standing


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: what was looked at, how it stands, what was seen, how to mend it."""

    name: str
    standing: Standing
    seen: str
    mend: str | None = None
