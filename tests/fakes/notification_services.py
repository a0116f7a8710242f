"""Services that people read, as their platforms would take a message: strict, on free loopback ports."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any, Self

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.conftest import free_port

SECRET_PART = "s3cr3t-T0KEN-0f-th3-p4th"


@dataclass
class Told:
    """A message as it arrived."""

    path: str
    title: str
    text: str


class HttpService:
    """Takes what Slack's and Discord's webhooks, ntfy and a monitor take; `statuses` are used up, then 200 is said."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.told: list[Told] = []
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def messages(self, count: int) -> list[Told]:
        """Wait for so many."""
        async with asyncio.timeout(30):
            while len(self.told) < count:
                self._came.clear()
                await self._came.wait()
        return self.told

    async def _take(self, request: web.Request) -> web.Response:
        self.told.append(_read(request, await request.text(), await _json(request)))
        self._came.set()
        status = self.statuses.pop(0) if self.statuses else 200
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        text = "ok" if request.path.startswith("/services/") else "{}"
        return web.Response(status=status, text=text, content_type="application/json", headers=headers)


class MailServer:
    """An SMTP server that knows every login; `mails` holds what it took."""

    def __init__(self) -> None:
        self.mails: list[Told] = []
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        check: Callable[..., AuthResult] = lambda *_: AuthResult(success=True)  # noqa: E731
        self.port = free_port()
        self._controller = Controller(self, "127.0.0.1", self.port, auth_require_tls=False, authenticator=check)
        await asyncio.to_thread(self._controller.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._controller.stop)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: ARG002, N802 - aiosmtpd's names
        mail = message_from_bytes(envelope.content, policy=policy.default)
        body = mail.get_body(("plain",))
        told = Told(",".join(envelope.rcpt_tos), mail["subject"], body.get_content() if body else "")
        self._loop.call_soon_threadsafe(self._note, told)
        return "250 OK"

    def _note(self, told: Told) -> None:
        self.mails.append(told)
        self._came.set()

    async def messages(self, count: int) -> list[Told]:
        """Wait for so many."""
        async with asyncio.timeout(30):
            while len(self.mails) < count:
                self._came.clear()
                await self._came.wait()
        return self.mails


async def _json(request: web.Request) -> Any:
    return await request.json() if request.content_type == "application/json" else None


def _read(request: web.Request, text: str, body: Any) -> Told:
    if request.path.startswith(
        "/services/"
    ):  # https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
        [attachment] = body["attachments"]
        return Told(request.path, attachment.get("title", ""), attachment["text"])
    if request.path.startswith("/discord/"):  # https://docs.discord.com/developers/resources/webhook#execute-webhook
        content = body.get("content", "")
        assert len(content) <= 2000
        title, _, rest = content.partition("\r\n")
        return Told(request.path, title.strip("*# "), rest)
    if body is not None and "topic" in body:  # https://docs.ntfy.sh/publish/#publish-as-json
        return Told(f"/{body['topic']}", body["title"], body["message"])
    if body is not None:
        return Told(request.path, body.get("title", ""), body.get("message", ""))
    return Told(request.path, "", text)
