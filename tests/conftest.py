"""Real servers for all tests: one Redis and one PostgreSQL a session, a fresh database a test."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from cli.logging import configure_logging
from jobs.database.connection import database, migrate
from jobs.queue import open_queue
from webhooks.apprise_calls import APPRISE

POSTGRES_USER = "locutus"
TIMEOUTS_S = {"unit": 30, "integration": 120, "faults": 180}
"""By folder; several times what a test takes on a quiet machine."""

settings.register_profile("locutus", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("locutus")  # how fast the machine is says nothing about the code


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUTS_S[item.path.parent.name]))


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> None:
    """No setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith(("LOCUTUS_", "SLACK_", "DISCORD_", "BORG_")) or name.lower().endswith("_proxy"):
            del os.environ[name]


@pytest.fixture(autouse=True, scope="session")
def apprise_process() -> Iterator[None]:
    """The process that sends notifications, if a test has started it, ends with the tests."""
    yield
    APPRISE.end()


@pytest.fixture(autouse=True)
def logs() -> None:
    """Logs as the product writes them, to the stderr that pytest captures."""
    configure_logging()


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("redis")
    path = directory / "redis.sock"
    arguments = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(directory)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as server:
        wait_until(path.exists)
        yield path
        server.terminate()


@pytest.fixture
def redis_url(redis_socket: Path) -> str:
    """An empty Redis."""
    subprocess.run(["redis-cli", "-s", str(redis_socket), "flushall"], check=True, stdout=subprocess.DEVNULL)
    return f"unix://{redis_socket}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[int]:
    """A PostgreSQL of our own on a free loopback port; yields the port."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    directory = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(directory, "postgres")
    data, port = directory / "data", free_port()
    initdb = [*as_user, programs / "initdb", "-D", data, "-U", POSTGRES_USER, "-A", "trust", "-N", "-E", "UTF8"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/")
    options = ["-p", str(port), "-k", directory, "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
    with subprocess.Popen(
        [*as_user, programs / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL, cwd="/"
    ) as server:
        wait_until(
            lambda: (
                subprocess.run(
                    [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False
                ).returncode
                == 0
            )
        )
        yield port
        subprocess.run(
            [*as_user, programs / "pg_ctl", "-D", data, "stop", "-m", "immediate", "-s"], check=True, cwd="/"
        )
        server.wait()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: int) -> int:
    """A migrated database that each test clones."""
    asyncio.run(_make_template(postgres_server))
    return postgres_server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database, on both engines."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "locutus.db"
    asyncio.run(migrate(f"sqlite://{path}"))
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    shutil.copy(sqlite_template, tmp_path / "locutus.db")
    return f"sqlite://{tmp_path}/locutus.db"


@pytest.fixture
def postgres_url(postgres_template: int) -> Iterator[str]:
    name = f"test_{os.getpid()}_{time.monotonic_ns()}"
    asyncio.run(_execute(postgres_template, f"CREATE DATABASE {name} TEMPLATE template_locutus"))
    yield f"postgres://{POSTGRES_USER}@127.0.0.1:{postgres_template}/{name}"
    asyncio.run(_execute(postgres_template, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def opened(database_url: str, redis_url: str):
    """An open database (each engine in turn) and queue; yields the queue."""
    async with database(database_url), open_queue(redis_url) as queue:
        yield queue


@pytest.fixture
async def opened_sqlite(sqlite_url: str, redis_url: str):
    """An open SQLite database and queue; yields the queue."""
    async with database(sqlite_url), open_queue(redis_url) as queue:
        yield queue


@pytest.fixture
def borg_environment(tmp_path: Path) -> dict[str, str]:
    """An environment for the real borg that touches nothing outside of the test's directory."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BORG_BASE_DIR": str(tmp_path / "borg-base"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    """Watch something outside of this process, such as a server that starts."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true in {timeout_s} s")
        time.sleep(0.01)


async def _make_template(port: int) -> None:
    await _execute(port, "CREATE DATABASE template_locutus")
    await migrate(f"postgres://{POSTGRES_USER}@127.0.0.1:{port}/template_locutus")


async def _execute(port: int, statement: str) -> None:
    connection = await asyncpg.connect(host="127.0.0.1", port=port, user=POSTGRES_USER, database="postgres")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def pytest_report_header() -> str:
    return f"python: {sys.executable}"
