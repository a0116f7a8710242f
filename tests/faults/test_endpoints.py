"""Endpoints that misbehave, on real sockets: each is given up as described, is seen, and delays no other."""

import asyncio
import json
import socket

import pytest

from bot.commands import COMMANDS
from bot.commands.asking import Asker
from jobs import clock
from jobs.delivery import DeliveryState
from jobs.models import Delivery, DeliveryAttempt
from tests.fakes.gateway import application, started
from tests.fakes.instance import ADMIN
from tests.fakes.owed import SECRET, ends_as, owe, running, subscribe, until
from tests.fakes.raw_endpoint import (
    OK,
    RawEndpoint,
    dripping_body,
    endless_body,
    endless_chunks,
    endless_headers,
)
from tests.fakes.webhook_receiver import Clock, Say, WebhookReceiver
from webhooks import guarded_resolver, outbound
from webhooks.outbound import ANSWER_BYTES, ANSWER_TIMEOUT_S, WebhookSender
from worker.deliveries import ROOM_OF_FAILING

MOST_WRITTEN = 16 * 1024**2
"""What the kernel's buffers take of an endless answer that nobody reads."""


@pytest.fixture
def now():
    return Clock()


@pytest.fixture
async def sender():
    async with WebhookSender(allow_private_targets=True) as sender:
        yield sender


@pytest.mark.parametrize(
    ("answering", "status", "kept"),
    [
        (endless_body, 200, "x" * ANSWER_BYTES),
        (endless_chunks, 500, "y" * ANSWER_BYTES),
        (dripping_body, 200, "z"),
        (endless_headers, None, None),
    ],
)
async def test_endless_answer_is_cut_off_and_another_endpoint_gets_its_own_meanwhile(
    opened, sender, now, answering, status, kept
):
    async with RawEndpoint(answering) as endless, WebhookReceiver(SECRET, clock=now) as other:
        row = await owe(await subscribe(endless.url), now())
        begun = asyncio.get_running_loop().time()
        async with running(sender, now):
            beside = await owe(await subscribe(other.url), now())
            await until(opened, ends_as(beside, state=DeliveryState.DELIVERED))
            await until(opened, ends_as(row, attempts=1))
            await endless.hung_up.wait()
        took_s = asyncio.get_running_loop().time() - begun
    attempt = await DeliveryAttempt.get(delivery_id=row.id)
    assert attempt.status == status
    assert attempt.answer == kept if kept != "z" else 1 <= len(attempt.answer) < ANSWER_BYTES
    assert await ends_as(row, state=DeliveryState.DELIVERED if status == 200 else DeliveryState.WAITING)()
    assert took_s < 5 * ANSWER_TIMEOUT_S
    assert endless.written < MOST_WRITTEN


async def test_endpoints_that_hang_leave_room_for_one_that_does_not(opened, now):
    hold = asyncio.Event()
    async with (
        WebhookReceiver(SECRET, *[Say(hold=hold)] * 200, clock=now) as hanging,
        WebhookReceiver(SECRET, clock=now) as well,
        WebhookSender(allow_private_targets=True, timeout_s=1.5) as impatient,
    ):
        dead = [await subscribe(hanging.url) for _ in range(outbound.CONCURRENCY)]
        for subscription in dead * 4:
            await owe(subscription, now())
        async with running(impatient, now):
            await hanging.calls(outbound.CONCURRENCY + ROOM_OF_FAILING)  # each has failed, and is tried again
            late = await owe(await subscribe(well.url), now())
            begun = asyncio.get_running_loop().time()
            await until(opened, ends_as(late, state=DeliveryState.DELIVERED))
            assert asyncio.get_running_loop().time() - begun < 1.0


async def test_endpoints_that_failed_before_the_start_take_half_of_the_room(opened, sender, now):
    hold = asyncio.Event()
    async with (
        WebhookReceiver(SECRET, *[Say(hold=hold)] * outbound.CONCURRENCY, clock=now) as hanging,
        WebhookReceiver(SECRET, clock=now) as well,
    ):
        for _ in range(outbound.CONCURRENCY):
            row = await owe(await subscribe(hanging.url), now())
            await Delivery.filter(id=row.id).update(attempts=1)
        late = await owe(await subscribe(well.url), now())
        async with running(sender, now):
            await until(opened, ends_as(late, state=DeliveryState.DELIVERED))
            assert len(hanging.received) <= ROOM_OF_FAILING
        hold.set()


def answers_in_turn(monkeypatch, *turns):
    """The name server's answers for `rebound.example.org`; the last is repeated."""
    waiting, real = list(turns), socket.getaddrinfo

    def look_up(host, port, *rest, **options):
        if host != "rebound.example.org":
            return real(host, port, *rest, **options)
        addresses = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(guarded_resolver.socket, "getaddrinfo", look_up)


async def taken(to):
    await to.write(OK + b"Content-Length: 2\r\n\r\nok")


async def test_name_that_turns_private_after_it_was_looked_at_reaches_nothing(opened, now, monkeypatch):
    """127.0.0.2 stands for a public address, so that both can be connected to for real."""
    monkeypatch.setattr(guarded_resolver, "is_public", lambda address: address == "127.0.0.2")
    public, private = "127.0.0.2", "127.0.0.1"
    answers_in_turn(monkeypatch, [public], [private, public], [private])
    async with (
        RawEndpoint(taken, public, private) as endpoint,
        WebhookSender(allow_private_targets=False) as guarded,
        running(guarded, now),
    ):
        subscription = await subscribe(f"http://rebound.example.org:{endpoint.port}/hook")
        for state in (DeliveryState.DELIVERED, DeliveryState.DELIVERED, DeliveryState.WAITING):
            row = await owe(subscription, now())
            await until(opened, ends_as(row, state=state, attempts=1))
    await row.refresh_from_db()
    assert row.last_error.startswith("rebound.example.org has no public address.")
    assert endpoint.called == [public, public]


async def test_what_each_try_was_answered_is_shown_without_the_urls_secrets(
    opened_sqlite, sender, now, aiohttp_client, tmp_path
):
    secret_part = "T0PSECRET-of-the-path"

    async def echoing(to):
        text = f"no such hook: /{secret_part}?key=an-0ther-secret \x1b[31m\0".encode()
        await to.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    async with RawEndpoint(echoing) as endpoint:
        url = endpoint.url.replace("/hook", f"/{secret_part}?key=an-0ther-secret")
        row = await owe(await subscribe(url), now())
        async with running(sender, now):
            await until(opened_sqlite, ends_as(row, attempts=1))
    shown = (await api.get(f"/api/deliveries/{row.id}")).json
    [attempt] = shown["tries"]
    assert (attempt["status"], attempt["error"]) == (404, "127.0.0.1 answered 404.")
    assert attempt["answer"].startswith("no such hook: /…")
    told = await COMMANDS["deliveries show"].carry_out(Asker(ADMIN, "console", None), {"delivery": row.id})
    assert f"Delivery {row.id} (job.completed) is waiting after 1 attempt." in told.text
    assert "404  127.0.0.1 answered 404.  no such hook: /…" in told.code
    assert "\x1b" not in told.code
    said = json.dumps(shown) + told.text + told.code
    assert not any(secret in said for secret in (secret_part, "an-0ther-secret", SECRET))


@pytest.mark.parametrize("pieces", [4, 400])
async def test_answer_that_breaks_off_within_a_part_of_the_url_shows_no_piece_of_it(sender, pieces):
    secret_part = "T0PSECRET" + "abcdefghijklmnopqrstuvwxyz0123456789" * 3

    async def repeating(to):
        text = (f"no such hook: {secret_part}\n" * pieces).encode()
        await to.write(OK + b"Content-Length: %d\r\n\r\n" % (len(text) + 1) + text[:-20])
        await read.wait()

    read = asyncio.Event()
    async with RawEndpoint(repeating) as endpoint:
        answer = await sender.post(endpoint.url.replace("/hook", f"/{secret_part}"), b"{}", {}, clock.now())
        read.set()
        await endpoint.hung_up.wait()
    assert answer.text.startswith("no such hook: …\nno such hook: …")
    assert "T0P" not in answer.text
