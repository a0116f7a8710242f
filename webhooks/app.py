"""The gateway: the application from its context, and the server around it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from jobs.access import Principal
from jobs.database.group import GroupCommit
from webhooks import health, inbound, metrics, openapi
from webhooks.api import (
    archives,
    audit,
    confirmations,
    console,
    deliveries,
    events,
    hooks,
    hosts,
    job_kinds,
    jobs,
    notification_channels,
    overdue,
    packages,
    repositories,
    role_bindings,
    scheduled_jobs,
    settings,
    subscriptions,
    templates,
    tokens,
)
from webhooks.authentication import AUTHENTICATOR, Authenticator, digest, load_admin_token
from webhooks.context import CONTEXT, GatewayContext
from webhooks.problems import mark_begun, problems
from webhooks.route import PUBLIC, Plain, Route, mount

__all__ = ["ROUTES", "GatewayContext", "description", "gateway", "serve"]

GREATEST_BODY = 1024**2
# aiohttp waits this long for handlers, and as long again before it cancels them: a stop takes little more than 2 s.
SHUTDOWN_TIMEOUT_S = 1.0
# How long a refused request's unread body may go on arriving; each holds a handler.
LINGERING_S = 1.0


async def api_description(call: Plain) -> web.Response:
    """The OpenAPI document."""
    del call
    return web.json_response(description())


ROUTES: tuple[Route, ...] = (
    *health.ROUTES,
    *metrics.ROUTES,
    Route("GET", "/api/openapi.json", PUBLIC, api_description, "This description"),
    *jobs.ROUTES,
    *job_kinds.routes(),
    *repositories.ROUTES,
    *overdue.ROUTES,
    *scheduled_jobs.ROUTES,
    *archives.ROUTES,
    *templates.ROUTES,
    *tokens.ROUTES,
    *role_bindings.ROUTES,
    *hooks.ROUTES,
    *inbound.ROUTES,
    *subscriptions.ROUTES,
    *notification_channels.ROUTES,
    *deliveries.ROUTES,
    *settings.ROUTES,
    *hosts.ROUTES,
    *packages.ROUTES,
    *events.ROUTES,
    *console.ROUTES,
    *confirmations.ROUTES,
    *audit.ROUTES,
)


def description() -> dict[str, Any]:
    """The API's description, OpenAPI 3.1."""
    return openapi.document(ROUTES)


def gateway(context: GatewayContext, *, local: Principal | None = None) -> web.Application:
    """The application. With `local`, requests without a token are that principal's: for a private socket only."""
    app = web.Application(middlewares=[problems], client_max_size=GREATEST_BODY)
    app[CONTEXT] = context
    app[inbound.GROUP] = GroupCommit()

    async def know_the_admin(app: web.Application) -> AsyncIterator[None]:
        token = await asyncio.to_thread(load_admin_token, context.settings)
        app[AUTHENTICATOR] = Authenticator(digest(token), local)
        yield

    app.cleanup_ctx.append(know_the_admin)
    app.on_response_prepare.append(mark_begun)
    mount(app, ROUTES)
    for add_routes in context.extra_routes:
        add_routes(app)
    return app


async def serve(app: web.Application, where: str) -> web.AppRunner:
    """Serve on `127.0.0.1:8484`, or on a Unix socket (0600) when `where` is an absolute path.

    The caller awaits the runner's `cleanup()`, which ends within 5 s. Raises `OSError` where the address is taken.
    """
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_TIMEOUT_S, lingering_time=LINGERING_S, access_log=None)
    await runner.setup()
    try:
        await _site(runner, where).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner


def _site(runner: web.AppRunner, where: str) -> web.BaseSite:
    if where.startswith("/"):
        return web.SockSite(runner, _private_socket(Path(where)))
    host, _, port = where.rpartition(":")
    return web.TCPSite(runner, host.strip("[]"), int(port))


def _private_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    # Nobody can connect before it listens, so the mode is right in time.
    path.chmod(0o600)
    return listener
