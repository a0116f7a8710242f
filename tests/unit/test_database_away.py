"""Which errors say that the database is away, and which that a statement was wrong."""

import sqlite3

import asyncpg
import pytest
from tortoise.exceptions import DBConnectionError, IntegrityError, OperationalError

from jobs.database.connection import is_away


def of_sqlite(code):
    error = sqlite3.OperationalError(f"code {code}")
    error.sqlite_errorcode = code
    return OperationalError(error)


@pytest.mark.parametrize(
    "error",
    [
        of_sqlite(sqlite3.SQLITE_BUSY),
        of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT),
        of_sqlite(sqlite3.SQLITE_FULL),
        of_sqlite(sqlite3.SQLITE_IOERR_FSYNC),
        asyncpg.AdminShutdownError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.InterfaceError("the underlying connection is closed"),
        ConnectionRefusedError(111, "Connect call failed"),
        DBConnectionError(),
    ],
    ids=repr,
)
def test_database_that_may_be_back_in_a_moment_is_away(error):
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        of_sqlite(sqlite3.SQLITE_ERROR),
        OperationalError(asyncpg.UndefinedTableError("no such table")),
        OperationalError("no rows"),
        asyncpg.DataError("value out of range"),
        IntegrityError("unique"),
        ValueError("seven"),
    ],
    ids=repr,
)
def test_statement_that_was_wrong_is_no_reason_to_wait(error):
    assert not is_away(error)
