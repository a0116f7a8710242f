"""What Locutus needs goes away while real borg runs: Redis, the database, Slack. Every job ends once, with its result.

A borg that waits at a gate makes the moment exact. An outage lasts until the product has tried and failed some times.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from jobs.database import connection
from jobs.database.connection import migrate
from jobs.models import ChatMessage
from jobs.queue import host_queue
from tests.conftest import POSTGRES_USER, free_port, wait_until
from tests.fakes.instance import Instance, instance, settings_for, until
from tests.fakes.slack import POST, UPDATE, FakeSlack
from tests.fakes.waiting_borg import WaitingBorg
from worker import posting, runs
from worker.app import WorkerRole
from worker.run_directory import RunDirectory

CHANNEL = "C1"
REPOSITORIES = ("one", "two", "three", "four")
FAILURES = 4
"""How often the product must have failed before an outage ends."""


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked for every minute is looked for every second; the claim of a reporter that is gone lasts three."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(runs, "SWEEP_OVERDUE_S", 1.0)
    monkeypatch.setattr(runs, "SWEEP_LOOK_S", 0.2)
    monkeypatch.setattr(posting, "FAILURE_DELAY_S", 0.2)
    monkeypatch.setattr(posting, "CLAIM", timedelta(seconds=3))


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[WaitingBorg]:
    with WaitingBorg(tmp_path / "waiting") as gate:
        yield gate


@pytest.fixture
def events() -> Iterator["Events"]:
    with structlog.testing.capture_logs() as entries:
        yield Events(entries)


class Events:
    """What was logged, counted by event."""

    def __init__(self, entries: list) -> None:
        self.entries = entries

    def __getitem__(self, event: str) -> int:
        return Counter(entry["event"] for entry in self.entries)[event]


class RedisServer:
    """A Redis that comes and goes on one socket."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        arguments = ["redis-server", "--port", "0", "--unixsocket", str(self.path), "--save", ""]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, cwd=self.path.parent)
        wait_until(self.path.exists)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.path.unlink(missing_ok=True)

    def restart(self) -> None:
        self.kill()
        self.start()

    def flush(self) -> None:
        self._call("flushall")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        yield
        self._process.send_signal(signal.SIGCONT)

    def wake_ups(self) -> int:
        """How many entries the host's queue has."""
        return int(self._call("zcard", host_queue("test-host")))

    def _call(self, *command: str) -> str:
        argv = ["redis-cli", "-s", str(self.path), *command]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[list[float]]:
        """In its place something that hangs up on each caller; yields when they called."""
        calls: list[float] = []
        loop = asyncio.get_running_loop()

        def hang_up() -> None:
            calls.append(loop.time())
            listener.accept()[0].close()

        # No asyncio server: who calls while that is closed is neither answered nor hung up on.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen()
            loop.add_reader(listener, hang_up)
            yield calls
            loop.remove_reader(listener)
        self.path.unlink(missing_ok=True)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


class PostgresServer:
    """A PostgreSQL of the test's own, which comes and goes."""

    def __init__(self, directory: Path) -> None:
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._directory, self._port = directory, free_port()
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as_user:
            shutil.chown(directory, "postgres")
        self._run("initdb", "-U", POSTGRES_USER, "-A", "trust", "-N", "-E", "UTF8")

    @property
    def url(self) -> str:
        return f"postgres://{POSTGRES_USER}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = f"-p {self._port} -k {self._directory} -c fsync=off -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "start", "-w", "-s", "-o", options, "-l", f"{self._directory}/log")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate", "-s")

    def _run(self, program: str, *arguments: str) -> None:
        argv = [*self._as_user, self._programs / program, "-D", self._directory / "data", *arguments]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory() as directory:
        server = PostgresServer(Path(directory))
        server.start()
        yield server
        with contextlib.suppress(subprocess.CalledProcessError):  # a failed test may have left it stopped
            server.stop()


@contextlib.contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Another process holds SQLite's write lock."""
    source = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "connection.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", source, database_url.removeprefix("sqlite://")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        yield
        holder.communicate()


async def add_repositories(running: Instance, directory: Path, names: tuple[str, ...] = REPOSITORIES) -> None:
    (directory / "sources").mkdir()
    (directory / "sources" / "file").write_bytes(b"a few bytes")
    for name in names:
        await running.add_repository(name, directory / name, [directory / "sources"])


async def back_up(running: Instance, repository: str, **body: str) -> int:
    status, answer = await running.call("POST", "/api/backup/run", json={"repository": repository, **body})
    assert status == 202, answer
    return int(answer["job_id"])


async def at_the_gate(gate: WaitingBorg, count: int = 1) -> None:
    await until(lambda: gate.begun() == count)


async def assert_each_ran_once(running: Instance, gate: WaitingBorg, directory: Path, job_ids: list[int]) -> None:
    """Each ended well at its first attempt, borg made its archive once, and its thread shows the end."""
    for job_id in job_ids:
        job = await running.ended(job_id)
        assert (job.status, job.attempt, job.running_lock) == ("completed", 1, None), job.error_message
        assert job.progress["nfiles"] == 1
        assert job.archive_name
        assert gate.begun(job.archive_name) == 1
        assert await asyncio.to_thread(archives, directory / str(job.repository_name)) == [job.archive_name]
        run = RunDirectory.of(running.settings.runs, job.id, job.attempt)
        await until(lambda run=run: not run.path.exists())
    assert gate.begun() == len(job_ids)
    await until_settled(job_ids)


async def until_settled(job_ids: list[int]) -> None:
    """Wait until every message of these jobs shows its end."""
    async with asyncio.timeout(30):
        while await ChatMessage.filter(job_id__in=job_ids, settled=False).exists():
            await asyncio.sleep(0.02)


def archives(location: Path) -> list[str]:
    environment = {**os.environ, "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    argv = ["borg", "list", "--json", "--lock-wait", "60", str(location)]
    listed = subprocess.run(argv, env=environment, check=True, capture_output=True)
    return [archive["name"] for archive in json.loads(listed.stdout)["archives"]]


# --- Redis ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forget", [RedisServer.flush, RedisServer.restart])
async def test_redis_that_forgets_all_loses_no_waiting_job(tmp_path, sqlite_url, redis_server, gate, forget):
    settings = settings_for(tmp_path, sqlite_url, redis_server.url, max_jobs=1, borg=str(gate.program))
    async with instance(settings) as up:
        await add_repositories(up, tmp_path)
    async with instance(settings, WorkerRole.SERVICE) as up:  # accepts, and claims nothing
        job_ids = [await back_up(up, name) for name in REPOSITORIES]
    assert redis_server.wake_ups() > 0
    forget(redis_server)
    assert redis_server.wake_ups() == 0
    async with instance(settings) as up:
        gate.let_go(len(job_ids))
        await assert_each_ran_once(up, gate, tmp_path, job_ids)


async def test_redis_that_was_killed_and_started_again_brings_the_next_job(
    tmp_path, sqlite_url, redis_server, gate, monkeypatch
):
    monkeypatch.setattr(runs, "SWEEP_OVERDUE_S", 3600.0)  # no sweep finds what Redis should bring
    async with instance(settings_for(tmp_path, sqlite_url, redis_server.url, max_jobs=2, borg=str(gate.program))) as up:
        await add_repositories(up, tmp_path)
        job_ids = [await back_up(up, "one")]
        await at_the_gate(gate)
        redis_server.restart()
        job_ids.append(await back_up(up, "two"))
        await at_the_gate(gate, 2)
        gate.let_go(2)
        await assert_each_ran_once(up, gate, tmp_path, job_ids)


async def test_jobs_are_accepted_run_and_ended_without_redis(tmp_path, sqlite_url, redis_server, gate, events):
    async with instance(settings_for(tmp_path, sqlite_url, redis_server.url, max_jobs=2, borg=str(gate.program))) as up:
        await add_repositories(up, tmp_path)
        job_ids = [await back_up(up, "one")]
        await at_the_gate(gate)
        redis_server.kill()
        job_ids.append(await back_up(up, "two"))  # its host has a free slot, and nobody to tell it
        async with redis_server.refusing() as calls:
            job_ids.append(await back_up(up, "three"))
            assert (await up.call("GET", "/readyz"))[1]["degraded"] == ["redis"]
            gate.let_go(3)
            await assert_each_ran_once(up, gate, tmp_path, job_ids)
            await until(lambda: len(calls) > 10 * FAILURES and calls[-1] - calls[0] > 3)
        redis_server.start()
        await until(lambda: events["wake_up_lost"] >= len(job_ids))
        job_ids.append(await back_up(up, "four"))
        gate.let_go()
        await assert_each_ran_once(up, gate, tmp_path, job_ids)
        assert (await up.call("GET", "/readyz"))[1]["degraded"] == []


async def test_silent_redis_does_not_look_like_a_silent_database(tmp_path, sqlite_url, redis_server):
    async with instance(settings_for(tmp_path, sqlite_url, redis_server.url)) as up:
        with redis_server.paused():
            callers = [asyncio.create_task(up.queue.publish(number)) for number in range(8)]
            status, ready = await up.call("GET", "/readyz")
            assert (status, ready["degraded"]) == (200, ["redis"])
            assert not all(caller.done() for caller in callers)  # they wait for each other still
        await asyncio.gather(*callers, return_exceptions=True)


# --- the database --------------------------------------------------------------------------------------------------


async def test_result_arrives_once_sqlite_is_not_locked_any_more(
    tmp_path, sqlite_url, redis_url, gate, events, monkeypatch
):
    monkeypatch.setitem(connection.SQLITE_WRITER, "busy_timeout", 300)
    async with instance(settings_for(tmp_path, sqlite_url, redis_url, borg=str(gate.program))) as up:
        await add_repositories(up, tmp_path, ("one", "two"))
        job_id = await back_up(up, "one")
        await at_the_gate(gate)
        run = RunDirectory.of(up.settings.runs, job_id, 1)
        with locked(sqlite_url):
            gate.let_go()
            await until(lambda: run.exit() is not None)
            status, problem = await up.call("POST", "/api/backup/run", json={"repository": "two"})
            assert (status, problem["title"]) == (503, "Service Unavailable")
            status, shown = await up.call("GET", f"/api/jobs/{job_id}")
            assert (status, shown["status"]) == (200, "running")
            await until(lambda: events["worker_step_failed"] >= FAILURES)
        await assert_each_ran_once(up, gate, tmp_path, [job_id])
        again = await back_up(up, "two")
        gate.let_go()
        await assert_each_ran_once(up, gate, tmp_path, [job_id, again])


async def test_result_arrives_once_postgres_is_back(tmp_path, postgres, redis_url, gate, events):
    await migrate(postgres.url)
    async with instance(settings_for(tmp_path, postgres.url, redis_url, borg=str(gate.program))) as up:
        await add_repositories(up, tmp_path, ("one", "two"))
        job_id = await back_up(up, "one")
        await at_the_gate(gate)
        run = RunDirectory.of(up.settings.runs, job_id, 1)
        await asyncio.to_thread(postgres.stop)
        gate.let_go()
        await until(lambda: run.exit() is not None)
        for method, path, body in (
            ("POST", "/api/backup/run", {"repository": "two"}),
            ("GET", f"/api/jobs/{job_id}", None),
        ):
            status, problem = await up.call(method, path, json=body)
            assert (status, problem["title"]) == (503, "Service Unavailable"), problem
        assert (await up.call("GET", "/readyz"))[0] == 503
        assert (await up.call("GET", "/healthz"))[0] == 200
        await until(lambda: events["worker_step_failed"] >= FAILURES)
        await asyncio.to_thread(postgres.start)
        await assert_each_ran_once(up, gate, tmp_path, [job_id])
        assert (await up.call("GET", "/readyz"))[0] == 200
        again = await back_up(up, "two")
        gate.let_go()
        await assert_each_ran_once(up, gate, tmp_path, [job_id, again])


# --- Slack ---------------------------------------------------------------------------------------------------------


RETRY_AFTER_S = 2


class UnavailableSlack(FakeSlack):
    """Answers everything with 503 while `away`; with 429 as many calls as it `turns_away`."""

    away = False
    turns_away = 0

    def _answer(self, method, arguments, authorization):
        if self.away:
            return 503, {}, {}
        if self.turns_away:
            self.turns_away -= 1
            return 429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(RETRY_AFTER_S)}
        return super()._answer(method, arguments, authorization)

    def texts(self, job_id: int) -> dict[str, list[str]]:
        """What the job's messages say, by part."""
        found: dict[str, list[str]] = {}
        for message in self.messages[CHANNEL]:
            payload = message.metadata["event_payload"]
            if payload["job_id"] == job_id:
                found.setdefault(payload["part"], []).append(message.text)
        return found

    def shows(self, job_id: int, status: str, *parts: str) -> bool:
        texts = self.texts(job_id)
        return all(any(f"#{job_id} {status}" in text for text in texts.get(part, ())) for part in parts)


@pytest.fixture
async def slack() -> AsyncIterator[UnavailableSlack]:
    async with UnavailableSlack(channels=(CHANNEL,)) as slack:
        slack.limits = {}
        yield slack


@pytest.fixture
def slack_settings(tmp_path, sqlite_url, redis_url, slack, gate):
    chat = {"slack_bot_token": slack.token, "slack_api_url": slack.base_url}
    return settings_for(tmp_path, sqlite_url, redis_url, borg=str(gate.program), **chat)


async def test_threads_end_right_after_slack_was_unavailable_from_mid_run_on(tmp_path, slack_settings, slack, gate):
    async with instance(slack_settings) as up:
        await add_repositories(up, tmp_path, ("one", "two"))
        first = await back_up(up, "one", channel=f"slack:T1:{CHANNEL}")
        await at_the_gate(gate)
        await until(lambda: slack.shows(first, "running", "card", "progress"))
        slack.away = True
        second = await back_up(up, "two", channel=f"slack:T1:{CHANNEL}")
        gate.let_go(2)
        for job_id in (first, second):
            assert (await up.ended(job_id)).status == "completed"
        await until(lambda: sum(call.status == 503 for call in slack.calls) >= 2 * FAILURES)
        assert slack.shows(first, "running", "card", "progress")
        assert not slack.texts(second)
        slack.away = False
        await assert_each_ran_once(up, gate, tmp_path, [first, second])
    for job_id in (first, second):
        assert slack.shows(job_id, "completed", "card", "progress")
        assert {part: len(texts) for part, texts in slack.texts(job_id).items()} == {"card": 1, "progress": 1}


async def test_slack_that_says_when_to_come_back_is_not_called_before_and_the_thread_ends_right(
    tmp_path, slack_settings, slack, gate
):
    async with instance(slack_settings) as up:
        await add_repositories(up, tmp_path, ("one",))
        job_id = await back_up(up, "one", channel=f"slack:T1:{CHANNEL}")
        await at_the_gate(gate)
        await until(lambda: slack.shows(job_id, "running", "card", "progress"))
        slack.turns_away = FAILURES
        gate.let_go()
        await assert_each_ran_once(up, gate, tmp_path, [job_id])
    refused = [number for number, call in enumerate(slack.calls) if call.status == 429]
    assert len(refused) == FAILURES
    assert all(slack.calls[number + 1].at - slack.calls[number].at >= RETRY_AFTER_S for number in refused)
    assert slack.shows(job_id, "completed", "card", "progress")
    assert {part: len(texts) for part, texts in slack.texts(job_id).items()} == {"card": 1, "progress": 1}


async def test_message_of_which_each_answer_was_lost_is_there_once(tmp_path, slack_settings, slack, gate):
    async with instance(slack_settings) as up:
        await add_repositories(up, tmp_path, ("one",))
        for method in (POST, POST, UPDATE, UPDATE, POST):  # card, progress, both in their last state, further reply
            slack.lose_next_answer(method)
        job_id = await back_up(up, "one", channel=f"slack:T1:{CHANNEL}")
        await at_the_gate(gate)
        await until(lambda: slack.shows(job_id, "running", "card", "progress"))
        await asyncio.to_thread(shutil.rmtree, tmp_path / "one")
        gate.let_go()
        assert (await up.ended(job_id)).status == "failed"
        await until_settled([job_id])
    assert slack.shows(job_id, "failed", "card", "progress")
    counts = {part: len(texts) for part, texts in slack.texts(job_id).items()}
    assert counts == {"card": 1, "progress": 1, "failure": 1}
    assert sum(call.status is None for call in slack.calls) == 5
