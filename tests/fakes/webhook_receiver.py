"""A strict Standard Webhooks endpoint: what the official library does not verify is refused; answers are scripted."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import time_machine
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from jobs.clock import now


class Clock:
    """A clock that stands until it is moved; sender and receiver share it."""

    def __init__(self) -> None:
        self.moment = now()

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        """Move it."""
        self.moment += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Say:
    """An answer of the script: a status with headers, after `hold` is set; `drop` closes the connection instead."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A call whose signature was right."""

    webhook_id: str
    timestamp: int
    body: bytes
    path: str


class WebhookReceiver:
    """`async with WebhookReceiver(secret) as receiver`; `script` is used up from the left, then 200 is the answer."""

    def __init__(
        self, secret: str, *script: Say, clock: Callable[[], datetime] = now, tls: ssl.SSLContext | None = None
    ) -> None:
        self._webhook = Webhook(secret)
        self._clock = clock
        self._tls = tls
        self.script = deque(script)
        self.received: list[Received] = []
        self.refused: list[str] = []
        self._called = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """The `webhook-id` of each call, in order."""
        return [received.webhook_id for received in self.received]

    async def calls(self, count: int) -> None:
        """Wait until that many calls have come in."""
        while len(self.received) + len(self.refused) < count:
            self._called.clear()
            await self._called.wait()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        problem = self._problem(request, body)
        if problem:
            self.refused.append(problem)
            self._called.set()
            return web.Response(status=401, text=problem)
        headers = request.headers
        stamp = int(headers["webhook-timestamp"])
        self.received.append(Received(headers["webhook-id"], stamp, body, request.path_qs))
        say = self.script.popleft() if self.script else Say()
        self._called.set()
        if say.hold:
            await say.hold.wait()
        if say.drop and request.transport:
            request.transport.abort()
        return web.Response(status=say.status, headers=say.headers)

    def _problem(self, request: web.Request, body: bytes) -> str | None:
        if request.method != "POST" or request.content_type != "application/json":
            return f"{request.method} with {request.content_type}"
        try:
            with time_machine.travel(self._clock(), tick=False):
                self._webhook.verify(body, dict(request.headers))
        except WebhookVerificationError as error:
            return str(error)
        missing = {"type", "timestamp", "data"} - json.loads(body).keys()
        return f"the body lacks {missing}" if missing else None


def untrusted_tls(directory: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate that nobody but itself has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now() - timedelta(days=1)).not_valid_after(now() + timedelta(days=9))
    certificate = builder.sign(key, hashes.SHA256())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    path = directory / "endpoint.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
