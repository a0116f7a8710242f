"""How much there may be in which time: `60/m`, of the units s, m, h, d. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

PATTERN = r"^[1-9][0-9]{0,5}/[smhd]$"
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many within each period."""

    number: int
    period: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `PATTERN` matches."""
        number, _, unit = text.partition("/")
        return cls(int(number), _UNITS[unit])

    def paid_until(self, paid_s: float, at_s: float) -> float | None:
        """Until when one more is paid for that comes at `at_s`, if what came before is paid until `paid_s` (seconds of
        one clock); None where it comes too soon. `number` may come at once, then one each `period / number`.

        The generic cell rate algorithm (ITU-T I.371): one number a client is all there is to remember.
        """
        until = max(paid_s, at_s) + self.period.total_seconds() / self.number
        return None if until > at_s + self.period.total_seconds() + 1e-9 else until
