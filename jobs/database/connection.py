"""Opening the database, SQLite or PostgreSQL by the same code, and bringing it to the newest schema."""

import asyncio
import contextlib
import fcntl
import sqlite3
from collections.abc import AsyncIterator, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import asyncpg
from tortoise import Tortoise
from tortoise.backends.base.config_generator import expand_db_url
from tortoise.backends.base.executor import EXECUTOR_CACHE
from tortoise.connection import get_connections
from tortoise.context import TortoiseContext
from tortoise.exceptions import BaseORMException, DBConnectionError, OperationalError
from tortoise.migrations.api import migrate as run_migrations
from tortoise.migrations.recorder import MigrationRecorder

from jobs.database.unit import READER, WRITER, finish_units, writer

MIGRATIONS = "jobs.database.migrations"
ADVISORY_LOCK = 0x6C6F6375747573
BUSY_TIMEOUT_MS = 10_000
POSTGRES_ANSWER_S = 30.0
"""A server that is silent for longer counts as away: a broken network ends no connection by itself."""
SQLITE_WRITER = {"busy_timeout": BUSY_TIMEOUT_MS, "synchronous": "FULL"}
SQLITE_READER = {"busy_timeout": BUSY_TIMEOUT_MS, "query_only": "ON"}


CAUSES = (BaseORMException, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error, OSError, UnicodeError)
"""What the engines raise where there is no database to be had; a host name that is none is a `UnicodeError`."""


_AWAY = (
    DBConnectionError,
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
)
_PRIMARY_CODE = 0xFF
"""The part of an extended result code that names its kind (https://www.sqlite.org/rescode.html)."""
_SQLITE_AWAY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


class DatabaseUnavailableError(Exception):
    """The database does not answer; the sentence says why."""


class DatabaseNotMigratedError(Exception):
    """The database's schema is older than this release; `locutus migrate` (or `locutus up`) brings it to the newest."""


def configuration(url: str) -> dict[str, Any]:
    """Tortoise's configuration for `sqlite:///path` or `postgres://…`; a `ValueError` says what else was given."""
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        connections = _sqlite_connections(Path(url.removeprefix("sqlite://")))
    elif scheme in {"postgres", "postgresql", "asyncpg"}:
        connections = {WRITER: _postgres_connection(url)}
    else:
        raise ValueError(f"A database URL starts with sqlite:// or postgres://, not with {scheme}://.")
    app = {"models": ["jobs.models"], "default_connection": WRITER, "migrations": MIGRATIONS}
    return {"connections": connections, "apps": {"jobs": app}, "use_tz": True, "timezone": "UTC"}


@contextlib.asynccontextmanager
async def database(url: str) -> AsyncIterator[None]:
    """An open, migrated database for the calling task and the tasks that it starts.

    Raises `DatabaseUnavailableError`, or `DatabaseNotMigratedError` where the schema is older than this release's.
    """
    EXECUTOR_CACHE.clear()  # Tortoise keeps statements by connection name, whatever the dialect
    async with TortoiseContext() as context:
        await context.init(config=configuration(url), init_connections=True)
        try:
            await _require_answer()
            if not await is_migrated():
                raise DatabaseNotMigratedError("The database has an older schema. Run `locutus migrate`.")
            yield
        finally:
            await finish_units()


async def migrate(url: str) -> None:
    """Bring the database to the newest schema; several processes may do this at once, one after another works.

    Raises `DatabaseUnavailableError`.
    """
    config = configuration(url)
    with _sentence_of_causes():
        async with TortoiseContext(), _migration_lock(url):
            await run_migrations(config=config)
            await Tortoise.close_connections()


async def is_migrated() -> bool:
    """Whether every migration of this release has been applied to the open database."""
    applied = {key.name for key in await MigrationRecorder(get_connections().get(WRITER)).applied_migrations()}
    return known_migrations() <= applied


def known_migrations() -> set[str]:
    """The names of this release's migrations."""
    return {path.stem for path in (Path(__file__).parent / "migrations").glob("0*.py")}


def is_away(error: BaseException) -> bool:
    """Whether the database is what failed, and may be back in a moment: gone, starting, locked, out of room."""
    cause = error.args[0] if isinstance(error, OperationalError) and error.args else None
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode & _PRIMARY_CODE in _SQLITE_AWAY
    return isinstance(error, _AWAY)


async def _require_answer() -> None:
    with _sentence_of_causes():
        await writer().execute_query("SELECT 1")


@contextlib.contextmanager
def _sentence_of_causes() -> Iterator[None]:
    try:
        yield
    except CAUSES as error:
        raise DatabaseUnavailableError(
            f"The database does not answer ({error}). Check LOCUTUS_DATABASE_URL, and that its server runs or its "
            "file can be written."
        ) from error


def _sqlite_connections(path: Path) -> dict[str, Any]:
    def connection(pragmas: dict[str, Any]) -> dict[str, Any]:
        return {"engine": "jobs.database.sqlite", "credentials": {"file_path": str(path), **pragmas}}

    return {WRITER: connection(SQLITE_WRITER), READER: connection(SQLITE_READER)}


def _postgres_connection(url: str) -> dict[str, Any]:
    credentials = expand_db_url("asyncpg" + url[url.index("://") :])["credentials"]
    pool = {"minsize": 1, "maxsize": 10, "command_timeout": POSTGRES_ANSWER_S}
    return {"engine": "jobs.database.asyncpg", "credentials": {**pool, **credentials}}


@contextlib.asynccontextmanager
async def _migration_lock(url: str) -> AsyncIterator[None]:
    if url.startswith("sqlite://"):
        path = Path(url.removeprefix("sqlite://"))
        with await asyncio.to_thread(_locked_file, Path(f"{path}.migrate.lock")):
            await asyncio.to_thread(_require_writable, path)
            yield
        return
    connection = await asyncpg.connect("postgresql" + url[url.index("://") :].partition("?")[0])
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        yield
    finally:
        await connection.close()


def _require_writable(path: Path) -> None:
    # Where a file can't be opened Tortoise's migrations wait for ever for the connection's lock.
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as connection:
        connection.execute("BEGIN IMMEDIATE")


def _locked_file(path: Path) -> TextIOWrapper:
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
