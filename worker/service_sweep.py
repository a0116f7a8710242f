"""What service workers see to by themselves, any number of them: hosts that are gone, and hosts that have work.

It reads the database and needs no Redis. A changed wall clock fools nothing: a host counts as lost only if this process
has watched it say nothing, by a clock that nobody sets.
"""

import asyncio
import time
from collections.abc import Awaitable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog
from tortoise.expressions import Q

from jobs import hosts, outbox, queue
from jobs.claim import is_due
from jobs.clock import now
from jobs.database.unit import reader, unit
from jobs.events import HostSilent
from jobs.expiry import expire
from jobs.hosts import SILENT_AFTER
from jobs.models import Host, Job
from jobs.view import JobStatus

LONGEST_INTERVAL = timedelta(minutes=1)
SHORTEST_INTERVAL = timedelta(seconds=1)
WATCHED_FOR = timedelta(minutes=10)
"""How long this process itself must have heard nothing before it gives a host's jobs up, whatever the clocks say."""

TOLD_AFTER = timedelta(minutes=5)
"""A silence that is worth an event: a worker's restart is shorter."""

_log = structlog.get_logger()


class Watch:
    """For how long each host has said nothing before the eyes of this process. Times are monotonic seconds."""

    def __init__(self, longest_gap_s: float) -> None:
        self._longest_gap_s = longest_gap_s
        self._looked_s = 0.0
        self._heard: dict[str, tuple[datetime | None, float]] = {}

    def look(self, found: Collection[Host], at_s: float) -> None:
        """Note what the hosts said last. After a gap, in which this process itself may have been paused, all begins
        anew: a host that shares its machine has not had the time to speak either.
        """
        before = self._heard if at_s - self._looked_s <= self._longest_gap_s else {}
        self._looked_s = at_s
        self._heard = {}
        for host in found:
            heard, since_s = before.get(host.name, (None, at_s))
            self._heard[host.name] = (host.last_seen_at, since_s if heard == host.last_seen_at else at_s)

    def silent_for_s(self, host: Host) -> float:
        """Seconds between the first and the last look that found what the host said last."""
        return self._looked_s - self._heard[host.name][1]


class ServiceSweep:
    """The sweep of one service worker; `run` until cancelled."""

    def __init__(self, host_lost_after: timedelta) -> None:
        self._lost_after = host_lost_after
        self._interval_s = min(LONGEST_INTERVAL, max(SHORTEST_INTERVAL, host_lost_after / 2)).total_seconds()
        self._watch = Watch(2 * self._interval_s)
        self._silent: set[str] = set()

    async def run(self) -> None:
        """Sweep at the start, and every minute or more often."""
        while True:
            await _guarded("sweep", self.sweep())
            await asyncio.sleep(self._interval_s)

    async def sweep(self) -> None:
        """Say who is silent, give up the jobs of the lost, wake who has work, let go of what is old."""
        found = await Host.all().using_db(reader())
        self._watch.look(found, time.monotonic())
        self._say_who_is_silent(found)
        for host in found:
            if self._is_silent_for(host, min(TOLD_AFTER, self._lost_after)):
                await _guarded("tell_of_silence", unit(partial(_tell_of_silence, host)))
            if self._is_lost(host):
                await _guarded("give_up", _give_up(host))
        await _guarded("wake", _wake(found))
        await _guarded("expire", expire())

    def _say_who_is_silent(self, found: Sequence[Host]) -> None:
        silent = {host.name: host for host in found if self._is_silent_for(host, SILENT_AFTER)}
        for name in sorted(silent.keys() - self._silent):
            _log.warning("host_silent", host=name, since=str(silent[name].last_seen_at))
        for name in sorted({host.name for host in found} & self._silent - silent.keys()):
            _log.info("host_heard_again", host=name)
        self._silent = set(silent)

    def _is_silent_for(self, host: Host, duration: timedelta) -> bool:
        return host.last_seen_at is not None and self._watch.silent_for_s(host) >= duration.total_seconds()

    def _is_lost(self, host: Host) -> bool:
        if host.last_seen_at is None or now() - host.last_seen_at <= self._lost_after:
            return False
        return self._is_silent_for(host, min(WATCHED_FOR, self._lost_after))


async def _tell_of_silence(host: Host) -> None:
    """Publish a silence once, whichever of the service workers finds it."""
    untold = Q(silence_told_at__isnull=True) | ~Q(silence_told_at=host.last_seen_at)
    silent = Host.filter(untold, id=host.id, last_seen_at=host.last_seen_at)
    if host.last_seen_at and await silent.update(silence_told_at=host.last_seen_at):
        data = HostSilent(host=host.name, silent_since=host.last_seen_at)
        await outbox.publish("host.silent", data, repository=None)


async def _give_up(host: Host) -> None:
    running = Job.filter(host=host.name, status=JobStatus.RUNNING).using_db(reader())
    for job_id, attempt in await running.values_list("id", "attempt"):
        if await unit(partial(_give_up_job, host, job_id, attempt)):
            _log.warning("job_given_up", job_id=job_id, host=host.name)


async def _give_up_job(host: Host, job_id: int, attempt: int) -> bool:
    present = await Host.filter(id=host.id).select_for_update().first()
    if present is None or present.last_seen_at != host.last_seen_at:
        return False
    reason = (
        f"The host {host.name} has been silent since {host.last_seen_at:%Y-%m-%d %H:%M} UTC; what became of its run "
        f"is unknown. {hosts.if_gone_for_good(job_id)}"
    )
    return await hosts.give_up(job_id, attempt, reason, keep_lane=True)


async def _wake(found: Sequence[Host]) -> None:
    """Wake the hosts that live and have jobs whose time has come; which lane is free they find out themselves."""
    due = Job.filter(is_due(), status=JobStatus.PENDING)
    waiting = await due.using_db(reader()).distinct().values_list("host", flat=True)
    living = {host.name for host in found if not hosts.is_silent(host)}
    await asyncio.gather(*(queue.wake_host(name) for name in sorted(living & {str(name) for name in waiting})))


async def _guarded(what: str, work: Awaitable[None]) -> None:
    try:
        await work
    except Exception:  # noqa: BLE001 - named edge: a broken database delays the sweep, and never ends it
        _log.exception("service_sweep_failed", step=what)
