"""How many calls a chat platform takes: a token bucket with a reserve for final states, which learns from refusals.
Pure.

A refusal says that the platform takes less than was thought: the rate falls by a quarter at once, and returns by a
tenth of what it may be a minute, as TCP finds what a line takes (additive increase, multiplicative decrease: RFC 5681).
"""

from dataclasses import dataclass

SLOWER, SLOWEST = 3 / 4, 1 / 4
"""What is left of the rate after a refusal, and what is left of it at least, however many there are."""
FASTER_PER_S = 0.1 / 60


@dataclass(slots=True)
class Budget:
    """Times are monotonic seconds. `capacity` calls at once, `rate` calls a second; `reserve` of them only for ends."""

    rate: float
    capacity: float
    reserve: float
    tokens: float = 0.0
    updated_s: float = 0.0
    blocked_until_s: float = 0.0
    greatest_rate: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.capacity
        self.greatest_rate = self.rate

    def take(self, now_s: float, *, urgent: bool) -> bool:
        """Use one call if there is one; an urgent call may use the reserve."""
        self._refill(now_s)
        if now_s < self.blocked_until_s or self.tokens < (1 if urgent else 1 + self.reserve):
            return False
        self.tokens -= 1
        return True

    def room(self, now_s: float) -> int:
        """How many calls could be made now, were all of them urgent."""
        self._refill(now_s)
        return int(self.tokens) if now_s >= self.blocked_until_s else 0

    def block(self, now_s: float, retry_after_s: float) -> None:
        """After a 429: no call before `retry_after_s` seconds have passed, none saved up, and fewer from then on."""
        self._refill(now_s)
        if now_s >= self.blocked_until_s:  # of several calls at once the first refusal tells all there is to know
            self.rate = max(self.greatest_rate * SLOWEST, self.rate * SLOWER)
        self.blocked_until_s = max(self.blocked_until_s, now_s + retry_after_s)
        self.updated_s = self.blocked_until_s
        self.tokens = min(self.tokens, 1 + self.reserve)

    def _refill(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self.updated_s)
        self.tokens = min(self.capacity, self.tokens + passed_s * self.rate)
        self.rate = min(self.greatest_rate, self.rate + self.greatest_rate * FASTER_PER_S * passed_s)
        self.updated_s = max(self.updated_s, now_s)


def edit_interval_s(running_for_s: float) -> float:
    """How long a progress message stays before its next edit: about 1.5 s at first, then slower."""
    if running_for_s < 15:
        return 1.5
    return 3.0 if running_for_s < 600 else 5.0
