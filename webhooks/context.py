"""What the gateway is given once, when it is composed, and where handlers find it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from jobs.queue import Queue
from jobs.secrets import SecretBox
from jobs.settings import Settings

AddRoutes = Callable[[web.Application], None]


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """What handlers work with. `extra_routes` are called with the application: chat platforms mount theirs by it."""

    settings: Settings
    queue: Queue
    secrets: SecretBox | None = None
    extra_routes: Sequence[AddRoutes] = ()


CONTEXT: web.AppKey[GatewayContext] = web.AppKey("context", GatewayContext)
