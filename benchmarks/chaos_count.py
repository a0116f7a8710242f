"""What became of every job, counted from outside: by the API, the chat, the webhooks, borg's own lists, and the runs
that the program noted.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.chaos_load import Client, Load
from benchmarks.chaos_place import REPOSITORIES, Place, Start
from tests.fakes.slack import FakeSlack, Posted
from tests.fakes.webhook_receiver import WebhookReceiver

FINAL = ("completed", "failed", "cancelled")
PARTS = ("card", "progress")
ARCHIVE_CLOCK_S, CLOCK_SLACK_S = 1.0, 0.05
"""borg tells in whole seconds when a run began."""
Json = dict[str, Any]
Found = dict[int, str]
"""By job: what is wrong with it."""


@dataclass(frozen=True)
class Evidence:
    """All that was seen. `jobs` by number; `archives` by repository and name, with the start of their run (Unix
    seconds); `console` by job; `webhooks` by job the types that came.
    """

    load: Load
    jobs: Mapping[int, Json]
    archives: Mapping[str, Mapping[str, float]]
    starts: list[Start]
    slack: list[Posted]
    console: Mapping[int, list[Json]]
    webhooks: Mapping[int, set[str]]
    run_directories: list[str]
    struck: set[int]


@dataclass
class Count:
    """`bad` has a column for each promise, and must be empty in each; `said` is for people."""

    said: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, Found] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not any(self.bad.values())

    def as_json(self) -> Json:
        return {**self.said, **{name: len(found) for name, found in self.bad.items()}}


async def all_jobs(client: Client) -> dict[int, Json]:
    """Every job there is."""
    jobs: dict[int, Json] = {}
    query = {"limit": "200"}
    while True:
        page = await client.insist("GET", "/api/jobs", params=query)
        jobs |= {job["id"]: job for job in page["items"]}
        if not page["next_cursor"]:
            return jobs
        query["cursor"] = page["next_cursor"]


async def all_archives(place: Place) -> dict[str, dict[str, float]]:
    """What stands in each repository."""
    return {name: await place.archives(name) for name in REPOSITORIES}


async def gather(
    client: Client, place: Place, load: Load, slack: FakeSlack, receiver: WebhookReceiver, struck: set[int]
) -> Evidence:
    """Look at everything once, but for the archives: `all_archives`."""
    jobs = await all_jobs(client)
    webhooks: dict[int, set[str]] = defaultdict(set)
    for received in receiver.received:
        event = json.loads(received.body)
        webhooks[event["data"]["id"]].add(event["type"])
    console = {job: await client.insist("GET", "/api/console/messages", params={"job_id": str(job)}) for job in jobs}
    return Evidence(
        load=load,
        jobs=jobs,
        archives={},
        starts=place.starts(),
        slack=[message for channel in slack.messages.values() for message in channel],
        console={job: thread["items"] for job, thread in console.items()},
        webhooks=webhooks,
        run_directories=sorted(path.name for path in place.runs.iterdir()),
        struck=struck,
    )


def count(seen: Evidence) -> Count:
    """Compare what was seen with what is promised. Pure."""
    statuses = Counter(job["status"] for job in seen.jobs.values())
    codes = Counter(job["error_code"] for job in seen.jobs.values() if job["status"] == "failed")
    said = {
        "asked": len(seen.load.asked),
        "accepted": len(seen.load.accepted),
        "asked to retry too early": seen.load.too_early,
        "accepted, answer lost": len(seen.jobs.keys() - seen.load.accepted),
        "ended": sum(statuses[status] for status in FINAL),
        **{status: statuses[status] for status in FINAL},
        "failures": dict(codes),
        "runs of borg create": sum(start.command == "create" for start in seen.starts),
        "cancelled with an archive": len(_with_archive(seen, "cancelled")),
    }
    return Count(said, {name: judge(seen) for name, judge in JUDGES.items()})


def _lost(seen: Evidence) -> Found:
    return dict.fromkeys(seen.load.accepted - seen.jobs.keys(), "accepted, and there is no such job")


def _stuck(seen: Evidence) -> Found:
    return {number: f"is {job['status']}" for number, job in seen.jobs.items() if job["status"] not in FINAL}


def _two_jobs(seen: Evidence) -> Found:
    return {min(asked.jobs): f"one request made {asked.jobs}" for asked in seen.load.asked if len(asked.jobs) > 1}


def _run_twice(seen: Evidence) -> Found:
    """A run that began after the job's archive was begun, after the job's end, or in the directory of another run."""
    found: Found = {}
    for job, starts in _creates(seen).items():
        described = seen.jobs.get(job, {})
        began = seen.archives.get(str(described.get("repository")), {}).get(str(described.get("archive_name")))
        if began is not None and starts[-1].at > began + ARCHIVE_CLOCK_S:
            found[job] = f"ran again at {starts[-1].at} after the run at {began} that made the archive"
        ended_at = described.get("completed_at")
        if ended_at and starts[-1].at > datetime.fromisoformat(ended_at).timestamp() + CLOCK_SLACK_S:
            found[job] = f"ran at {starts[-1].at}, after its end {ended_at}"
        if len({start.run for start in starts}) < len(starts):
            found[job] = f"one attempt ran twice: {[start.run for start in starts]}"
    return found


def _at_once(seen: Evidence) -> Found:
    shared = (start for start in seen.starts if not start.alone)
    return {start.job_id or 0: f"{start.command} began beside another in {start.repository}" for start in shared}


def _creates(seen: Evidence) -> dict[int, list[Start]]:
    by_archive = {job["archive_name"]: number for number, job in seen.jobs.items()}
    runs: dict[int, list[Start]] = defaultdict(list)
    for start in seen.starts:
        if start.command == "create" and (job := start.job_id or by_archive.get(start.archive)):
            runs[job].append(start)
    return runs


def _without_archive(seen: Evidence) -> Found:
    with_archive = _with_archive(seen, "completed")
    completed = (number for number, job in _backups(seen).items() if job["status"] == "completed")
    return {number: "completed without its archive" for number in completed if number not in with_archive}


def _unclaimed_archives(seen: Evidence) -> Found:
    found = dict.fromkeys(_with_archive(seen, "failed", "pending"), "failed, and its archive is there")
    names = {(job["repository"], job["archive_name"]) for job in seen.jobs.values()}
    strange = [(where, name) for where, there in seen.archives.items() for name in there if (where, name) not in names]
    return found | {-number: f"archive of no job: {name}" for number, name in enumerate(strange, 1)}


def _with_archive(seen: Evidence, *statuses: str) -> set[int]:
    backups = _backups(seen).items()
    return {
        number
        for number, job in backups
        if job["status"] in statuses and job["archive_name"] in seen.archives.get(job["repository"], {})
    }


def _backups(seen: Evidence) -> dict[int, Json]:
    return {number: job for number, job in seen.jobs.items() if job["kind"] == "backup"}


def _failed_unstruck(seen: Evidence) -> Found:
    failed = {number: job for number, job in seen.jobs.items() if job["status"] == "failed"}
    return {
        number: f"{job['error_code']}: {job['error_message']}"
        for number, job in failed.items()
        if number not in seen.struck
    }


def _slack_threads(seen: Evidence) -> Found:
    """Exactly one card and one progress message, each with the final state."""
    texts: dict[int, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for message in seen.slack:
        payload = message.metadata["event_payload"]  # only Locutus writes into this channel
        texts[payload["job_id"]][payload["part"]].append((payload["status"], message.text))
    ways = {"slash command", "api with a channel"}
    wanted = {job for asked in seen.load.asked if asked.way in ways for job in asked.jobs} | texts.keys()
    return _wrong_threads(seen, {job: texts[job] for job in wanted})


def _console_threads(seen: Evidence) -> Found:
    threads: dict[int, dict[str, list[tuple[str, str]]]] = {}
    for job, messages in seen.console.items():
        threads[job] = defaultdict(list)
        for message in messages:
            if message["job_id"] == job:
                threads[job][message["part"]].append((seen.jobs[job]["status"], message["text"]))
    return _wrong_threads(seen, threads)


def _wrong_threads(seen: Evidence, threads: Mapping[int, Mapping[str, list[tuple[str, str]]]]) -> Found:
    found = {}
    for number, parts in threads.items():
        status = seen.jobs.get(number, {}).get("status", "unknown")
        wrong = [_wrong_part(part, parts.get(part, []), status) for part in PARTS]
        if len(parts.get("failure", [])) != (status == "failed"):
            wrong.append(f"{len(parts.get('failure', []))} failure messages of a {status} job")
        if any(wrong):
            found[number] = "; ".join(filter(None, wrong))
    return found


def _wrong_part(part: str, shown: list[tuple[str, str]], status: str) -> str | None:
    if len(shown) != 1:
        return f"{len(shown)} {part} messages"
    (marked, text) = shown[0]
    return None if marked == status and status in text else f"the {part} of a {status} job says {marked}: {text[:200]}"


def _webhooks(seen: Evidence) -> Found:
    found = {}
    for number, job in seen.jobs.items():
        ends = {event for event in seen.webhooks.get(number, ()) if event != "job.started"}
        if job["status"] in FINAL and ends != {f"job.{job['status']}"}:
            found[number] = f"{job['status']}, and the endpoint heard {sorted(ends) or 'nothing'}"
    return found


def _run_directories(seen: Evidence) -> Found:
    return {-number: name for number, name in enumerate(seen.run_directories, 1)}


JUDGES = {
    "lost": _lost,
    "stuck": _stuck,
    "two jobs of one request": _two_jobs,
    "run twice": _run_twice,
    "two at a time": _at_once,
    "completed without archive": _without_archive,
    "archive without completed": _unclaimed_archives,
    "failed, never struck": _failed_unstruck,
    "Slack threads wrong": _slack_threads,
    "console threads wrong": _console_threads,
    "webhooks missing": _webhooks,
    "run directories left": _run_directories,
}
MAY_TAKE_TIME = ("Slack threads wrong", "console threads wrong", "webhooks missing", "run directories left")
"""What is made right after the last job has ended."""


def lanes_held(probes: Mapping[str, int | None], jobs: Mapping[int, Json]) -> Found:
    """The repositories in which one more backup did not end well."""
    return {
        -number: f"a further backup of {name} is {jobs.get(job or 0, {}).get('status', 'not accepted')}"
        for number, (name, job) in enumerate(probes.items(), 1)
        if jobs.get(job or 0, {}).get("status") != "completed"
    }


def lines(found: Iterable[tuple[str, Found]]) -> list[str]:
    """What is wrong, a line each."""
    return [f"{column}: #{number}: {why}" for column, jobs in found for number, why in sorted(jobs.items())]
