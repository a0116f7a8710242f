"""Tortoise's PostgreSQL engine whose pool gets a connection back when a transaction's start is cancelled or fails.

The module's name must contain "asyncpg": the migration executor picks its dialect by it.
"""

import asyncio

from tortoise.backends.asyncpg import client as base
from tortoise.backends.base.client import TransactionalDBClient, TransactionContext, TransactionContextPooled
from tortoise.connection import get_connections


class ReturningTransactionContext(TransactionContextPooled):
    """Takes a connection from the pool and gives it back whatever happens before the transaction is open."""

    async def __aenter__(self) -> TransactionalDBClient:
        await self.ensure_connection()
        pool = self.client._parent._pool
        connection = self.client._connection = await pool.acquire()
        try:
            await self.client.begin()
        except BaseException:
            await asyncio.shield(pool.release(connection))
            raise
        self.token = get_connections().set(self.connection_name, self.client)
        return self.client


class AsyncpgDBClient(base.AsyncpgDBClient):
    """The engine's client; its credentials are asyncpg's."""

    def _in_transaction(self) -> TransactionContext:
        return ReturningTransactionContext(base.TransactionWrapper(self), self._pool_init_lock)


client_class = AsyncpgDBClient
