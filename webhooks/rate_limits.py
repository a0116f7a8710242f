"""How often a token may ask. Each gateway counts for itself, in memory: a transaction a request protects nothing."""

import math
import time
from http import HTTPStatus

from jobs.rate import Rate
from webhooks.problems import HttpProblemError


class RateLimits:
    """What each client has spent, by its name; names that have spent nothing lately are forgotten."""

    def __init__(self) -> None:
        self._paid_until_s: dict[str, float] = {}

    def spend(self, name: str, rate: Rate) -> None:
        """Count one request; raises a 429 problem that says when there is room again."""
        at_s = time.monotonic()
        paid_s = self._paid_until_s.get(name, at_s)
        until_s = rate.paid_until(paid_s, at_s)
        if until_s is None:
            wait_s = max(1, math.ceil(paid_s - at_s - rate.period.total_seconds() * (1 - 1 / rate.number)))
            detail = f"The token has asked {rate.number} times within {rate.period}. Ask again in {wait_s} s."
            raise HttpProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": str(wait_s)})
        self._paid_until_s = {other: end_s for other, end_s in self._paid_until_s.items() if end_s > at_s}
        self._paid_until_s[name] = until_s
