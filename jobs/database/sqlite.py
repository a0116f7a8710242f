"""Tortoise's SQLite engine with transactions that begin IMMEDIATE and survive a cancelled start.

Tortoise begins DEFERRED: two processes that read and then write fail at once with "database is locked", because
SQLite's busy timeout does not apply when a snapshot is upgraded (https://www.sqlite.org/lang_transaction.html).
The module's name must contain "sqlite": the migration executor picks its dialect by it.
"""

import asyncio
import sqlite3
from typing import cast

from tortoise.backends.base.client import NestedTransactionContext, TransactionalDBClient, TransactionContext
from tortoise.backends.sqlite import client as base
from tortoise.connection import get_connections
from tortoise.exceptions import OperationalError


class ImmediateTransactionContext(base.SqliteTransactionContext):
    """Holds the connection's lock from BEGIN IMMEDIATE to the end; a failed or cancelled start leaves nothing."""

    async def __aenter__(self) -> TransactionalDBClient:
        await self._trxlock.acquire()
        try:
            await self.ensure_connection()
            await self.connection.begin()
        except BaseException:
            # The connection's thread takes its calls in order: a rollback lands behind a BEGIN that was cancelled here.
            if self.connection._connection is not None:
                await asyncio.shield(self.connection._connection.rollback())
            self._trxlock.release()
            raise
        self.token = get_connections().set(self.connection_name, self.connection)
        return cast("TransactionalDBClient", self.connection)


class ImmediateTransactionWrapper(base.SqliteTransactionWrapper):
    """One transaction on the client's only connection."""

    async def begin(self) -> None:
        """Start, waiting up to `busy_timeout` for another process's transaction."""
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise OperationalError(error) from error

    def _in_transaction(self) -> TransactionContext:
        return NestedTransactionContext(ImmediateTransactionWrapper(self))


class SqliteClient(base.SqliteClient):
    """The engine's client; its credentials' unknown keys are PRAGMAs."""

    def _in_transaction(self) -> TransactionContext:
        return ImmediateTransactionContext(ImmediateTransactionWrapper(self), self._lock)


client_class = SqliteClient
