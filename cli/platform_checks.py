"""What `locutus doctor` looks at of every chat platform alike: the clock, and the channels that threads go to."""

import time
from email.utils import parsedate_to_datetime

from cli.api_client import require_database
from cli.composition import storage
from cli.finding import FAIL, Finding
from jobs.database.connection import DatabaseNotMigratedError, DatabaseUnavailableError
from jobs.models import Repository, Setting
from jobs.settings import Settings, SettingsError

OLDEST_SIGNATURE_S = 300
"""Signed requests are refused when they are older, so a clock that is further off refuses them all."""


def clock(platform: str, date: str | None) -> list[Finding]:
    """Against the platform's own time, by the header `Date` (RFC 9110, 6.6.1)."""
    try:
        difference_s = abs(parsedate_to_datetime(date or "").timestamp() - time.time())
    except ValueError:
        return []
    if difference_s < OLDEST_SIGNATURE_S:
        return []
    seen = f"{difference_s:.0f} s from {platform}'s: every command would be refused as too old"
    return [Finding("clock", FAIL, seen, "Let this machine keep time: timedatectl set-ntp true.")]


async def channels_on(platform: str, settings: Settings) -> list[str]:
    """The channels, such as `slack:T1:C1`, that threads go to without anybody naming one; none where there is no
    database to ask.
    """
    try:
        require_database(settings)
        async with storage(settings):
            return await _stored_channels(f"{platform}:")
    except (SettingsError, DatabaseNotMigratedError, DatabaseUnavailableError):
        return []  # said by a check of its own


async def _stored_channels(prefix: str) -> list[str]:
    named = await Repository.filter(channel__startswith=prefix).distinct().values_list("channel", flat=True)
    setting = await Setting.get_or_none(name="default_channel")
    default = str(setting.value) if setting else ""
    return sorted({*map(str, named), *([default] if default.startswith(prefix) else [])})
