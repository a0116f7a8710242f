"""Which lane a repository's jobs take: one for all rows that mean one borg repository.

Where it is shows as much at once, as far as the spelling goes; the id that borg gave it shows the rest, once a run told
it: a symlink, another mount, another name of the same server.
"""

from collections.abc import Collection

from jobs.models import Host, Job, Repository
from jobs.repository_fields import lane_of
from jobs.view import JobStatus


async def lane_at(location: str, host: str) -> str:
    """The lane of a place: that of the rows that are there already, or the place's own."""
    own = lane_of(location, host)
    known = await Repository.all().values_list("location", "host", "lane")
    return next((str(lane) for *place, lane in known if lane_of(*place) == own), own)


async def unite(repository_id: int, borg_id: str) -> None:
    """Inside a unit: note which borg repository a row means, and have all rows that mean it share one lane.

    It is that of the row with the smallest id. What waits follows, and so does a job that holds another of their lanes;
    where two do, the second keeps its own until it lets go of it. To be called before the unit writes anything that
    refers to the row.
    """
    if await Repository.filter(id=repository_id, borg_id=borg_id).exists():
        return
    # Once in a repository's life all claims wait, so that none starts a job in the lane that its row had before, and
    # two rows that turn out to be one at the same time see each other (PostgreSQL).
    await Host.all().order_by("id").select_for_update().only("id")
    if not await Repository.filter(id=repository_id).update(borg_id=borg_id):
        return  # removed meanwhile
    lanes = await Repository.filter(borg_id=borg_id).order_by("id").values_list("lane", flat=True)
    first, others = str(lanes[0]), {str(lane) for lane in lanes if lane != lanes[0]}
    if others:
        await _move(others, first)


async def _move(lanes: Collection[str], target: str) -> None:
    # A job that is being accepted refers to its row: it is seen below, or finds that the lane has changed (PostgreSQL).
    await Repository.filter(lane__in=lanes).order_by("id").select_for_update().only("id")
    await Repository.filter(lane__in=lanes).update(lane=target)
    await Job.filter(lane__in=lanes, status=JobStatus.PENDING).update(lane=target)
    holder = await Job.filter(running_lock__in=lanes).order_by("id").first()
    if holder and not await Job.filter(running_lock=target).exists():
        await Job.filter(id=holder.id, running_lock=holder.running_lock).update(lane=target, running_lock=target)
