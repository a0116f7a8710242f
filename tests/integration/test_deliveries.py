"""Completion webhooks: at least once, never two at a time, and never to an address that is not public."""

import asyncio
import base64
import datetime as dt
import json

import pytest
from tortoise.exceptions import OperationalError

from jobs import clock, delivery
from jobs.delivery import Answer, DeliveryState
from jobs.errors import ConflictError
from jobs.models import Delivery, NotificationChannel, Subscription
from jobs.secrets import SecretBox
from tests.conftest import free_port
from tests.fakes.gateway import application, started
from tests.fakes.instance import ADMIN
from tests.fakes.owed import BASE_URL, BOX, SECRET, ends_as, owe, reached, running, subscribe, until
from tests.fakes.webhook_receiver import Clock, Say, WebhookReceiver, untrusted_tls
from webhooks.outbound import WebhookSender
from worker import deliveries as worker_deliveries
from worker.deliveries import LEASE


@pytest.fixture
def now():
    return Clock()


@pytest.fixture
async def sender():
    async with WebhookSender(allow_private_targets=True) as sender:
        yield sender


@pytest.fixture
async def receiver(now):
    async with WebhookReceiver(SECRET, clock=now) as receiver:
        yield receiver


async def test_delivery_is_signed_and_has_absolute_links(opened, sender, receiver, now):
    row = await owe(await subscribe(receiver.url + "?token=1"), now())
    async with running(sender, now):
        await until(opened, ends_as(row, state=DeliveryState.DELIVERED))
    received = receiver.received[0]
    assert (received.webhook_id, received.path) == (row.webhook_id, "/hook?token=1")
    assert received.timestamp == int(now().timestamp())
    assert json.loads(received.body)["data"]["logs_url"] == f"{BASE_URL}/api/jobs/{row.job_id}/logs"
    await row.refresh_from_db()
    assert (row.attempts, row.last_status, row.last_error, row.delivered_at) == (1, 200, None, now())
    assert row.claimed_until is None


async def test_failed_delivery_is_sent_again_with_the_same_id_and_bytes(opened, sender, receiver, now):
    receiver.script.append(Say(500))
    row = await owe(await subscribe(receiver.url), now())
    async with running(sender, now):
        await until(opened, ends_as(row, attempts=1))
        await row.refresh_from_db()
        assert (row.state, row.last_status, row.last_error) == ("waiting", 500, "127.0.0.1 answered 500.")
        assert 4.5 <= (row.due_at - now()).total_seconds() <= 5.5
        now.advance(seconds=6)
        await until(opened, ends_as(row, state=DeliveryState.DELIVERED, attempts=2, last_error=None))
    assert receiver.ids == [row.webhook_id] * 2
    assert receiver.received[0].body == receiver.received[1].body
    assert receiver.received[1].timestamp - receiver.received[0].timestamp == 6


async def test_endpoint_that_always_fails_ends_dead_after_a_day_and_can_be_replayed(
    opened_sqlite, sender, receiver, now
):
    receiver.script.extend([Say(503)] * 11)
    row = await owe(await subscribe(receiver.url), now())
    start = now()
    async with running(sender, now):
        for attempt in range(1, 12):
            await until(opened_sqlite, ends_as(row, attempts=attempt))
            await row.refresh_from_db()
            now.moment = row.due_at
        assert row.state == DeliveryState.DEAD
        assert abs(now() - start - dt.timedelta(days=1)) < dt.timedelta(hours=2.4)
        assert (await delivery.replay(row.id, ADMIN, origin="api")).state == "waiting"
        await until(opened_sqlite, ends_as(row, state=DeliveryState.DELIVERED, attempts=1))
    assert set(receiver.ids) == {row.webhook_id}


async def test_ten_failures_and_then_a_success_are_one_delivery_within_a_day(opened, sender, receiver, now):
    receiver.script.extend([Say(500)] * 10)
    row, start = await owe(await subscribe(receiver.url), now()), now()
    async with running(sender, now):
        for attempt in range(1, 12):
            await until(opened, ends_as(row, attempts=attempt))
            await row.refresh_from_db()
            now.moment = max(now(), row.due_at)
    assert (row.state, row.last_status, receiver.ids) == (DeliveryState.DELIVERED, 200, [row.webhook_id] * 11)
    assert row.delivered_at - start <= dt.timedelta(days=1) * 1.1


async def test_retry_after_is_obeyed(opened_sqlite, sender, receiver, now):
    receiver.script.append(Say(429, {"Retry-After": "3600"}))
    row = await owe(await subscribe(receiver.url), now())
    async with running(sender, now):
        await until(opened_sqlite, ends_as(row, attempts=1))
    await row.refresh_from_db()
    assert row.due_at - now() == dt.timedelta(hours=1)


@pytest.mark.usefixtures("opened")
async def test_retry_after_binds_all_that_waits_for_the_endpoint(now):
    busy, other = await subscribe("http://127.0.0.1:9/"), await subscribe("http://127.0.0.1:10/")
    first, second = await owe(busy, now()), await owe(busy, now())
    claim = await delivery.claim(first, now(), LEASE, BASE_URL)
    elsewhere = await owe(other, now())
    await delivery.record(claim, Answer(429, "no", 3600), now(), 0)
    assert [row.id for row in await delivery.due(now(), limit=9)] == [elsewhere.id]
    now.advance(seconds=3600)
    assert {row.id for row in await delivery.due(now(), limit=9)} == {first.id, second.id, elsewhere.id}


async def test_gone_switches_the_subscription_off_and_ends_what_waits(opened, sender, receiver, now):
    receiver.script.append(Say(410))
    subscription = await subscribe(receiver.url)
    first, second = await owe(subscription, now()), await owe(subscription, now() + dt.timedelta(hours=1))
    async with running(sender, now):
        await until(opened, ends_as(second, state=DeliveryState.DEAD))
    assert await reached(first, state=DeliveryState.DEAD, last_status=410)
    await subscription.refresh_from_db()
    assert subscription.enabled is False
    assert "410 Gone" in subscription.disabled_reason
    assert len(receiver.received) == 1


@pytest.mark.usefixtures("opened")
async def test_replay_to_who_is_switched_off_is_refused_with_the_reason(now):
    row = await owe(await subscribe("http://127.0.0.1:9/"), now())
    await delivery.record(await delivery.claim(row, now(), LEASE, BASE_URL), Answer(410, "gone"), now(), 0)
    with pytest.raises(ConflictError, match=r"is switched off.*410 Gone.*Switch it on first"):
        await delivery.replay(row.id, ADMIN, origin="api")
    assert await reached(row, state=DeliveryState.DEAD)
    channel = await NotificationChannel.create(name="team", url="x", service="json", enabled=False)
    await Delivery.filter(id=row.id).update(subscription_id=None, notification_channel_id=channel.id)
    with pytest.raises(ConflictError, match="notification channel team is switched off"):
        await delivery.replay(row.id, ADMIN, origin="api")


@pytest.mark.usefixtures("opened")
async def test_switched_off_subscription_is_left_alone(now):
    subscription = await subscribe("http://127.0.0.1:9/")
    await owe(subscription, now())
    await Subscription.filter(id=subscription.id).update(enabled=False)
    assert await delivery.due(now(), limit=10) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_a_failure_and_not_followed(opened_sqlite, sender, receiver, now, status):
    receiver.script.append(Say(status, {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}))
    row = await owe(await subscribe(receiver.url), now())
    async with running(sender, now):
        await until(opened_sqlite, ends_as(row, attempts=1, last_status=status))
    assert [received.path for received in receiver.received] == ["/hook"]


async def test_slow_endpoint_with_a_long_queue_delays_no_other(opened, sender, now):
    release = asyncio.Event()
    async with (
        WebhookReceiver(SECRET, Say(hold=release), clock=now) as slow,
        WebhookReceiver(SECRET, clock=now) as quick,
    ):
        blocked, other = await subscribe(slow.url), await subscribe(quick.url)
        waiting = [await owe(blocked, now() - dt.timedelta(hours=1)) for _ in range(40)]
        async with running(sender, now):
            await slow.calls(1)
            late = await owe(other, now())
            await until(opened, ends_as(late, state=DeliveryState.DELIVERED))
            assert len(slow.received) == 1
            release.set()
            await until(opened, ends_as(waiting[-1], state=DeliveryState.DELIVERED))
    assert sorted(slow.ids) == sorted(row.webhook_id for row in waiting)


async def test_crash_between_send_and_record_sends_again_and_records_once(opened, receiver, now):
    class Dying(WebhookSender):
        sent = asyncio.Event()

        async def send(self, *arguments):
            await super().send(*arguments)
            self.sent.set()
            await asyncio.Event().wait()

    row = await owe(await subscribe(receiver.url), now())
    async with Dying(allow_private_targets=True) as dying, running(dying, now):
        await dying.sent.wait()
    assert await reached(row, state=DeliveryState.WAITING, attempts=0, claimed_until=now() + LEASE)
    assert await delivery.due(now(), limit=1) == []
    now.moment += LEASE
    async with WebhookSender(allow_private_targets=True) as sender, running(sender, now):
        await until(opened, ends_as(row, state=DeliveryState.DELIVERED, attempts=1))
    assert receiver.ids == [row.webhook_id] * 2


async def test_two_workers_send_each_delivery_once(opened, sender, receiver, now):
    subscriptions = [await subscribe(receiver.url) for _ in range(3)]
    rows = [await owe(subscriptions[number % 3], now()) for number in range(30)]

    async def all_delivered():
        return await Delivery.filter(state=DeliveryState.DELIVERED).count() == len(rows)

    async with running(sender, now, loops=2):
        await until(opened, all_delivered)
    assert sorted(receiver.ids) == sorted(row.webhook_id for row in rows)


async def test_stop_during_a_call_leaves_a_row_that_is_sent_later(opened, sender, now):
    async with WebhookReceiver(SECRET, Say(hold=asyncio.Event()), clock=now) as receiver:
        row = await owe(await subscribe(receiver.url), now())
        async with running(sender, now):
            await receiver.calls(1)
        assert await reached(row, state=DeliveryState.WAITING)
        now.moment += LEASE
        async with running(sender, now):
            await until(opened, ends_as(row, state=DeliveryState.DELIVERED))
    assert receiver.ids == [row.webhook_id] * 2


@pytest.mark.usefixtures("opened")
async def test_late_success_counts_and_late_failure_does_not(now):
    row = await owe(await subscribe("http://127.0.0.1:9/"), now())
    first = await delivery.claim(row, now(), LEASE, BASE_URL)
    now.moment += LEASE
    second = await delivery.claim(row, now(), LEASE, BASE_URL)
    assert await delivery.claim(row, now(), LEASE, BASE_URL) is None
    assert await delivery.record(first, Answer(500, "no"), now(), 0) is None
    assert await delivery.record(first, Answer(200), now(), 0) is DeliveryState.DELIVERED
    assert await delivery.record(second, Answer(500, "no"), now(), 0) is None
    assert await reached(row, state=DeliveryState.DELIVERED, attempts=1, last_status=200)


@pytest.mark.usefixtures("opened")
async def test_row_that_another_worker_has_tried_since_is_not_claimed(now):
    row = await owe(await subscribe("http://127.0.0.1:9/"), now())
    claim = await delivery.claim(row, now(), LEASE, BASE_URL)
    await delivery.record(claim, Answer(500, "no"), now(), 0)
    assert await delivery.claim(row, now(), LEASE, BASE_URL) is None


@pytest.mark.usefixtures("opened")
async def test_later_try_sends_the_first_bytes_after_a_move(now):
    first = await delivery.claim(await owe(await subscribe("http://127.0.0.1:9/"), now()), now(), LEASE, BASE_URL)
    now.moment += LEASE
    (row,) = await delivery.due(now(), limit=2)
    second = await delivery.claim(row, now(), LEASE, "https://moved.example.org")
    assert second.body == first.body


async def test_end_of_a_try_starts_the_next_without_a_bell(opened_sqlite, sender, receiver, now):
    assert await opened_sqlite.answers()
    subscription = await subscribe(receiver.url)
    rows = [await owe(subscription, now()) for _ in range(5)]
    async with running(sender, now), asyncio.timeout(worker_deliveries.LOOK_EVERY_S - 1):
        await receiver.calls(len(rows))
    assert len(set(receiver.ids)) == len(rows)


async def test_broken_database_is_waited_out(opened_sqlite, sender, receiver, now, monkeypatch):
    monkeypatch.setattr(worker_deliveries, "PAUSE_S", 0.0)
    failures = {"due": 2, "claim": 2, "record": 1}

    def breaking(name, real):
        async def call(*arguments, **options):
            if failures[name]:
                failures[name] -= 1
                raise OperationalError("the database is away")
            return await real(*arguments, **options)

        return call

    for name in failures:
        monkeypatch.setattr(delivery, name, breaking(name, getattr(delivery, name)))
    row = await owe(await subscribe(receiver.url), now())
    async with running(sender, now):
        await receiver.calls(1)
        now.moment += LEASE
        await until(opened_sqlite, ends_as(row, state=DeliveryState.DELIVERED))
    assert not any(failures.values())


@pytest.mark.parametrize("box", [SecretBox("o" * 32), BOX])
async def test_unreadable_secret_is_said_and_nothing_sent(opened_sqlite, sender, receiver, now, box):
    row = await owe(await subscribe(receiver.url, secret="whsec_"), now())
    async with running(sender, now, box=box):
        await until(opened_sqlite, ends_as(row, attempts=1, last_status=None))
    await row.refresh_from_db()
    assert "secret" in row.last_error
    assert receiver.received == receiver.refused == []


def try_once(sender, url, secret=SECRET):
    body = b'{"type":"job.completed","timestamp":"2026-01-01T00:00:00Z","data":{}}'
    return sender.send(url, secret, "msg_1", clock.now(), body)


@pytest.mark.parametrize("settled", [False, True])
async def test_changed_secret_signs_beside_the_old_one_until_that_is_ended(
    opened, sender, now, aiohttp_client, tmp_path, settled
):
    api = await started(aiohttp_client, application(opened, tmp_path, allow_private_webhook_targets=True))
    row = await subscribe("http://127.0.0.1:9/")
    path = f"/api/subscriptions/{row.id}"
    new = (await api.post(f"{path}/rotate", {})).json["secret"]
    if settled:
        assert (await api.put(path, {"second_secret": None})).json["two_secrets"] is False
    async with running(sender, now):
        for secret, accepted in ((SECRET, not settled), (new, True)):  # a receiver knows one of them
            async with WebhookReceiver(secret, clock=now) as receiver:
                await api.put(path, {"url": receiver.url})
                await until(opened, ends_as(await owe(row, now()), attempts=1))
            assert (len(receiver.received), len(receiver.refused)) == (accepted, not accepted)


@pytest.fixture
async def guarded():
    async with WebhookSender(allow_private_targets=False) as sender:
        yield sender


PRIVATE_TARGETS = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f000001"]
ODD_NOTATIONS = ["localhost.", "2130706433", "127.1", "0177.0.0.1", "0", "127.0.0.1%2f", "①②⑦.⓪.⓪.①"]


@pytest.mark.parametrize("host", PRIVATE_TARGETS)
async def test_private_target_is_refused_and_said(guarded, host):
    async with WebhookReceiver(SECRET) as receiver:
        answer = await try_once(guarded, f"http://{host}:{receiver.port}/T0PSECRET")
        assert receiver.received == receiver.refused == []
    assert answer.status is None
    assert "has no public address" in answer.error
    assert "LOCUTUS_ALLOW_PRIVATE_WEBHOOK_TARGETS" in answer.error
    assert "T0PSECRET" not in answer.error


@pytest.mark.parametrize("host", ODD_NOTATIONS)
async def test_odd_notation_of_a_private_address_reaches_nothing(guarded, host):
    async with WebhookReceiver(SECRET) as receiver:
        answer = await try_once(guarded, f"http://{host}:{receiver.port}/")
        assert receiver.received == receiver.refused == []
    assert answer.status is None
    assert answer.error


async def test_name_whose_address_turned_private_is_refused(guarded, monkeypatch):
    async def rebound(host, port=0, family=0):
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    monkeypatch.setattr(guarded._resolver, "resolve", rebound)
    async with WebhookReceiver(SECRET) as receiver:
        answer = await try_once(guarded, f"http://hooks.example.org:{receiver.port}/")
        assert receiver.received == receiver.refused == []
    assert answer.error.startswith("hooks.example.org has no public address.")


async def test_proxy_of_the_environment_is_not_used(sender, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with WebhookReceiver(SECRET) as receiver:
        assert await try_once(sender, receiver.url) == Answer(200)


async def test_endpoint_that_drops_the_connection_is_named_by_its_host_only(sender):
    async with WebhookReceiver(SECRET, Say(drop=True)) as receiver:
        answer = await try_once(sender, receiver.url.replace("http://", "http://user:pw@") + "/T0PSECRET")
    assert answer == Answer(None, "127.0.0.1 ended the call without an answer (ServerDisconnectedError).")


async def test_refused_connection_is_said(sender):
    answer = await try_once(sender, f"http://127.0.0.1:{free_port()}/")
    assert answer == Answer(None, "No connection to 127.0.0.1 (Connection refused).")


async def test_endpoint_that_does_not_answer_is_given_up():
    async with (
        WebhookReceiver(SECRET, Say(hold=asyncio.Event())) as receiver,
        WebhookSender(allow_private_targets=True, timeout_s=0.2) as impatient,
    ):
        assert await try_once(impatient, receiver.url) == Answer(None, "127.0.0.1 did not answer in time.")


async def test_strict_receiver_refuses_another_secret(sender):
    async with WebhookReceiver(SECRET) as receiver:
        answer = await try_once(sender, receiver.url, secret="whsec_" + base64.b64encode(b"x" * 32).decode())
        assert (answer.status, receiver.refused) == (401, ["No matching signature found"])


async def test_certificate_that_nobody_trusts_is_refused(sender, tmp_path):
    async with WebhookReceiver(SECRET, tls=untrusted_tls(tmp_path)) as receiver:
        answer = await try_once(sender, receiver.url)
        assert receiver.received == receiver.refused == []
    assert answer == Answer(None, "The TLS certificate of 127.0.0.1 is not trusted.")
