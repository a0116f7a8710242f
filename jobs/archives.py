"""What is known of a repository's archives without asking borg."""

from collections.abc import AsyncIterator, Collection, Sequence

from jobs.borg.archive_list import ListedArchive
from jobs.borg.statistics import ArchiveStatistics
from jobs.database.unit import insert_all, reader
from jobs.estimate import Totals
from jobs.models import Archive, Repository

PREVIOUS = "previous archive"
DELETED_AT_ONCE = 500
NAME_LENGTH = 255
"""As many characters of a name as the table keeps; no name that Locutus gives is longer."""


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


async def replace_listing(repository_id: int, pages: AsyncIterator[Sequence[ListedArchive]]) -> None:
    """Inside the unit that ends the job: forget what the repository does not have any more, add what is new.

    The pages come in the order of the ids, so that each is compared with its own part of the table. What was counted of
    an archive when it was made is kept.
    """
    after = ""
    async for page in pages:
        last = page[-1].id
        await _compare(repository_id, page, after, last)
        after = last
    await Archive.filter(repository_id=repository_id, borg_id__gt=after).delete()


async def _compare(repository_id: int, page: Sequence[ListedArchive], after: str, last: str) -> None:
    listed = [archive.id for archive in page]
    rows = Archive.filter(repository_id=repository_id, borg_id__gt=after, borg_id__lte=last)
    await rows.filter(borg_id__not_in=listed).delete()
    known = {str(borg_id) for borg_id in await rows.values_list("borg_id", flat=True)}
    if new := [archive for archive in page if archive.id not in known]:
        await insert_all([_row(repository_id, archive) for archive in new])


def _row(repository_id: int, archive: ListedArchive) -> Archive:
    return Archive(
        repository_id=repository_id,
        borg_id=archive.id,
        name=archive.name[:NAME_LENGTH],
        started_at=archive.started_at,
    )


async def previous_totals(repository_id: int) -> Totals | None:
    """The size and files of the newest archive: what the next backup will about be."""
    newest = Archive.filter(repository_id=repository_id).using_db(reader()).order_by("-started_at")
    archive = await newest.first()
    if archive is None or archive.original_size is None or archive.nfiles is None:
        return None
    return Totals(archive.original_size, archive.nfiles, PREVIOUS)
