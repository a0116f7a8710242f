"""What the endpoints of chat platforms share: reading a request whose signature is over its bytes, and refusing it."""

import asyncio
from http import HTTPStatus

from aiohttp import web


async def received(request: web.Request, within_s: float) -> bytes | None:
    """The raw body; None where it does not arrive in time."""
    try:
        async with asyncio.timeout(within_s):
            return await request.read()
    except TimeoutError:
        return None


def too_slow() -> web.Response:
    """The refusal of a body that did not arrive."""
    return _problem(HTTPStatus.REQUEST_TIMEOUT, "The request's body did not arrive in time.")


def unreadable() -> web.Response:
    """The refusal of a signed body that means nothing."""
    return _problem(HTTPStatus.BAD_REQUEST, "This request can't be read.")


def unsigned(platform: str) -> web.Response:
    """The refusal of what `platform` did not sign within the last five minutes."""
    return _problem(HTTPStatus.UNAUTHORIZED, f"This request is not signed by {platform}, or is too old.")


def _problem(status: HTTPStatus, detail: str) -> web.Response:
    """A problem document (RFC 9457)."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")
