"""One try of one notification: by apprise to whatever it knows, or a ping to a monitor that waits for them.

What apprise logs may name a URL, which is a secret. https://github.com/caronc/apprise/wiki
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from bot.notice import Notice, notice_of
from jobs import log_store
from jobs.database.unit import reader
from jobs.delivery import Answer
from jobs.models import Job
from webhooks.apprise_calls import APPRISE
from webhooks.apprise_server import name_of, service_of
from webhooks.outbound import USER_AGENT, WebhookSender

TIMEOUT_S = 20.0
LOG_TAIL_LINES = 50
PING = "ping+"
"""Before an `http` or `https` URL: a monitor in the manner of Healthchecks. https://healthchecks.io/docs/http_api/"""
PINGS = {"job.started": "/start", "job.completed": "", "job.failed": "/fail"}
UNUSABLE = "apprise knows no such service, or the URL lacks something."

# What it logs may hold a URL; what went wrong is told by the delivery.
logging.getLogger("apprise").propagate = False
logging.getLogger("apprise").addHandler(logging.NullHandler())


class UnusableUrlError(Exception):
    """Nobody can be told at this URL; the sentence says why, without the URL."""


def check_url(url: str) -> None:
    """Raise `UnusableUrlError` for a URL that neither apprise nor a monitor takes. Blocks: apprise loads plugins."""
    if url.startswith(PING):
        parts = urlsplit(url.removeprefix(PING))
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise UnusableUrlError("write ping+https://… with the address that the monitor gave you.")
        return
    if service_of(url) is None:
        raise UnusableUrlError(UNUSABLE)


class Notifier:
    """Tells of events: people by apprise, monitors by way of `sender`."""

    def __init__(self, sender: WebhookSender) -> None:
        self._sender = sender

    async def send(self, url: str, document: Mapping[str, Any], at: datetime) -> Answer:
        """Try once to tell of an event (or a digest), at a moment; never raises for what the service does."""
        if url.startswith(PING):
            return await self._ping(url.removeprefix(PING).rstrip("/"), document, at)
        return await tell(url, notice_of(document))

    async def _ping(self, url: str, document: Mapping[str, Any], at: datetime) -> Answer:
        suffix = PINGS.get(document["type"])
        if suffix is None:
            return Answer(None)
        data = document["data"]
        if document["type"] == "job.started" and await _has_ended(data["id"]):
            return Answer(None, text="Not sent: the job has ended by now, and the monitor would wait for its end.")
        lines = await log_store.tail(data["id"], LOG_TAIL_LINES) if suffix == "/fail" else []
        body = "\n".join([f"{data['kind']} #{data['id']}: {data['error_message'] or data['status']}", *lines])
        headers = {"user-agent": USER_AGENT, "content-type": "text/plain; charset=utf-8"}
        return await self._sender.post(url + suffix, body.encode(), headers, at)


async def _has_ended(job_id: int) -> bool:
    """A start that could not be told in time must not come behind its end."""
    return await Job.filter(id=job_id, completed_at__isnull=False).using_db(reader()).exists()


async def tell(url: str, notice: Notice) -> Answer:
    """Try once to tell people something by apprise; never raises for what the service does."""
    order = {"url": url, "title": notice.title, "text": notice.text, "tone": notice.tone.value}
    try:
        result = await APPRISE.call(order, TIMEOUT_S)
    except TimeoutError:
        return Answer(None, f"{name_of(url)} did not answer in time.")
    return Answer(None, _reason(name_of(url), result))


def _reason(name: str, result: Mapping[str, Any] | None) -> str | None:
    """A sentence without the URL, which apprise's own may hold; None where all went well."""
    if result is None:
        return f"{name} could not be told: the try broke off."
    if not result["usable"]:
        return UNUSABLE
    if result["delivered"]:
        return None
    return (
        f"{name} answered {result['status']}."
        if result["status"]
        else f"{name} could not be told: no answer, or a refusal."
    )
