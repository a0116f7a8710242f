"""How many jobs of a kind may be asked for on one host within an hour."""

import math
from datetime import timedelta
from typing import Any

from jobs.clock import now
from jobs.errors import RateLimitedError
from jobs.job_type import Policy
from jobs.lifecycle import NewJob
from jobs.models import Host, Job
from jobs.types import job_type

HOUR = timedelta(hours=1)


async def keep(new: NewJob, policy: Policy) -> None:
    """Inside a unit: raise `RateLimitedError` where the jobs of the last hour leave no room for another."""
    kind = job_type(new.kind)
    limit = kind.hourly_limit(policy)
    if not limit:
        return
    await Host.filter(name=new.host).select_for_update().first()  # one request at a time counts (PostgreSQL)
    lately = Job.filter(kind=new.kind, host=new.host, created_at__gt=now() - HOUR).order_by("-id")
    asked: list[Any] = await lately.limit(limit).values_list("created_at", flat=True)
    if len(asked) < limit:
        return
    wait_s = max(1, math.ceil((asked[-1] + HOUR - now()).total_seconds()))
    asked_for = f"{limit} {kind.words.noun.lower()}s on {new.host} were asked for within the last hour"
    raise RateLimitedError(f"{asked_for}, and that is the limit. Ask again in {math.ceil(wait_s / 60)} min.", wait_s)
