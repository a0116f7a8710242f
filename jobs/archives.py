"""What is known of a repository's archives without asking borg."""

from collections.abc import Collection

from jobs.borg.statistics import ArchiveStatistics
from jobs.database.unit import reader
from jobs.estimate import Totals
from jobs.models import Archive, Repository

PREVIOUS = "previous archive"
DELETED_AT_ONCE = 500


async def record(repository_id: int, job_id: int, archive: ArchiveStatistics) -> None:
    """Inside the unit that ends the job: keep the new archive's figures."""
    columns = {
        "name": archive.name,
        "started_at": archive.started_at,
        "original_size": archive.original_size,
        "nfiles": archive.nfiles,
        "job_id": job_id,
    }
    await Archive.update_or_create(defaults=columns, repository_id=repository_id, borg_id=archive.id)


async def forget(repository_id: int, removed: Collection[str]) -> None:
    """Inside the unit that ends the job: the archives with these borg ids are gone, also for rows that share a lane."""
    lane = (await Repository.get(id=repository_id)).lane
    rows = await Repository.filter(lane=lane).values_list("id", flat=True)
    ids = sorted(removed)
    for start in range(0, len(ids), DELETED_AT_ONCE):
        some = ids[start : start + DELETED_AT_ONCE]
        await Archive.filter(repository_id__in=list(rows), borg_id__in=some).delete()


async def previous_totals(repository_id: int) -> Totals | None:
    """The size and files of the newest archive: what the next backup will about be."""
    newest = Archive.filter(repository_id=repository_id).using_db(reader()).order_by("-started_at")
    archive = await newest.first()
    if archive is None or archive.original_size is None or archive.nfiles is None:
        return None
    return Totals(archive.original_size, archive.nfiles, PREVIOUS)
