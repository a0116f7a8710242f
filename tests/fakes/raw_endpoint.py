"""An endpoint below HTTP: it writes what it likes, and sees when its caller hangs up."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

from tests.conftest import free_port

Answering = Callable[["Counting"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


class RawEndpoint:
    """`async with RawEndpoint(answering) as endpoint`, on a port of one or several loopback addresses.

    `called` has the address that each call reached, `hung_up` is set once a caller has closed its connection, and
    `callers` counts those that have not.
    """

    def __init__(self, answering: Answering, *addresses: str) -> None:
        self._answering, self._addresses = answering, addresses or ("127.0.0.1",)
        self.port = free_port()
        self.called: list[str] = []
        self.written = self.callers = 0
        self.hung_up = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, self._addresses, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self._addresses[0]}:{self.port}/hook"

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.called.append(writer.get_extra_info("sockname")[0])
        self.callers += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await self._answering(Counting(writer, self))
        writer.close()
        self.callers -= 1
        self.hung_up.set()


class Counting:
    """A writer that counts what it was given."""

    def __init__(self, writer: asyncio.StreamWriter, endpoint: RawEndpoint) -> None:
        self._writer, self._endpoint = writer, endpoint

    async def write(self, data: bytes) -> None:
        """Write; raises `ConnectionError` once the caller has hung up."""
        self._writer.write(data)
        await self._writer.drain()
        self._endpoint.written += len(data)
        await asyncio.sleep(0)


async def endless_body(to: Counting) -> None:
    """As fast as it goes."""
    await to.write(OK + b"\r\n")
    while True:
        await to.write(b"x" * 65_536)


async def endless_chunks(to: Counting) -> None:
    """The same, in chunks, after an error."""
    await to.write(b"HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await to.write(b"400\r\n" + b"y" * 1024 + b"\r\n")


async def dripping_body(to: Counting) -> None:
    """A byte at a time, so that no read waits for long."""
    await to.write(OK + b"\r\n")
    while True:
        await to.write(b"z")
        await asyncio.sleep(0.05)


async def endless_headers(to: Counting) -> None:
    """Never a body."""
    await to.write(OK)
    while True:
        await to.write(b"X-More: and more\r\n")
