"""What a pending job waits for and its place there, and since when the host of a job is silent.

It is asked in the claim's own terms. The answer may be a moment old: jobs are claimed meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tortoise.expressions import Q, RawSQL

from jobs import runtime_settings
from jobs.claim import Running, is_due, running_on
from jobs.clock import now
from jobs.database.unit import reader
from jobs.hosts import is_silent
from jobs.lifecycle import HOST_LOST
from jobs.models import Host, Job
from jobs.view import JobStatus, Standing

_HELD = "CASE WHEN lane IN (SELECT running_lock FROM jobs WHERE running_lock IS NOT NULL) THEN 1 ELSE 0 END"
_QUEUE_COLUMNS = {
    "on_host": f"ROW_NUMBER() OVER (PARTITION BY host, {_HELD} ORDER BY queue_rank, id)",
    "in_lane": "ROW_NUMBER() OVER (PARTITION BY lane ORDER BY queue_rank, id)",
    "next_id": "LAG(id) OVER (PARTITION BY lane ORDER BY queue_rank, id)",
    "next_kind": "LAG(kind) OVER (PARTITION BY lane ORDER BY queue_rank, id)",
}


@dataclass(frozen=True, slots=True)
class Other:
    """The job that another one stands behind."""

    id: int
    kind: str
    status: str
    host: str
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """A job's places in claim order, from 1, and the job right before it in its lane.

    For a slot `on_host` a job competes only with those whose lane is free: the claim passes the others over.
    """

    on_host: int | None = None
    in_lane: int | None = None
    next_in_lane: Other | None = None


_IN_NO_QUEUE = Places()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides over a set of jobs: who holds each lane, the hosts and what runs there, the limits, the queues."""

    holders: Mapping[str | None, Other]
    hosts: Mapping[str, Host]
    running: Mapping[str, Running]
    limits: Mapping[str, int]
    places: Mapping[int, Places]


async def standing_of(job: Job) -> Standing:
    """Where this job stands."""
    return (await standings([job]))[job.id]


async def standings(jobs: Sequence[Job]) -> dict[int, Standing]:
    """Where each of the jobs stands, by id, in a number of queries that does not grow with theirs."""
    active = [job for job in jobs if not JobStatus(job.status).final]
    found = dict.fromkeys((job.id for job in jobs), Standing())
    if active:
        around = await _surroundings(active)
        found |= {job.id: standing(job, around) for job in active}
    return found


def standing(job: Job, around: Surroundings) -> Standing:
    """Where a job that has not ended stands. Pure but for the clock."""
    host = around.hosts.get(job.host)
    silent_since = host.last_seen_at if host and is_silent(host) else None
    if job.status != JobStatus.PENDING:
        return Standing(host_silent_since=silent_since)
    places = around.places.get(job.id, _IN_NO_QUEUE)
    if behind := _behind_in_lane(job, around):
        return Standing(behind, places.in_lane, silent_since)
    if job.not_before and job.not_before > now():
        return Standing(host_silent_since=silent_since)
    if slot := _missing_slot(job, around):
        return Standing(slot, places.on_host, silent_since)
    if places.next_in_lane:
        return Standing(_named(places.next_in_lane), places.in_lane, silent_since)
    return Standing(_host(job, host), places.on_host, silent_since)


def _behind_in_lane(job: Job, around: Surroundings) -> str | None:
    holder = around.holders.get(job.lane)
    if holder is None:
        return None
    if not JobStatus(holder.status).final:
        return _named(holder)
    if holder.error_code == HOST_LOST:
        return (
            f"#{holder.id} ({_words(holder.kind)}), whose host {holder.host} is lost "
            f"(`locutus jobs forget {holder.id}` frees the repository)"
        )
    return f"the repository, which a process of {_named(holder)} still uses"


def _missing_slot(job: Job, around: Surroundings) -> str | None:
    """As the claim counts: the slots by the worker's data directory, a kind's limit by host."""
    host, running = around.hosts.get(job.host), around.running.get(job.host)
    if host is None or running is None or not (taken := running.in_directory(host.data_directory_id)):
        return None
    if taken >= host.max_jobs:
        return f"a slot on {job.host}, where {_may_run(host.max_jobs)}"
    limit = around.limits.get(job.kind)
    if limit is not None and running.has_reached(job.kind, limit):
        return f"a slot on {job.host}, where {_may_run(limit, _words(job.kind))}"
    return None


def _may_run(limit: int, kind: str = "") -> str:
    jobs = " ".join(filter(None, (kind, "job" if limit == 1 else "jobs")))
    return f"{limit} {jobs} may run at once"


def _host(job: Job, host: Host | None) -> str:
    if host is None or host.last_seen_at is None:
        return f"{job.host}, whose worker has never reported"
    return f"{job.host} to be heard of again" if is_silent(host) else job.host


def _named(other: Other) -> str:
    return f"#{other.id} ({_words(other.kind)}, {other.status})"


def _words(kind: str) -> str:
    return kind.replace("_", " ")


async def _surroundings(jobs: Sequence[Job]) -> Surroundings:
    hosts = await Host.filter(name__in=list({job.host for job in jobs})).using_db(reader())
    by_name = {host.name: host for host in hosts}
    pending = [job for job in jobs if job.status == JobStatus.PENDING]
    if not pending:
        return Surroundings({}, by_name, {}, {}, {})
    limits = (await runtime_settings.load()).max_jobs_by_kind
    running = await running_on({job.host for job in pending}, reader())
    return Surroundings(await _holders(pending), by_name, running, limits, await _places(pending))


async def _holders(pending: Sequence[Job]) -> dict[str | None, Other]:
    lanes = {job.lane for job in pending if job.lane is not None}
    columns = ("running_lock", "id", "kind", "status", "host", "error_code")
    rows = Job.filter(running_lock__in=list(lanes)).using_db(reader())
    return {lane: Other(*other) for lane, *other in await rows.values_list(*columns)} if lanes else {}


async def _places(pending: Sequence[Job]) -> dict[int, Places]:
    """The places of jobs whose time has come: the database counts, and answers for these jobs alone."""
    rivals = Q(host__in=list({job.host for job in pending}))
    if lanes := {job.lane for job in pending if job.lane is not None}:
        rivals |= Q(lane__in=list(lanes))
    waiting = Job.filter(is_due(), rivals, status=JobStatus.PENDING).using_db(reader())
    columns = {name: RawSQL(expression) for name, expression in _QUEUE_COLUMNS.items()}
    queue = waiting.annotate(**columns).values("id", "host", "lane", *columns)
    ids = ", ".join(str(int(job.id)) for job in pending)
    statement = f"SELECT * FROM ({queue.sql()}) queue WHERE id IN ({ids})"  # noqa: S608 - numbers, and Tortoise's own
    _, parameters = queue.query.get_parameterized_sql()
    rows = await reader().execute_query_dict(statement, parameters)
    return {row["id"]: _placed(row) for row in rows}


def _placed(row: Mapping[str, Any]) -> Places:
    number, lane = row["next_id"], row["lane"]
    if lane is None or number is None:
        return Places(row["on_host"], row["in_lane"])
    return Places(row["on_host"], row["in_lane"], Other(number, row["next_kind"], JobStatus.PENDING, row["host"]))
