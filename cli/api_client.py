"""How the command line reaches the HTTP API. It speaks nothing else, so that it can never differ from the API.

With `LOCUTUS_URL` it is a gateway anywhere; else the same application is served here, for this one command, on a Unix
socket in a private directory, over the data directory's own database.
"""

import contextlib
import os
import pwd
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from cli.composition import gateway_app, secret_box, storage
from jobs.access import Principal, Role, everywhere
from jobs.database.connection import DatabaseUnavailableError
from jobs.queue import Queue
from jobs.secrets import SecretBox
from jobs.settings import Settings, SettingsError
from webhooks.app import serve
from webhooks.page import GREATEST_LIMIT

LONGEST_TEMPORARY_DIRECTORY = 70
CALL_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=90)
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)


class ApiError(Exception):
    """The API refused, or could not be reached; its text is the one line for people."""


@dataclass(frozen=True, slots=True)
class Api:
    """The API's calls. All raise `ApiError`; JSON in, JSON out."""

    session: aiohttp.ClientSession
    base_url: str

    async def get(self, path: str, **query: str | float | None) -> Any:
        """What stands at `path`; a query field that is None is left out."""
        return await self._call("GET", path, params=_said(query))

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Make or start something."""
        return await self._call("POST", path, json=dict(body or {}))

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change the fields given."""
        return await self._call("PUT", path, json=dict(body))

    async def delete(self, path: str) -> None:
        """Remove something."""
        await self._call("DELETE", path)

    async def items(self, path: str, limit: int | None = None, **query: str | float | None) -> list[Any]:
        """The newest `limit` items of a list, newest first; without a limit all of them."""
        found: list[Any] = []
        cursor = None
        while limit is None or len(found) < limit:
            wanted = GREATEST_LIMIT if limit is None else min(limit - len(found), GREATEST_LIMIT)
            page = await self.get(path, **query, limit=wanted, cursor=cursor)
            found += page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return found

    async def stream(self, path: str, **query: str | float | None) -> AsyncIterator[bytes]:
        """The pieces of a text as they come."""
        async with self._answer("GET", path, params=_said(query), timeout=STREAM_TIMEOUT) as response:
            async for piece in response.content.iter_any():
                yield piece

    async def _call(self, method: str, path: str, **arguments: Any) -> Any:
        async with self._answer(method, path, **arguments) as response:
            return await response.json() if response.status != 204 else None

    @contextlib.asynccontextmanager
    async def _answer(self, method: str, path: str, **arguments: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        url = self.base_url + path
        try:
            async with self.session.request(method, url, allow_redirects=False, **arguments) as response:
                if response.status >= 300:
                    raise ApiError(await _refusal(response))
                yield response
        except aiohttp.ContentTypeError as error:
            raise ApiError(f"{url} did not answer with JSON. Is LOCUTUS_URL a Locutus gateway?") from error
        except TimeoutError as error:
            raise ApiError(f"{self.base_url} did not answer in time. Try again in a moment.") from error
        except aiohttp.ClientError as error:
            raise ApiError(
                f"{self.base_url} can't be reached ({error}). Is it up, and is LOCUTUS_URL right?"
            ) from error


def segment(text: str) -> str:
    """Text from outside as one segment of a path."""
    return quote(text, safe="")


@contextlib.asynccontextmanager
async def api(settings: Settings) -> AsyncIterator[Api]:
    """The API of `LOCUTUS_URL`, or of the data directory. Raises `SettingsError` and `ApiError`."""
    async with _remote(settings) if settings.url else _local(settings) as client:
        yield client


@contextlib.asynccontextmanager
async def _remote(settings: Settings) -> AsyncIterator[Api]:
    url = URL(settings.url)
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingsError("LOCUTUS_URL: give the gateway's address, such as https://locutus.example.org.")
    if settings.token is None:
        raise SettingsError(
            "LOCUTUS_TOKEN is not set. `locutus token add NAME --role operate` makes one, on the gateway."
        )
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    async with aiohttp.ClientSession(headers=headers, timeout=CALL_TIMEOUT) as session:
        yield Api(session, settings.url.rstrip("/"))


@contextlib.asynccontextmanager
async def _local(settings: Settings) -> AsyncIterator[Api]:
    require_database(settings)
    async with contextlib.AsyncExitStack() as opened:
        queue = await _opened(settings, opened)
        socket = str(opened.enter_context(_private_directory()) / "api.sock")
        runner = await serve(gateway_app(settings, queue, _secrets(settings), local=local_principal()), socket)
        opened.push_async_callback(runner.cleanup)
        connector = aiohttp.UnixConnector(path=socket)
        session = aiohttp.ClientSession(connector=connector, timeout=CALL_TIMEOUT)
        yield Api(await opened.enter_async_context(session), "http://localhost")


async def _opened(settings: Settings, opened: contextlib.AsyncExitStack) -> Queue:
    try:
        return await opened.enter_async_context(storage(settings))
    except DatabaseUnavailableError as error:
        raise ApiError(str(error)) from error


def local_principal() -> Principal:
    """Whoever runs this command: who can read the data directory may do everything."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return everywhere(f"cli:{user}", Role.ADMINISTER, local=True)


def require_database(settings: Settings) -> None:
    """Raise `SettingsError` where the data directory has no database."""
    scheme, _, path = settings.database_url.partition("://")
    if scheme == "sqlite" and not Path(path).exists():
        raise SettingsError(
            f"There is no database at {path}. Start Locutus with `locutus up`, or make the database with "
            "`locutus migrate`; LOCUTUS_DATA_DIR says where, LOCUTUS_URL and LOCUTUS_TOKEN lead to another gateway."
        )


def _secrets(settings: Settings) -> SecretBox | None:
    with contextlib.suppress(SettingsError):
        return secret_box(settings)
    return None


@contextlib.contextmanager
def _private_directory() -> Iterator[Path]:
    """A fresh 0700 directory; a socket's path must be short, whatever TMPDIR is."""
    too_long = len(os.fsencode(tempfile.gettempdir())) > LONGEST_TEMPORARY_DIRECTORY
    with tempfile.TemporaryDirectory(prefix="locutus-", dir="/tmp" if too_long else None) as directory:  # noqa: S108 - private
        yield Path(directory)


def _said(query: Mapping[str, str | float | None]) -> dict[str, str | float]:
    return {name: value for name, value in query.items() if value is not None}


async def _refusal(response: aiohttp.ClientResponse) -> str:
    with contextlib.suppress(aiohttp.ClientError, ValueError):
        problem = await response.json(content_type=None)
        if isinstance(problem, dict) and isinstance(problem.get("detail"), str):
            return str(problem["detail"])
    return f"{response.url} answered {response.status} {response.reason}. Is LOCUTUS_URL a Locutus gateway?"
