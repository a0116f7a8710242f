"""One try of one outbound webhook: signed, to a public address, no redirect followed, and an answer in all cases."""

import asyncio
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from jobs.delivery import Answer
from webhooks.guarded_resolver import OwnThreadsResolver, PrivateTargetError, open_public_socket
from webhooks.signatures.signing import UnusableSecretError, signature

CONCURRENCY = 20
TIMEOUT_S = 20.0
ANSWER_BYTES, ANSWER_TIMEOUT_S = 1000, 2.0
"""How much of an answer is kept, and how long it may take to come: its status is known by then."""
SECRET_LENGTH = 8
"""A part of a URL's path or query that is shorter is taken for a plain word."""
USER_AGENT = "Locutus"
NO_HOST = "the endpoint"
SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (PrivateTargetError, "{host} has no public address. LOCUTUS_ALLOW_PRIVATE_WEBHOOK_TARGETS=true would allow it."),
    (TimeoutError, "{host} did not answer in time."),
    (aiohttp.InvalidURL, "The URL is not a valid http or https address. Correct it."),
    (aiohttp.ClientConnectorCertificateError, "The TLS certificate of {host} is not trusted."),
    (aiohttp.ClientConnectorSSLError, "{host} does not speak TLS as it should."),
    (aiohttp.ClientConnectorDNSError, "No address was found for {host}. Is the name right?"),
    (aiohttp.ClientConnectorError, "No connection to {host} ({reason})."),
    (Exception, "{host} ended the call without an answer ({reason})."),
)


class WebhookSender:
    """Sends webhooks; owns a session, to be used as `async with WebhookSender(…) as sender`.

    Meant for `CONCURRENCY` calls at once. Each has a connection of its own: no cookie, no idle connection that the
    endpoint may be closing, no proxy from the environment.
    """

    def __init__(self, *, allow_private_targets: bool, timeout_s: float = TIMEOUT_S) -> None:
        self._allow_private_targets = allow_private_targets
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        self._resolver = OwnThreadsResolver(CONCURRENCY)
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,
            socket_factory=None if self._allow_private_targets else open_public_socket,
            force_close=True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._resolver.close()

    async def send(self, url: str, secret: str, webhook_id: str, timestamp: datetime, body: bytes) -> Answer:
        """Try a webhook once, at `timestamp`; never raises for what the endpoint or the network does."""
        try:
            headers = _headers(webhook_id, timestamp, signature(secret, webhook_id, timestamp, body))
        except UnusableSecretError as error:
            return Answer(None, str(error))
        return await self.post(url, body, headers, timestamp)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], at: datetime) -> Answer:
        """Post once, at a moment; never raises for what the endpoint or the network does.

        The answer's status and `Retry-After` count; of its body the first bytes are kept for people. The error names
        the URL's host alone, and what is kept repeats no part of the URL, as the rest of a URL may be a secret.
        """
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                answer = _answer(_host(url), response, at)
                read = await _beginning(response, ANSWER_BYTES + len(url))
                return replace(answer, text=_shown(read, url, whole=response.content.at_eof()))
        except (aiohttp.ClientError, OSError) as error:
            return Answer(None, _sentence(_host(url), error))


async def _beginning(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The answer's first bytes, of one that goes on and on as of any other."""
    read = b""
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while len(read) < limit and (piece := await response.content.read(limit - len(read))):
                read += piece
    return read


def _shown(read: bytes, url: str, *, whole: bool) -> str | None:
    """What is kept of an answer, without what it repeats of the URL; None where it is empty. One that is not whole may
    break off within a part of the URL.
    """
    text = read.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    target = URL(url)
    parts = {*target.raw_parts, *target.parts, *target.query.values(), target.raw_query_string}
    secrets = sorted((part for part in parts if len(part) >= SECRET_LENGTH), key=len, reverse=True)
    for part in secrets:
        text = text.replace(part, "…")
    if secrets and not whole:
        text = text[: 1 - len(secrets[0])]
    return text[:ANSWER_BYTES] or None


def retry_after_s(header: str | None, at: datetime) -> float | None:
    """The seconds that a `Retry-After` asks for, a number or an HTTP date (RFC 9110, 10.2.3); else None."""
    if header is None:
        return None
    if re.fullmatch(r"[0-9]{1,10}", header):
        return float(header)
    try:
        return max(0.0, _seconds_until(header, at))
    except (ValueError, OverflowError):
        return None


def _seconds_until(date: str, at: datetime) -> float:
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - at.timestamp()


def _headers(webhook_id: str, timestamp: datetime, signed: str) -> dict[str, str]:
    return {
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(math.floor(timestamp.timestamp())),
        "webhook-signature": signed,
    }


def _answer(host: str, response: aiohttp.ClientResponse, at: datetime) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer(status)
    redirect = ", a redirect, which is not followed. Give the final URL" if 300 <= status < 400 else ""
    asked_s = retry_after_s(response.headers.get("retry-after"), at)
    return Answer(status, f"{host} answered {status}{redirect}.", asked_s)


def _sentence(host: str, error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    code = getattr(cause, "errno", None)
    reason = os.strerror(code) if code else type(error).__name__
    template = next(sentence for kind, sentence in SENTENCES if isinstance(error, kind) or isinstance(cause, kind))
    return template.format(host=host, reason=reason)


def _host(url: str) -> str:
    try:
        return URL(url).host or NO_HOST
    except ValueError:
        return NO_HOST
