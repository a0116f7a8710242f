"""A host with a repository, the workers that die or pause on it, and what must be true of a job afterwards."""

import asyncio
import contextlib
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import worker
from jobs import log_store
from jobs.access import Role, everywhere
from jobs.models import ChatMessage, ConsoleMessage, Delivery, Job, Subscription
from jobs.secrets import SecretBox
from jobs.submit import JobRequest, submit
from tests.conftest import wait_until
from tests.fakes import faulty_worker
from tests.fakes.instance import SECRET_KEY, repository_row, until
from tests.fakes.slack import FakeSlack
from tests.fakes.webhook_receiver import WebhookReceiver
from worker import supervision
from worker.run_directory import ExitReason, RunDirectory

ROOT = Path(worker.__file__).parent.parent
CHANNEL = "C1"
HOST = "test-host"
PASSPHRASE = "a passphrase of the tests"
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLasw"
FILES = ("first", "second", "gated", "last")
FILE_BYTES = 50_000
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PATIENCE_S = 60.0
ASKER = "token:test"
EXITED = "Locutus: exited, exit status 1 after "
FOUND = "Locutus: Worker restarted; the archive "
"""How the log ends of a run whose exit was recorded, and of one whose archive alone tells of it."""

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(["tests.fakes.faulty_worker"])  # a worker's start is then no second of imports


@dataclass
class Worker:
    """A worker's process."""

    process: ForkServerProcess
    log: Path

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    async def ended(self) -> int | None:
        """Wait for its end: its exit status, or minus the signal that killed it."""
        await asyncio.to_thread(self.process.join, PATIENCE_S)
        return self.process.exitcode

    async def says(self, event: str) -> None:
        """Wait until its log has this."""
        await asyncio.to_thread(wait_until, lambda: event.encode() in self.log.read_bytes(), PATIENCE_S)

    async def paused(self) -> None:
        """Wait until it has stopped itself."""
        status = Path(f"/proc/{self.process.pid}/stat")
        await asyncio.to_thread(wait_until, lambda: status.read_text().rpartition(") ")[2].startswith("T"), PATIENCE_S)


@dataclass
class Machine:
    """A host with a repository whose borg counts its runs and waits at the file `gated` while the gate is closed."""

    directory: Path
    environment: dict[str, str]
    slack: FakeSlack
    webhooks: WebhookReceiver
    workers: list[Worker] = field(default_factory=list)
    _gate: int | None = None

    async def start_worker(self, at: str = "", **constants: float | Path) -> Worker:
        """Start `locutus worker` and wait until it says that it is up; `at` is a fault, such as `claimed=SIGKILL`."""
        started = await self.start("worker", at, **constants)
        await started.says("worker_up")
        return started

    async def start(self, command: str, at: str = "", **constants: float | Path) -> Worker:
        """Start a command of Locutus's with a worker in it."""
        changed = [f"--set={name}={value}" for name, value in constants.items()]
        arguments = [*changed, *([f"--at={at}"] if at else []), command]
        log = self.directory / f"worker-{len(self.workers)}.log"
        log.touch()
        process = forks.Process(target=faulty_worker.run_in, args=(arguments, self.environment, log))
        await asyncio.to_thread(process.start)
        started = Worker(process, log)
        self.workers.append(started)
        return started

    def close_gate(self) -> None:
        self._gate = os.open(self.directory / "bin" / "gate", os.O_RDONLY)
        fcntl.flock(self._gate, fcntl.LOCK_EX)

    def open_gate(self) -> None:
        if self._gate is not None:
            os.close(self._gate)
        self._gate = None

    def run(self, job: Job) -> RunDirectory:
        return RunDirectory.of(self.directory / "data" / "runs", job.id, job.attempt)

    def runs_of(self, job: Job) -> list[RunDirectory]:
        return [run for run in RunDirectory.all_in(self.directory / "data" / "runs") if run.job_id == job.id]

    def borg_calls(self, archive: str) -> int:
        """How often borg was started to make this archive."""
        calls = (self.directory / "bin" / "calls").read_text().splitlines()
        return sum("create" in call and any(word.endswith(f"::{archive}") for word in call.split()) for call in calls)

    def borg(self, command: str, *arguments: str) -> bytes:
        environment = {**self.environment, "BORG_PASSPHRASE": PASSPHRASE}
        argv = ["borg", command, "--lock-wait", "60", *arguments]
        done = subprocess.run(argv, env=environment, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def archives(self) -> list[str]:
        listed = json.loads(self.borg("list", "--json", str(self.directory / "repo")))
        return [archive["name"] for archive in listed["archives"]]

    def thread(self, job: Job) -> dict[str, list[str]]:
        """The texts of the job's messages on Slack, by part."""
        texts: dict[str, list[str]] = {}
        for message in self.slack.messages[CHANNEL]:
            payload = message.metadata["event_payload"]
            if payload["job_id"] == job.id:
                texts.setdefault(payload["part"], []).append(message.text)
        return texts

    def shows(self, job: Job, status: str) -> bool:
        return all(status in text for part, texts in self.thread(job).items() if part != "failure" for text in texts)


@contextlib.asynccontextmanager
async def machine_in(directory: Path, redis_url: str, database_url: str, template: Path) -> AsyncIterator[Machine]:
    """A machine on an open database; `template` is where an empty borg repository is kept for the next one."""
    (directory / "data").mkdir()
    (directory / "passphrase").write_text(PASSPHRASE)
    sources = make_sources(directory / "sources")
    borg = make_borg(directory / "bin")
    async with FakeSlack(channels=(CHANNEL,)) as slack, WebhookReceiver(WEBHOOK_SECRET) as webhooks:
        slack.limits = {}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory / "home"),
            "LOCUTUS_DATA_DIR": str(directory / "data"),
            "LOCUTUS_DATABASE_URL": database_url,
            "LOCUTUS_REDIS_URL": redis_url,
            "LOCUTUS_HOST": HOST,
            "LOCUTUS_SECRET_KEY": SECRET_KEY,
            "LOCUTUS_BORG": str(borg),
            "LOCUTUS_PROGRESS_INTERVAL": "100ms",
            "LOCUTUS_ALLOW_PRIVATE_WEBHOOK_TARGETS": "1",
            "SLACK_BOT_TOKEN": slack.token,
            "LOCUTUS_SLACK_API_URL": slack.base_url,
        }
        machine = Machine(directory, environment, slack, webhooks)
        await asyncio.to_thread(_make_repository, machine, template)
        row = {"encryption": "repokey-blake2", "passphrase_file": str(directory / "passphrase")}
        await repository_row("photos", directory / "repo", sources, **row)
        secret = SecretBox(SECRET_KEY).encrypt(WEBHOOK_SECRET)
        events = ["job.completed", "job.failed", "job.cancelled"]
        await Subscription.create(url=webhooks.url, secret=secret, events=events)
        try:
            yield machine
        finally:
            await asyncio.to_thread(_end_all, machine)


def make_sources(directory: Path) -> list[Path]:
    """Files, and after each a missing one: a warning that the log must hold exactly once."""
    directory.mkdir()
    for name in FILES:
        (directory / name).write_bytes(os.urandom(FILE_BYTES))
    return [directory / f"{missing}{name}" for name in FILES for missing in ("", "missing-")]


def make_borg(directory: Path, program: str = "gated_borg.py") -> Path:
    """The gated borg, or another one of ours, for the interpreter that the real one has."""
    directory.mkdir()
    real = shutil.which("borg")
    assert real is not None
    interpreter = Path(real).read_bytes().partition(b"\n")[0].decode()
    borg = directory / "borg"
    borg.write_text(f"{interpreter}\n{(ROOT / 'tests' / 'fakes' / program).read_text()}")
    borg.chmod(0o700)
    (directory / "gate").touch()
    (directory / "calls").touch()
    return borg


def _make_repository(machine: Machine, template: Path) -> None:
    if not template.exists():
        elsewhere = replace(machine, environment={**machine.environment, "HOME": str(template.parent)})
        elsewhere.borg("init", "--encryption", "repokey-blake2", str(template))
    shutil.copytree(template, machine.directory / "repo")


def _end_all(machine: Machine) -> None:
    machine.open_gate()
    for started in machine.workers:
        started.process.kill()
        started.process.join(PATIENCE_S)
    for run in RunDirectory.all_in(machine.directory / "data" / "runs"):
        kill_holders(run)


def holders(lock: Path) -> list[int]:
    return supervision._holders(lock) if lock.exists() else []


def kill_holders(run: RunDirectory) -> None:
    """End supervisor and borg, without leaving either the time to say so."""
    for lock in (run.lock, run.borg_lock):
        for pid in holders(lock):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not run.supervised() and not run.borg_alive())


async def asked() -> Job:
    """A backup that somebody asks for."""
    principal = everywhere(ASKER, Role.OPERATE)
    request = JobRequest("backup", principal, "api", "photos", channel=f"slack:T1:{CHANNEL}")
    return (await submit(request)).job


async def job_once(job: Job, condition: Callable[[Job], bool], timeout_s: float = PATIENCE_S) -> Job:
    async with asyncio.timeout(timeout_s):
        while not condition(now := await Job.get(id=job.id)):
            await asyncio.sleep(0.02)
    return now


async def ended(job: Job) -> Job:
    return await job_once(job, lambda job: job.completed_at is not None)


async def in_the_middle(machine: Machine, job: Job) -> Job:
    """Wait until borg waits at the gate, which must be closed, and row and thread show how far it is."""
    running = await job_once(job, lambda job: bool(job.progress.get("nfiles")))
    await until(lambda: any("file" in text for text in machine.thread(job).get("progress", [])))
    assert (running.status, running.progress["nfiles"]) == ("running", FILES.index("gated"))
    return running


async def let_claims_run_out() -> None:
    """A worker that was killed may have claimed a message or a delivery, for less than a minute."""
    await ChatMessage.filter(claim__isnull=False).update(claimed_until=LONG_AGO)
    await Delivery.filter(claimed_until__isnull=False).update(claimed_until=LONG_AGO)


async def log_of(job: Job) -> list[str]:
    pieces = [piece async for piece, _ in log_store.read(job.id, log_store.Position())]
    return b"".join(pieces).decode().splitlines()


async def assert_completed_once(
    machine: Machine, job: Job, log_before: Sequence[str] = (), *, seen: bool = True
) -> Job:
    """Borg ran once, and everything that tells of it says so: row, log, threads, deliveries, run directory.

    `assert_next_job_runs` looks at the archives. Where borg's exit was not `seen`, only its archive tells the figures.
    """
    job = await ended(job)
    assert job.status == "completed", job.error_message
    assert job.warnings == len(FILES)
    assert job.running_lock is None
    assert job.archive_name is not None
    assert machine.borg_calls(job.archive_name) == 1
    assert (job.progress["nfiles"], job.progress["progress_percent"]) == (len(FILES), 100)
    assert 0 <= job.progress["original_size"] - len(FILES) * FILE_BYTES < FILE_BYTES
    log = await log_of(job)
    assert log[: len(log_before)] == list(log_before)
    assert_log_is_whole(log[len(log_before) :], job.attempt, EXITED if seen else FOUND)
    await assert_told_once(machine, job, {"card": 1, "progress": 1})
    await until(lambda: all(_is_refused(run) for run in machine.runs_of(job)))
    return job


def assert_log_is_whole(log: list[str], attempts: int, ending: str) -> None:
    """One header for each attempt, borg's own lines in their order, one footer: nothing lacks or stands twice."""
    headers = [line for line in log if line.startswith("Locutus: job #")]
    *warnings, footer = log[len(headers) :]
    assert 1 <= len(headers) <= attempts, log
    assert [name for line in warnings for name in FILES if f"missing-{name}" in line] == list(FILES), log
    assert len(warnings) == len(FILES), log
    assert footer.startswith(ending), log


async def assert_told_once(machine: Machine, job: Job, parts: dict[str, int]) -> None:
    """Both threads end with one message a part, which show the end; one delivery tells of it, and has arrived."""
    await until(lambda: machine.shows(job, job.status), PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while await ChatMessage.filter(job_id=job.id, settled=False).exists():
            await asyncio.sleep(0.02)
    assert machine.shows(job, job.status)
    assert {part: len(texts) for part, texts in machine.thread(job).items()} == parts
    console = await ConsoleMessage.filter(job_id=job.id)
    assert sorted(message.part or "" for message in console) == sorted(parts)
    assert all(job.status in str(message.content) for message in console if message.part != "failure")
    [delivery] = await Delivery.filter(job_id=job.id)
    assert delivery.event == f"job.{job.status}"
    await until(lambda: delivery.webhook_id in machine.webhooks.ids, PATIENCE_S)


async def assert_not_completed(machine: Machine, job: Job, status: str, borg_calls: int = 1) -> Job:
    """Borg ran so often, the lane is free, and everything that tells of it says how it ended."""
    job = await ended(job)
    assert (job.status, job.running_lock) == (status, None), job.error_message
    assert job.archive_name is not None
    assert machine.borg_calls(job.archive_name) == borg_calls
    await assert_told_once(machine, job, {"card": 1, "progress": 1} | ({"failure": 1} if status == "failed" else {}))
    return job


async def assert_next_job_runs(machine: Machine, job: Job | None = None) -> None:
    """The lane is free: another backup starts and completes. Then the repository has one archive for each completed."""
    await assert_completed_once(machine, job or await asked())
    completed = await Job.filter(status="completed").order_by("id").values_list("archive_name", flat=True)
    assert await asyncio.to_thread(machine.archives) == list(completed)


def _is_refused(run: RunDirectory) -> bool:
    found = run.exit()
    return found is not None and found.reason is ExitReason.NOT_STARTED
