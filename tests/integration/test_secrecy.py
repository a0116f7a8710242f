"""A passphrase is found nowhere: in no process, file, database, log, answer or message, however it was given."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.models import AuditEntry, ConsoleMessage, Repository
from jobs.submit import JobRequest, submit
from tests.fakes.instance import Instance, instance, repository_row, settings_for, until
from tests.fakes.slack import FakeSlack

PASSPHRASE = "correct horse battery staple – 4711"
CHANNEL = "C1"


def spellings(secret: str) -> list[bytes]:
    """The secret as it could stand somewhere: raw, escaped, in base64 (at each of the three offsets), in hex."""
    raw = secret.encode()
    shifted = (base64.b64encode(b"\0" * offset + raw)[4 if offset else 0 : -4] for offset in range(3))
    return [raw, json.dumps(secret)[1:-1].encode(), raw.hex().encode(), raw.hex().upper().encode(), *shifted]


WANTED = spellings(PASSPHRASE)
LONGEST = max(map(len, WANTED))


def holds_secret(text: bytes) -> bool:
    return any(spelling in text for spelling in WANTED)


class Watch:
    """Looks at every process's command line and environment, over and over, and counts what it has seen."""

    def __init__(self) -> None:
        self.looks = 0
        self.programs: set[bytes] = set()
        self.found: set[str] = set()
        self._stop = threading.Event()

    @contextmanager
    def looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                self._look_at(process)

    def _look_at(self, process: Path) -> None:
        for name in ("cmdline", "environ"):
            try:
                content = (process / name).read_bytes()
            except OSError:  # it has ended, or is another user's
                continue
            if name == "cmdline":
                self.programs.add(content)
            if holds_secret(content):
                self.found.add(f"{process.name}/{name}: {content!r}")

    def saw(self, *words: bytes) -> bool:
        return any(all(word in program for word in words) for program in self.programs)


def files_with_secret(directory: Path, *, but: set[Path]) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and path not in but and in_file(path)]


def in_file(path: Path) -> bool:
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(1 << 20), b"")
        return any(holds_secret(before[-LONGEST:] + block) for before, block in pairwise((b"", *blocks)))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
async def slack():
    async with FakeSlack(channels=(CHANNEL,)) as fake:
        yield fake


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    directory = tmp_path / "sources"
    directory.mkdir()
    for number in range(8):
        (directory / f"{number}.bin").write_bytes(os.urandom(4_000_000))
    return directory


@pytest.fixture
def settings(tmp_path, database_url, redis_url, slack):
    return settings_for(tmp_path, database_url, redis_url, slack_bot_token=slack.token, slack_api_url=slack.base_url)


async def given_sealed(running: Instance, location: Path, sources: Path, hidden: Path) -> None:
    body = {
        "name": "photos", "location": str(location), "source_directories": [str(sources)],
        "encryption": "repokey-blake2", "passphrase": PASSPHRASE, "init": True,
    }  # fmt: skip
    status, answer = await running.call("POST", "/api/repositories", json=body)
    assert status == 201, answer


async def given_in_a_file(running: Instance, location: Path, sources: Path, hidden: Path) -> None:
    body = {
        "name": "photos", "location": str(location), "source_directories": [str(sources)],
        "encryption": "repokey-blake2", "passphrase_file": str(hidden), "init": True,
    }  # fmt: skip
    status, answer = await running.call("POST", "/api/repositories", json=body)
    assert status == 201, answer


async def given_by_a_command(running: Instance, location: Path, sources: Path, hidden: Path) -> None:
    row = {"encryption": "repokey-blake2", "passphrase_command": ["cat", str(hidden)]}
    await repository_row("photos", location, [sources], **row)
    await run(running, "repository_init")


async def run(running: Instance, kind: str) -> int:
    """Accept a job of any kind as the API does."""
    return (await submit(JobRequest(kind, running.admin, "api", "photos"))).job.id


async def answers(running: Instance, jobs: int) -> list[bytes]:
    """Everything that the API says."""
    paths = ["repositories", "repositories/photos", "jobs", "hosts", "settings", "tokens", "subscriptions"]
    paths += [f"jobs/{number}{end}" for number in range(1, jobs + 1) for end in ("", "/logs")]
    paths += ["openapi.json", "audit", "role-bindings"]
    found = []
    for path in paths:
        async with running.http.get(f"/api/{path}") as answer:
            found.append(await answer.read())
    async with running.http.post("/api/repositories", json={"name": "!", "passphrase": PASSPHRASE}) as refused:
        assert refused.status == 422
        found.append(await refused.read())
    return found


def dumped(database_url: str) -> bytes:
    """The whole database as text, if it is PostgreSQL; SQLite's files are searched as they are."""
    if not database_url.startswith("postgres"):
        return b""
    program = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    return subprocess.run([program, "--dbname", database_url], check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    ("give", "database_url"),
    [(given_sealed, "sqlite"), (given_sealed, "postgres"), (given_in_a_file, "sqlite"), (given_by_a_command, "sqlite")],
    indirect=["database_url"],
)
async def test_passphrase_is_found_nowhere(tmp_path, settings, slack, sources, give: Callable, capfd):
    hidden = tmp_path / "hidden"
    hidden.write_text(f"{PASSPHRASE}\n")
    watch = Watch()
    async with instance(settings) as running:
        with watch.looking():
            await give(running, tmp_path / "repo", sources, hidden)
            await two_backups(running, tmp_path / "repo")
        await until(lambda: any("failed" in message.text for message in slack.messages[CHANNEL]))
        said = await answers(running, jobs=3)
        said += [json.dumps(message.content).encode() for message in await ConsoleMessage.all()]
        said += [repr(vars(row)).encode() for row in (*await Repository.all(), *await AuditEntry.all())]
    assert watch.looks > 3
    assert watch.saw(b"/borg\0create\0")
    assert watch.saw(b"-I\0-S\0", b"/runs/2-1\0"), "the supervisor"
    assert not watch.found
    captured = capfd.readouterr()
    said += [repr(slack.calls).encode(), (captured.out + captured.err).encode(), dumped(settings.database_url)]
    assert [text for text in said if holds_secret(text)] == []
    assert files_with_secret(tmp_path, but={hidden}) == []


async def two_backups(running: Instance, repository: Path) -> None:
    """One that succeeds, and one that fails: a failure tells more than a success."""
    made = await running.ended(1)
    assert made.status == "completed", made.error_message
    for number, state in ((2, "completed"), (3, "failed")):
        body = {"repository": "photos", "channel": f"slack:T1:{CHANNEL}"}
        await running.call("POST", "/api/backup/run", json=body)
        assert (await running.ended(number)).status == state
        if number == 2:
            await asyncio.to_thread(repository.rename, repository.with_name("moved"))


def test_the_search_itself_finds_a_secret(tmp_path):
    for number, text in enumerate((PASSPHRASE.encode(), base64.b64encode(f"x{PASSPHRASE} ".encode()))):
        (tmp_path / str(number)).write_bytes(b"\0" * ((1 << 20) - 7) + text)
    assert len(files_with_secret(tmp_path, but=set())) == 2
    watch = Watch()
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()", PASSPHRASE]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE) as process, watch.looking():
        deadline = time.monotonic() + 10
        while not watch.found and time.monotonic() < deadline:
            time.sleep(0.01)
        process.communicate()
    assert watch.found
