"""Sends by apprise, each message in a process of its own that ends at its deadline, whatever its endpoint does.

apprise can only leave a call that hangs to its thread, for as long as the endpoint likes. To start anew for each
message would cost half a second of a processor's time, so this process has loaded what apprise knows and is forked for
each. Its standard input is a socket: a byte with a descriptor is a call, and its end is the end of everything here.

Run by its path, without the rest of Locutus. https://github.com/caronc/apprise/wiki
"""

import json
import logging
import os
import re
import resource
import signal
import socket
import time
from typing import Any

from apprise import Apprise, AppriseAsset, AppriseResult, NotifyFormat, NotifyType, PersistentStoreMode

CONNECT_S, READ_S = 5, 10
MEMORY_BYTES = 256 * 1024**2
"""What a try may take: apprise reads an answer whole, however long it is."""
LOCAL_SCHEMES = frozenset({"dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
"""What would act on this machine instead of telling somebody."""


def name_of(url: str) -> str:
    """What people call the service behind a URL that is known: `ping`, `slack`, `mailto`."""
    return url.strip().partition("://")[0].partition("+")[0].lower()


def service_of(url: str) -> Apprise | None:
    """What apprise sends by to this URL; None where it can't. Blocks: apprise loads what it knows at the first."""
    asset = AppriseAsset(
        app_id="Locutus",
        app_desc="Locutus",
        http_redirects=False,
        storage_mode=PersistentStoreMode.MEMORY,
        service_timeout=0,  # with one it sends in a thread, which outlives it
    )
    service = Apprise(asset=asset)
    # Text before a scheme is passed over, and a comma may part several, of which the first alone would be looked at.
    plain = re.match(r"\s*[a-zA-Z0-9]+://", url) and name_of(url) not in LOCAL_SCHEMES
    return service if plain and service.add(_with_limits(url)) and len(service) == 1 else None


def _with_limits(url: str) -> str:
    """The URL with, where it does not say so itself, short waits, long texts in parts, no pictures from elsewhere."""
    limits = {"cto": CONNECT_S, "rto": READ_S, "overflow": "split", "avatar": "no"}
    said = "&".join(f"{name}={value}" for name, value in limits.items() if not re.search(rf"[?&]{name}=", url))
    return f"{url}{'&' if '?' in url else '?'}{said}"


def serve(calls: socket.socket) -> None:
    """Fork for each call, until nobody calls any more; then end, and what is under way with it."""
    service_of("json://localhost/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        _, descriptors, *_ = socket.recv_fds(calls, 1, 1)
        if not descriptors:
            os.killpg(0, signal.SIGKILL)
        with socket.socket(fileno=descriptors[0]) as call:
            if os.fork() == 0:
                try:
                    os.dup2(os.open(os.devnull, os.O_RDWR), calls.fileno())
                    _answer(call)
                finally:
                    os._exit(0)


def _answer(call: socket.socket) -> None:
    with call.makefile("rb") as told:
        order = json.load(told)
    left_s = order["until"] - time.monotonic()
    if left_s <= 0:
        return
    signal.setitimer(signal.ITIMER_REAL, left_s)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    call.sendall(json.dumps(_try(order)).encode())


def _try(order: dict[str, Any]) -> dict[str, Any]:
    service = service_of(order["url"])
    if service is None:
        return {"usable": False}
    result = service.notify(
        title=order["title"],
        body=order["text"],
        notify_type=NotifyType(order["tone"]),
        body_format=NotifyFormat.TEXT,
        log_level=logging.WARNING,
    )
    return {"usable": True, "delivered": bool(result), "status": _status(result)}


def _status(result: AppriseResult) -> str | None:
    """The HTTP status that apprise logged; the rest of what it logs may hold the URL."""
    logged = " ".join(entry.message for each in result.results for entry in each.logs())
    status = re.search(r"error\s*=\s*([1-5][0-9]{2})\b", logged)
    return status[1] if status else None


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
