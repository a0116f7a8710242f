"""Calls to the process that sends by apprise, `apprise_server`: started at the first, and gone with this process."""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from jobs.borg.environment import inherited
from webhooks import apprise_server

NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
"""How the outside is reached; proxies are also written in small letters."""


class AppriseProcess:
    """The process that runs `source`; each call ends at its own deadline, and delays no other.

    URLs reach it through a socket: they stand in no argument, environment or log.
    """

    def __init__(self, source: str = apprise_server.__file__) -> None:
        self._source = source
        self._calls: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def call(self, order: Mapping[str, Any], timeout_s: float) -> dict[str, Any] | None:
        """What came of a message; None where the try ended without saying so. Raises TimeoutError."""
        until_s = time.monotonic() + timeout_s
        written = json.dumps({**order, "until": until_s}).encode()
        reader, writer = await asyncio.open_connection(sock=self._connected())
        try:
            async with asyncio.timeout(timeout_s):
                writer.write(written)
                writer.write_eof()
                answer = await reader.read()
        except ConnectionError:
            return None
        finally:
            writer.close()
        if not answer and time.monotonic() >= until_s:  # the try has ended itself, an instant before it was given up
            raise TimeoutError
        return json.loads(answer) if answer else None

    def end(self) -> None:
        """End it with what is under way."""
        if self._calls is not None and self._process is not None:
            self._calls.close()
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._calls = self._process = None

    def _connected(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._started(), [b"."], [theirs.fileno()])
            except ConnectionError:  # it was killed
                self.end()
                socket.send_fds(self._started(), [b"."], [theirs.fileno()])
        return ours

    def _started(self) -> socket.socket:
        if self._calls is None:
            self._calls, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", self._source],
                    env=_environment(),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # it and its tries are a group that ends as one
                )
        return self._calls


def _environment() -> dict[str, str]:
    names = [*NETWORK, *(name.lower() for name in NETWORK)]
    return inherited(os.environ) | {name: os.environ[name] for name in names if name in os.environ}


APPRISE = AppriseProcess()
atexit.register(APPRISE.end)
