"""What may be said of a schedule, checked field by field. Pure."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints

from jobs.errors import InvalidRequestError
from jobs.repository_fields import Channel, HostName, RepositoryName, Template
from jobs.retention import RULES, Retention
from jobs.schedule.occurrences import zone_named
from jobs.schedule.phrases import read
from jobs.settings import whole_seconds

LONGEST_JITTER_S = 86_400

CatchUp = Literal["one", "none"]
Overlap = Literal["queue", "skip", "replace"]


def _said_as(meaning: Callable[[str], str]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            return meaning(text)
        except InvalidRequestError as error:
            raise ValueError(error.reason) from error

    return AfterValidator(check)


CronText = Annotated[str, StringConstraints(max_length=200), _said_as(lambda text: read(text).text)]
ZoneName = Annotated[str, StringConstraints(max_length=64), _said_as(lambda name: zone_named(name).key)]
Jitter = Annotated[int, BeforeValidator(whole_seconds), Field(ge=0, le=LONGEST_JITTER_S)]
Reference = Annotated[str, Field(min_length=1, max_length=63, coerce_numbers_to_str=True)]
"""A repository's name or id."""


class _Fields(Retention):
    model_config = ConfigDict(use_attribute_docstrings=True)

    enabled: bool = True
    catch_up: CatchUp = "one"
    """What becomes of runs that came due while nothing ran: one of them is caught up, or none."""
    overlap: Overlap = "queue"
    """What becomes of a run that comes due while the last one still runs."""
    jitter: Jitter = 0
    """Up to how much later a run starts: seconds, or a duration such as 10m. Each run is moved by another share."""
    priority: Literal["high", "normal", "low"] = "normal"
    channel: Channel | None = None
    template: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    """The kind's own, such as max_duration of a check."""
    archive_name_template: Template | None = None
    run_prune_after: bool = False
    run_compact_after: bool = False


class NewSchedule(_Fields):
    """A schedule to be added; without a name it is called after what it does."""

    cron_expression: CronText
    """Cron's five fields, or a phrase such as `every night at 2`."""
    timezone: ZoneName | None = None
    """The IANA zone whose wall clock is meant; without one that of the setting `default_timezone`."""
    repository: Reference | None = None
    host: HostName | None = None
    """Of a kind that works on no repository."""
    kind: Annotated[str, StringConstraints(max_length=63)] = "backup"
    name: RepositoryName | None = None


class ScheduleChange(_Fields):
    """The fields to change; those not given stay as they are."""

    cron_expression: CronText = "0 0 * * *"
    timezone: ZoneName = "UTC"
    repository: Reference | None = None
    kind: Annotated[str, StringConstraints(max_length=63)] = "backup"
    name: RepositoryName = ""


def columns_of(said: Mapping[str, Any], retention: Mapping[str, int]) -> dict[str, Any]:
    """The row's columns for the fields said; each retention rule replaces what `retention` has of it, None ends it."""
    columns = {name: value for name, value in said.items() if name not in {*RULES, "jitter", "repository", "host"}}
    if "jitter" in said:
        columns["jitter_s"] = said["jitter"]
    if any(name in said for name in RULES):
        rules = {**retention, **{name: said[name] for name in RULES if name in said}}
        columns["retention"] = {name: kept for name, kept in rules.items() if kept is not None}
    return columns
