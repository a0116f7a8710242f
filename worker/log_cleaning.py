"""Every hour the logs go that are not kept; any number of service workers may do it at the same time."""

import asyncio

import structlog

from jobs.log_retention import drop_old_logs

EVERY_S = 3600.0

_log = structlog.get_logger()


async def clean_logs() -> None:
    """Drop old logs at the start and every hour, until cancelled."""
    while True:
        try:
            if dropped := await drop_old_logs():
                _log.info("old_logs_dropped", jobs=dropped)
        except Exception:  # noqa: BLE001 - named edge: a broken database delays the cleaning, and never ends it
            _log.exception("logs_not_cleaned")
        await asyncio.sleep(EVERY_S)
