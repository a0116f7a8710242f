"""What a Prometheus server asks for: counted in the database at each scrape, so that every gateway answers the same.

https://prometheus.io/docs/practices/naming/. What is not known has no sample, and never the value 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from tortoise.functions import Count, Min
from tortoise.queryset import QuerySet

from jobs.access import Role
from jobs.claim import is_due
from jobs.clock import now
from jobs.database.unit import reader
from jobs.delivery import DeliveryState
from jobs.models import Archive, ChatMessage, Delivery, Host, Job, Repository
from jobs.types import JOB_TYPES
from jobs.view import JobStatus
from webhooks.route import Plain, Route

Samples = Mapping[tuple[str, ...], float]


class Gathered:
    """A collector of what was gathered before: a registry asks for it without waiting."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        return self._metrics


async def show(call: Plain) -> web.Response:
    """The metrics, in the format that the scraper accepts."""
    registry = CollectorRegistry()
    registry.register(Gathered([_build(), *await _jobs(), *await _hosts(), *await _repositories(), *await _outgoing()]))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(call.request.headers.get("Accept", ""))
    return web.Response(body=encode(registry), headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def _build() -> Metric:
    return InfoMetricFamily("locutus_build", "What answers here.", {"version": version("locutus")})


async def _jobs() -> list[Metric]:
    none: Samples = {(kind, status): 0 for kind in JOB_TYPES for status in JobStatus}
    counted = await _counts(Job.all(), "kind", "status")
    return [_gauge("locutus_jobs", "Jobs that are known, by kind and state.", ("kind", "status"), {**none, **counted})]


async def _hosts() -> list[Metric]:
    hosts = await Host.all().using_db(reader())
    none: Samples = {(host.name,): 0 for host in hosts}
    running = await _counts(Job.filter(status=JobStatus.RUNNING), "host")
    slots = {(host.name,): host.max_jobs for host in hosts}
    ages = {(host.name,): _age_s(host.last_seen_at) for host in hosts if host.last_seen_at}
    return [
        _gauge("locutus_running_jobs", "Jobs that run now.", ("host",), {**none, **running}),
        _gauge("locutus_job_slots", "Jobs that may run at once.", ("host",), slots),
        _gauge("locutus_queue_wait_seconds", "Age of the oldest waiting job.", ("host",), {**none, **await _waits()}),
        _gauge("locutus_host_last_seen_age_seconds", "Time since a worker was heard of.", ("host",), ages),
    ]


async def _waits() -> Samples:
    """For how long the oldest of the jobs whose time has come has waited, by host."""
    waiting = Job.filter(is_due(), status=JobStatus.PENDING).using_db(reader()).annotate(since=Min("created_at"))
    return {(host,): _age_s(since) for host, since in await waiting.group_by("host").values_list("host", "since")}


async def _repositories() -> list[Metric]:
    found = (
        await Repository.all()
        .using_db(reader())
        .only("id", "name", "size", "last_backup", "expected_every", "overdue_since")
    )
    counts = await _counts(Archive.all(), "repository_id")
    ages = {(row.name,): _age_s(row.last_backup) for row in found if row.last_backup}
    archives = {(row.name,): counts.get((row.id,), 0) for row in found}
    overdue = {(row.name,): int(row.overdue_since is not None) for row in found if row.expected_every is not None}
    sizes = {(row.name,): row.size for row in found if row.size is not None}
    return [
        _gauge("locutus_last_backup_age_seconds", "Age of the newest backup.", ("repository",), ages),
        _gauge("locutus_backup_overdue", "1: the newest archive is older than expected.", ("repository",), overdue),
        _gauge("locutus_repository_archives", "Archives that are known.", ("repository",), archives),
        _gauge("locutus_repository_size_bytes", "Compressed and without repetitions.", ("repository",), sizes),
    ]


async def _outgoing() -> list[Metric]:
    none: Samples = {(state,): 0 for state in DeliveryState}
    deliveries = await _counts(Delivery.all(), "state")
    unshown = await _counts(ChatMessage.filter(settled=False).exclude(state="refused"), "platform")
    return [
        _gauge("locutus_deliveries", "Outbound webhooks, by state.", ("state",), {**none, **deliveries}),
        _gauge("locutus_open_chat_messages", "Messages that do not show an end yet.", ("platform",), unshown),
    ]


async def _counts(rows: QuerySet[Any], *columns: str) -> dict[tuple[Any, ...], int]:
    """How many rows there are of each combination of the columns' values."""
    counted = rows.using_db(reader()).annotate(number=Count("id")).group_by(*columns)
    return {tuple(values): number for *values, number in await counted.values_list(*columns, "number")}


def _gauge(name: str, meaning: str, labels: Sequence[str], samples: Mapping[tuple[Any, ...], float]) -> Metric:
    gauge = GaugeMetricFamily(name, meaning, labels=labels)
    for values, value in samples.items():
        gauge.add_metric([str(one) for one in values], value)
    return gauge


def _age_s(moment: datetime) -> float:
    """Never negative: the clock may have been set back meanwhile."""
    return max(0.0, (now() - moment).total_seconds())


ROUTES = (Route("GET", "/metrics", Role.VIEW, show, "Figures for Prometheus", media_type="text/plain"),)
