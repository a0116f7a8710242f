"""Which logs are kept: those of the newest jobs that have ended, and of each repository at least the newest.

The jobs themselves stay, with their figures; on the host a log's file has gone with the run's directory at its end.
"""

from collections.abc import Sequence
from functools import partial

from tortoise.functions import Max

from jobs import runtime_settings
from jobs.database.unit import reader, unit
from jobs.models import Job, LogChunk

AT_ONCE = 20
"""So many jobs lose their logs in one transaction: others want to write in between."""


async def drop_old_logs() -> int:
    """Drop what the setting `retention_jobs` does not keep; returns how many jobs lost their log."""
    oldest = await _oldest_kept((await runtime_settings.load()).retention_jobs)
    if oldest is None:
        return 0
    kept, dropped = await _newest_of_each_repository(), 0
    while ids := await _with_a_log(oldest, kept):
        await unit(partial(_drop, ids))
        dropped += len(ids)
    return dropped


async def _oldest_kept(number: int) -> int | None:
    ended = Job.filter(completed_at__isnull=False).using_db(reader()).order_by("-id")
    oldest = await ended.offset(number - 1).limit(1).values_list("id", flat=True)
    return int(str(oldest[0])) if oldest else None


async def _newest_of_each_repository() -> list[int]:
    ended = Job.filter(completed_at__isnull=False, repository_id__isnull=False).using_db(reader())
    newest = await ended.annotate(newest=Max("id")).group_by("repository_id").values_list("newest", flat=True)
    return [int(str(job_id)) for job_id in newest]


async def _with_a_log(before: int, kept: Sequence[int]) -> list[int]:
    """The next jobs to lose their log; one that runs, however long ago it was asked for, is none of them."""
    chunks = LogChunk.filter(job_id__lt=before, job__completed_at__isnull=False, job_id__not_in=list(kept))
    found = await chunks.using_db(reader()).distinct().limit(AT_ONCE).values_list("job_id", flat=True)
    return [int(str(job_id)) for job_id in found]


async def _drop(job_ids: Sequence[int]) -> None:
    await LogChunk.filter(job_id__in=list(job_ids)).delete()
