"""One try of one notification: by apprise to whatever it knows, or a ping to a monitor that waits for them.

apprise sends in threads of its own and follows redirects unless it is told not to; what it logs may name a URL, which
is a secret. https://github.com/caronc/apprise/wiki
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import apprise
from apprise import AppriseAsset, AppriseResultStatus, NotifyFormat, NotifyType, PersistentStoreMode

from bot.notice import Notice, notice_of
from jobs import log_store
from jobs.delivery import Answer
from webhooks.outbound import USER_AGENT, WebhookSender

TIMEOUT_S = 20.0
CONNECT_S, READ_S = 5, 10
LOG_TAIL_LINES = 50
PING = "ping+"
"""Before an `http` or `https` URL: a monitor in the manner of Healthchecks. https://healthchecks.io/docs/http_api/"""
PINGS = {"job.started": "/start", "job.completed": "", "job.failed": "/fail"}
LOCAL_SCHEMES = frozenset({"dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
"""What would act on this machine instead of telling somebody."""


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
    _service(url)


def name_of(url: str) -> str:
    """What people call the service behind a URL that `check_url` passed: `ping`, `slack`, `mailto`."""
    return url.strip().partition("://")[0].partition("+")[0].lower()


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
        lines = await log_store.tail(data["id"], LOG_TAIL_LINES) if suffix == "/fail" else []
        body = "\n".join([f"{data['kind']} #{data['id']}: {data['error_message'] or data['status']}", *lines])
        headers = {"user-agent": USER_AGENT, "content-type": "text/plain; charset=utf-8"}
        return await self._sender.post(url + suffix, body.encode(), headers, at)


async def tell(url: str, notice: Notice) -> Answer:
    """Try once to tell people something by apprise; never raises for what the service does.

    Each message goes by an object of its own: apprise would wait between two of one object.
    """
    try:
        service = await asyncio.to_thread(_service, url)
    except UnusableUrlError as error:
        return Answer(None, str(error))
    result = await service.async_notify(
        title=notice.title,
        body=notice.text,
        notify_type=NotifyType(notice.tone.value),
        body_format=NotifyFormat.TEXT,
        timeout=TIMEOUT_S,
        log_level=logging.WARNING,
    )
    return Answer(None, None if result else _reason(name_of(url), result))


def _service(url: str) -> apprise.Apprise:
    asset = AppriseAsset(
        app_id="Locutus", app_desc="Locutus", http_redirects=False, storage_mode=PersistentStoreMode.MEMORY
    )
    service = apprise.Apprise(asset=asset)
    # A comma may part several, of which the first alone would have been looked at.
    if name_of(url) in LOCAL_SCHEMES or not service.add(_with_limits(url)) or len(service) != 1:
        raise UnusableUrlError("apprise knows no such service, or the URL lacks something.")
    return service


def _with_limits(url: str) -> str:
    """The URL with, where it does not say so itself, short waits, long texts in parts, no pictures from elsewhere."""
    limits = {"cto": CONNECT_S, "rto": READ_S, "overflow": "split", "avatar": "no"}
    said = "&".join(f"{name}={value}" for name, value in limits.items() if not re.search(rf"[?&]{name}=", url))
    return f"{url}{'&' if '?' in url else '?'}{said}"


def _reason(name: str, result: Any) -> str:
    """A sentence without the URL, which apprise's own may hold."""
    if result.status == AppriseResultStatus.TIMEOUT:
        return f"{name} did not answer in time."
    logged = " ".join(entry.message for each in result.results for entry in each.logs())
    status = re.search(r"error\s*=\s*([1-5][0-9]{2})\b", logged)
    return f"{name} answered {status[1]}." if status else f"{name} could not be told: no answer, or a refusal."
