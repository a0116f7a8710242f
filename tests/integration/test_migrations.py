"""The schema: made once by however many processes start together, and never behind the models unnoticed."""

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from tortoise.context import TortoiseContext
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.migrations.recorder import MigrationRecorder

from jobs.database.connection import DatabaseNotMigratedError, database, is_migrated, known_migrations, migrate
from jobs.database.development import CONFIGURATION
from jobs.database.unit import writer
from jobs.models import Host

ROOT = Path(__file__).parents[2]
MIGRATE = "import asyncio, sys; from jobs.database.connection import migrate; asyncio.run(migrate(sys.argv[1]))"


async def make_and_count_hosts(url):
    async with database(url):
        await Host.create(name="a")
        return await Host.all().count()


def test_three_processes_migrate_a_new_database_at_once(tmp_path):
    url = f"sqlite://{tmp_path}/locutus.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, url], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outcomes = [(process.communicate(timeout=50)[1], process.returncode) for process in processes]
    assert outcomes == [("", 0)] * 3
    assert asyncio.run(make_and_count_hosts(url)) == 1


async def test_two_migrate_a_new_postgres_at_once(postgres_server):
    server = f"postgres://locutus@127.0.0.1:{postgres_server}"
    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        await connection.execute("CREATE DATABASE migrated_twice")
        url = f"{server}/migrated_twice"
        await asyncio.gather(asyncio.create_task(migrate(url)), asyncio.create_task(migrate(url)))
        assert await make_and_count_hosts(url) == 1
        await connection.execute("DROP DATABASE migrated_twice")
    finally:
        await connection.close()


async def test_migrating_again_keeps_every_row(database_url):
    assert await make_and_count_hosts(database_url) == 1
    await migrate(database_url)
    async with database(database_url):
        assert await Host.get(name="a")
        assert await is_migrated()


async def test_database_without_a_schema_is_not_opened(tmp_path):
    with pytest.raises(DatabaseNotMigratedError, match="locutus migrate"):
        async with database(f"sqlite://{tmp_path}/empty.db"):
            pass


async def test_database_with_an_older_schema_is_not_opened(database_url, monkeypatch):
    known = known_migrations()
    monkeypatch.setattr("jobs.database.connection.known_migrations", lambda: known | {"0999_newer"})
    with pytest.raises(DatabaseNotMigratedError, match="locutus migrate"):
        async with database(database_url):
            pass


async def test_database_of_a_newer_release_is_opened(opened_sqlite):
    await MigrationRecorder(writer()).record_applied("jobs", "0999_newer")
    assert await is_migrated()


async def test_models_and_migrations_say_the_same():
    async with TortoiseContext() as context:
        await context.init(config=CONFIGURATION)
        changes = await MigrationAutodetector(context.apps, CONFIGURATION["apps"]).changes()
    assert [operation for writer in changes for operation in writer.operations] == []


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)]
)
async def test_sqlite_is_opened_as_the_promises_need_it(opened_sqlite, pragma, value):
    [row] = await writer().execute_query_dict(f"PRAGMA {pragma}")
    assert list(row.values()) == [value]


@pytest.mark.parametrize("url", ["mysql://x/y", "locutus.db", ""])
async def test_other_database_is_refused_with_a_sentence(url):
    with pytest.raises(ValueError, match="sqlite:// or postgres://"):
        await migrate(url)
