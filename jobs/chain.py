"""Chains: what follows a job's success, one step after another, each a job of its own in the first one's thread."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jobs.errors import InvalidRequestError
from jobs.job_type import FollowUp, JobType
from jobs.models import Job
from jobs.parameters import checked
from jobs.types import JOB_TYPES, job_type
from jobs.view import JobStatus

LONGEST = 8
"""So many steps may follow a job."""


def steps(kind: JobType, parameters: Mapping[str, Any], then: Sequence[FollowUp]) -> list[FollowUp]:
    """What follows a job with these parameters: what they ask for, then what was asked for beside them.

    A parameter that a step is not told it takes from the first job, where both know it. Raises `InvalidRequestError`
    for a kind that may not follow the one before it.
    """
    own = kind.follow_ups(parameters)
    asked = [step for step in then if step.kind not in {each.kind for each in own}]
    return list(_in_order(kind, (*own, *asked), parameters))


def stored(follow_ups: Iterable[Mapping[str, Any]]) -> tuple[FollowUp, ...]:
    """The steps that a job's row keeps."""
    return tuple(FollowUp(step["kind"], step["parameters"]) for step in follow_ups)


def later_steps(kind: JobType) -> frozenset[str]:
    """The kinds that a chain which begins with this one may hold further on."""
    found: set[str] = set()
    new = set(kind.followed_by & JOB_TYPES.keys())
    while new:
        found |= new
        new = {name for each in new for name in JOB_TYPES[each].followed_by & JOB_TYPES.keys()} - found
    return frozenset(found)


async def unfinished_step(job: Job) -> Job | None:
    """The step of the job's chain that has not ended, if there is one."""
    active = (JobStatus.PENDING, JobStatus.RUNNING)
    return await Job.filter(parent_id=job.id, status__in=active).order_by("-id").first()


def _in_order(first: JobType, wanted: Sequence[FollowUp], parameters: Mapping[str, Any]) -> Iterator[FollowUp]:
    if len(wanted) > LONGEST:
        raise InvalidRequestError("then", f"a chain has at most {LONGEST} steps.")
    before = first
    for step in wanted:
        if step.kind not in before.followed_by:
            allowed = ", ".join(sorted(before.followed_by)) or "nothing"
            raise InvalidRequestError("then", f"{step.kind!r} can't follow {before.kind}; what can is {allowed}.")
        before = job_type(step.kind)
        known = before.parameters.model_fields
        shared = {name: value for name, value in parameters.items() if name in known and value is not None}
        yield FollowUp(step.kind, checked(before, {**shared, **step.parameters}))
