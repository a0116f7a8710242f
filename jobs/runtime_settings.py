"""The settings that people change while Locutus runs, with their defaults. What is not stored has its default."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from jobs.database.unit import reader
from jobs.errors import InvalidRequestError
from jobs.job_type import Policy
from jobs.models import Setting
from jobs.repository_fields import AbsolutePath, Age, Channel
from jobs.schedule.fields import ZoneName
from jobs.settings import machine_zone
from jobs.types import JOB_TYPES

NOTIFY_ON = "notify_on_"

Notify = Annotated[bool, Field(description="For notification channels that name no events of their own.")]


class RuntimeSettings(BaseModel):
    """Which ends are told to the notification channels, where threads go by default, what is kept, what is limited."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    notify_on_backup_start: Notify = False
    notify_on_backup_success: Notify = False
    notify_on_backup_failure: Notify = True
    notify_on_restore_success: Notify = False
    notify_on_restore_failure: Notify = True
    notify_on_check_success: Notify = False
    notify_on_check_failure: Notify = True
    notify_on_compact_success: Notify = False
    notify_on_compact_failure: Notify = True
    notify_on_prune_success: Notify = False
    notify_on_prune_failure: Notify = True
    notify_on_package_success: Notify = False
    notify_on_package_failure: Notify = True
    notify_on_schedule_failure: Notify = True
    notify_on_backup_overdue: Notify = True
    notify_on_host_silent: Notify = True
    default_channel: Channel | None = None
    """Where a job's thread opens when neither request nor repository names a channel."""
    default_timezone: ZoneName = Field(default_factory=machine_zone)
    """The IANA zone of a schedule that names none; that of the gateway's machine unless it is set."""
    overdue_repeat: Age = 86_400
    """Seconds after which a backup that is overdue is told of again, until somebody has taken note or it is made."""
    only_failures: list[Channel] = Field(default_factory=list, max_length=1000)
    """Channels in which a job's thread opens only when the job has failed."""
    reply_after_minutes: int = Field(default=10, ge=0, le=100_000)
    """A job that ran this long ends with one further reply in its thread, which notifies; 0: none does."""
    retention_jobs: int = Field(default=100, ge=1, le=1_000_000)
    """How many ended jobs keep their logs; of each repository at least the newest does."""
    max_jobs_by_kind: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(default_factory=dict)
    """Running jobs of a kind on one host; a kind that is not named has no limit of its own."""
    package_installs_per_hour: int = Field(default=3, ge=0, le=1000)
    """On one host; 0: no limit."""
    restore_roots: list[AbsolutePath] = Field(default_factory=list, max_length=100)
    """Directories of the hosts below which the role `operate` may restore; elsewhere it takes `administer`."""
    package_allowlist: list[str] = Field(default_factory=list, max_length=1000)
    """The packages that may be installed; empty: any."""
    two_person: list[str] = Field(default_factory=list, max_length=100)
    """Kinds that a second person has to confirm, whoever asks for them and by whatever way."""

    @property
    def policy(self) -> Policy:
        """What job types go by when they check a request."""
        return Policy(
            restore_roots=tuple(self.restore_roots),
            package_allowlist=tuple(self.package_allowlist),
            package_installs_per_hour=self.package_installs_per_hour,
        )

    @property
    def notified(self) -> frozenset[str]:
        """The switches that are on, such as `backup_failure`."""
        on = (name for name in type(self).model_fields if name.startswith(NOTIFY_ON) and getattr(self, name))
        return frozenset(name.removeprefix(NOTIFY_ON) for name in on)


async def load() -> RuntimeSettings:
    """The settings as they are now."""
    rows = await Setting.filter(name__in=list(RuntimeSettings.model_fields)).using_db(reader())
    return RuntimeSettings.model_validate({row.name: row.value for row in rows})


async def store(given: dict[str, Any]) -> None:
    """Inside a unit: keep the settings given, JSON values by name; None brings the default back.

    Raises `InvalidRequestError` for a kind that does not exist.
    """
    for kind in given.get("max_jobs_by_kind") or ():
        _check_kind("max_jobs_by_kind", kind)
    for kind in given.get("two_person") or ():
        _check_kind("two_person", kind)
    for name, value in given.items():
        if value is None:
            await Setting.filter(name=name).delete()
        else:
            await _keep(name, value)


async def _keep(name: str, value: Any) -> None:
    # Tortoise takes a string for JSON already encoded, when a row is made as when it is updated: so it gets that.
    await Setting.get_or_create(name=name, defaults={"value": {}})
    await Setting.filter(name=name).update(value=json.dumps(value))


def _check_kind(name: str, kind: str) -> None:
    if kind not in JOB_TYPES:
        raise InvalidRequestError(name, f"there is no job type {kind!r}; the types are {', '.join(sorted(JOB_TYPES))}.")
