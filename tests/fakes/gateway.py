"""A gateway for a test: the real application on a free port, and a client that speaks JSON to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application

from jobs.access import Principal
from jobs.queue import Queue
from jobs.secrets import HostKey, SecretBox
from jobs.settings import Settings
from tests.conftest import free_port
from webhooks.app import GatewayContext, gateway, serve

ADMIN_TOKEN = "admin-token-of-the-tests"
SECRET_KEY = "a secret key of at least 32 characters"
HOST = "nas"


@dataclass
class Reply:
    """An answer that has been read."""

    status: int
    json: Any
    text: str
    headers: Any


class Api:
    """Speaks to the gateway with a token; None: without one."""

    def __init__(self, client: Any, token: str | None = ADMIN_TOKEN) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def with_token(self, token: str | None) -> "Api":
        return Api(self.client, token)

    def open(self, method: str, path: str, **options: Any) -> Any:
        """The answer to be read by the caller."""
        headers = self.headers | options.pop("headers", {})
        return self.client.request(method, path, headers=headers, **options)

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        if body is not None:
            options["json"] = body
        async with self.open(method, path, **options) as answer:
            text = await answer.text()
            read = await answer.json(content_type=None) if "json" in answer.content_type else None
            return Reply(answer.status, read, text, answer.headers)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.call("POST", path, body, **options)

    async def put(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.call("PUT", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Reply:
        return await self.call("DELETE", path, **options)

    async def token(self, name: str, role: str) -> "Api":
        """A client with a new token of that role."""
        made = await self.post("/api/tokens", {"name": name, "role": role})
        assert made.status == 201, made.text
        return self.with_token(made.json["token"])

    async def repository(self, name: str = "photos", **fields: Any) -> Reply:
        body = {"name": name, "location": f"/srv/{name}", "source_directories": ["/home"], "encryption": "none"}
        return await self.post("/api/repositories", body | fields)


def settings(directory: Path, **overrides: Any) -> Settings:
    given = {"data_dir": directory / "data", "host": HOST, "admin_token": ADMIN_TOKEN}
    return Settings(_env_file=None, **(given | overrides))  # type: ignore[call-arg]


def application(
    queue: Queue, directory: Path, *, local: Principal | None = None, extra: Any = (), **overrides: Any
) -> Application:
    context = GatewayContext(settings(directory, **overrides), queue, SecretBox(SECRET_KEY), extra)
    return gateway(context, local=local)


async def started(aiohttp_client: Any, app: Application) -> Api:
    """The application served on a free port."""
    client: TestClient[Any, Any] = await aiohttp_client(TestServer(app))
    return Api(client)


@asynccontextmanager
async def served(queue: Queue, directory: Path) -> AsyncIterator[Api]:
    """The application on a server as in production: the test client's server cancels handlers, this one does not."""
    address = f"127.0.0.1:{free_port()}"
    runner = await serve(application(queue, directory), address)
    try:
        async with ClientSession(f"http://{address}") as http:
            yield Api(http)
    finally:
        await runner.cleanup()


def host_key(directory: Path) -> HostKey:
    return HostKey.load(directory / "host-key")
