"""Which archives a prune keeps: so many of the newest, and the newest of so many hours, days, weeks, months, years.

https://borgbackup.readthedocs.io/en/stable/usage/prune.html
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from jobs.errors import InvalidRequestError
from jobs.job_type import Parameters

Count = Annotated[int, Field(ge=0, le=100_000)]


class Retention(Parameters):
    """How many to keep by each rule; 0 is the same as nothing said."""

    keep_last: Count | None = None
    """How many of the newest archives to keep, whatever their age."""
    keep_hourly: Count | None = None
    """Of how many hours to keep the newest archive."""
    keep_daily: Count | None = None
    """Of how many days to keep the newest archive."""
    keep_weekly: Count | None = None
    """Of how many weeks to keep the newest archive."""
    keep_monthly: Count | None = None
    """Of how many months to keep the newest archive."""
    keep_yearly: Count | None = None
    """Of how many years to keep the newest archive."""


RULES = tuple(Retention.model_fields)


def kept(parameters: Mapping[str, Any]) -> dict[str, int]:
    """The rules that keep something, and how many each."""
    return {rule: parameters[rule] for rule in RULES if parameters.get(rule)}


def require_some(parameters: Mapping[str, Any]) -> None:
    """Refuse a retention that keeps nothing; raises `InvalidRequestError`."""
    if not kept(parameters):
        raise InvalidRequestError(
            "keep_daily",
            f"a prune that keeps nothing would remove every archive: give at least one of {', '.join(RULES)}.",
        )


def keep_options(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """`--keep-daily=7 …` for borg."""
    return tuple(f"--{rule.replace('_', '-')}={count}" for rule, count in kept(parameters).items())


def in_words(parameters: Mapping[str, Any]) -> str:
    """`7 daily, 4 weekly`."""
    return ", ".join(f"{count} {rule.removeprefix('keep_')}" for rule, count in kept(parameters).items())
