"""`make chaos MINUTES=15`: random kills, pauses and failures under load on real borg, then a count of what came of it.

Beside the gateway and its worker runs a second worker, ready to take over; the chat is a Slack as strict as the real
one. Every process that is struck is one that was started here, or is found by the locks in the run's own directory. At
the end all is started once more without faults, and every accepted job is looked up from outside. Exit status 1 when
any promise was broken: then the directory is kept, with `events.jsonl` to say what was done when.
"""

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.chaos_count import FINAL, MAY_TAKE_TIME, Count, all_archives, all_jobs, count, gather, lanes_held, lines
from benchmarks.chaos_faults import Faults
from benchmarks.chaos_fleet import Fleet, environment
from benchmarks.chaos_load import Asked, Client, Load, session
from benchmarks.chaos_place import REPOSITORIES, Journal, Place
from benchmarks.running import free_port
from tests.fakes.slack import FakeSlack
from tests.fakes.webhook_receiver import WebhookReceiver

WEBHOOK_SECRET = "whsec_" + "Y2hhb3Mg" * 4
ENDED_WITHIN_S = 180.0
SETTLED_WITHIN_S = 300.0
"""A start that was put back leaves its directory for two minutes, and the chat may have much to catch up with."""
LOOK_AGAIN_S, LOOK_AT_ALL_S = 2.0, 10.0


@dataclass
class Chaos:
    """One run: who takes part."""

    place: Place
    journal: Journal
    fleet: Fleet
    client: Client
    slack: FakeSlack
    receiver: WebhookReceiver
    load: Load
    faults: Faults

    async def set_up(self) -> None:
        """Wait until all is up; add repositories, a subscription, and the right to use them."""
        await self.client.insist("GET", "/readyz")
        await self.client.insist(
            "POST", "/api/subscriptions", json={"url": self.receiver.url, "secret": WEBHOOK_SECRET}
        )
        await self.client.insist("POST", "/api/role-bindings", json={"subject": "slack:T1:U1", "role": "operate"})
        for name in REPOSITORIES:
            body = {
                "name": name,
                "location": str(self.place.repository(name)),
                "source_directories": [str(self.place.sources(name))],
                "encryption": "none",
                "compression": "none",
                "init": True,
            }
            added = await self.client.insist("POST", "/api/repositories", json=body)
            self.load.asked.append(Asked(len(self.load.asked) + 1, "repository", {added["init_job_id"]}))
            await self.client.insist("GET", f"/api/jobs/{added['init_job_id']}?wait=60", within_s=70)

    async def rage(self, minutes: float) -> None:
        """Load and faults together; then only what is under way is finished."""
        tasks = [asyncio.create_task(self.load.run()), asyncio.create_task(self.faults.run())]
        try:
            done, _ = await asyncio.wait(tasks, timeout=minutes * 60, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            await task
        self.journal.note("faults over")
        await self.load.finish()

    async def count(self) -> Count:
        """Wait until all is as it should be, or for as long as that may take, and say how it is."""
        await self._until_ended(ENDED_WITHIN_S)
        probes = await self.load.probe()
        await self._until_ended(ENDED_WITHIN_S)
        self.journal.note("all ended")
        deadline = asyncio.get_running_loop().time() + SETTLED_WITHIN_S
        archives = await all_archives(self.place)
        while True:
            seen = await gather(self.client, self.place, self.load, self.slack, self.receiver, self.faults.struck.jobs)
            counted = count(replace(seen, archives=archives))
            counted.bad["lanes held"] = lanes_held(probes, seen.jobs)
            if not any(counted.bad[name] for name in MAY_TAKE_TIME) or asyncio.get_running_loop().time() > deadline:
                return counted
            await asyncio.sleep(LOOK_AT_ALL_S)

    async def _until_ended(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    jobs = await all_jobs(self.client)
                    if all(job["status"] in FINAL for job in jobs.values()):
                        return
                    await asyncio.sleep(LOOK_AGAIN_S)


@contextlib.asynccontextmanager
async def chaos(place: Place, seed: int, rate: float, *, alone: bool) -> AsyncIterator[Chaos]:
    """Everything that a run needs; all processes are gone at the end."""
    journal, port = Journal(place.directory / "events.jsonl"), free_port()
    place.prepare()
    async with FakeSlack() as slack, WebhookReceiver(WEBHOOK_SECRET) as receiver, session(port) as http:
        redis = None if alone else place.data / "redis.sock"
        settings = environment(place, port, slack.base_url, slack.token, redis=redis)
        fleet = Fleet(place, journal, random.Random(seed), environment=settings)
        client = Client(http, journal)
        load = Load(client, slack, journal, random.Random(seed + 1), rate)
        try:
            await fleet.start(alone=alone)
            faults = Faults(place, fleet, slack, journal, random.Random(seed + 2))
            yield Chaos(place, journal, fleet, client, slack, receiver, load, faults)
        finally:
            journal.note("stopped", took_s=await fleet.stop())
            for process in place.run_processes(fleet.pids):
                process.strike(place.runs, signal.SIGKILL)
            journal.close()


async def run(place: Place, arguments: argparse.Namespace) -> Count:
    begun = datetime.now(UTC)
    async with chaos(place, arguments.seed, arguments.rate, alone=arguments.up) as running:
        await running.set_up()
        await running.rage(arguments.minutes)
        counted = await running.count()
        faults = running.faults.struck.faults
        counted.said |= {
            "seed": arguments.seed,
            "minutes": arguments.minutes,
            "begun": begun.isoformat(timespec="seconds"),
            "faults": faults.total(),
            "faults by kind": dict(sorted(faults.items())),
            "parts that ended by themselves": running.fleet.ended_by_themselves,
            "requests refused": running.load.refused,
        }
        for line in lines(counted.bad.items()):
            running.journal.note("wrong", what=line)
        note_messages(running.slack, running.journal)
    return counted


def note_messages(slack: FakeSlack, journal: Journal) -> None:
    """Write down what the chat shows at the end, and when each message was posted and last edited."""
    since_1970_s = time.time() - time.monotonic()
    for message in (message for channel in slack.messages.values() for message in channel):
        moments = [datetime.fromtimestamp(since_1970_s + at, UTC).isoformat() for at, _ in message.edits]
        about = message.metadata.get("event_payload")
        journal.note("message", ts=message.ts, posted=moments[0], edited=moments[1:], about=about, text=message.text)


def show(counted: Count) -> None:
    """As a table and as JSON."""
    table = Table(title="Chaos")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, value in counted.said.items():
        table.add_row(name, _said(value))
    table.add_section()
    for name, found in counted.bad.items():
        table.add_row(name, f"[bold red]{len(found)}[/]" if found else "0")
    Console().print(table)
    for line in lines(counted.bad.items()):
        print(line)
    print(json.dumps({"benchmark": "chaos", **counted.as_json()}))


def _said(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {number}" for name, number in value.items()) or "none"
    return ("\n".join(value) or "none") if isinstance(value, list) else str(value)


async def main(arguments: argparse.Namespace) -> int:
    """0 when every promise was kept."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    directory = Path(tempfile.mkdtemp(prefix="locutus-chaos-"))
    print(f"chaos: seed {arguments.seed}, {arguments.minutes:g} minutes, in {directory}", flush=True)
    counted = await run(Place(directory), arguments)
    show(counted)
    if counted.is_good and not arguments.keep:
        await asyncio.to_thread(shutil.rmtree, directory)
        return 0
    print(f"chaos: see events.jsonl, starts and the logs in {directory}")
    return 0 if counted.is_good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15, help="how long faults last")
    parser.add_argument("--rate", type=float, default=0.35, help="jobs asked for a second")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of all that is random here")
    parser.add_argument("--up", action="store_true", help="one `locutus up` instead of its parts")
    parser.add_argument("--keep", action="store_true", help="keep the directory also when all is well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(_arguments())))
