"""Tokens, role bindings, subscriptions, settings and hosts over HTTP: their lives, their refusals, their secrets."""

import base64
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from structlog.testing import capture_logs

from jobs.access import ROLE_NAMES
from jobs.clock import now
from jobs.events import EVENT_NAMES
from jobs.models import ApiToken, AuditEntry, Delivery, Host, RoleBinding, Setting, Subscription
from jobs.secrets import SecretBox
from tests.fakes.gateway import SECRET_KEY, application, started
from tests.fakes.instance import repository_row
from webhooks.api import fields, subscriptions
from webhooks.api.stored_secrets import new_signing_secret
from webhooks.outbound import WebhookSender
from worker.deliveries import Deliveries

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://ci.example/hook"


@pytest.fixture
async def api(opened_sqlite, aiohttp_client, tmp_path):
    return await started(aiohttp_client, application(opened_sqlite, tmp_path))


def test_words_of_the_api_are_the_domains():
    assert get_args(fields.RoleName) == ROLE_NAMES
    assert get_args(subscriptions.EventName) == EVENT_NAMES


@pytest.mark.parametrize(
    ("path", "body", "change", "expected"),
    [
        ("tokens", {"name": "ci", "role": "view"}, {"role": "operate"}, {"name": "ci", "role": "operate"}),
        (
            "role-bindings",
            {"subject": "slack:T1:U1", "role": "view", "repositories": ["photos"]},
            {"repositories": None, "channels": ["console"]},
            {"subject": "slack:T1:U1", "role": "view", "repositories": None, "channels": ["console"]},
        ),
        (
            "subscriptions",
            {"url": URL, "secret": SECRET},
            {"events": ["job.failed"], "enabled": False},
            {"url": URL, "events": ["job.failed"], "enabled": False, "repositories": None},
        ),
    ],
)
async def test_resource_is_made_shown_changed_listed_and_removed(api, opened_sqlite, path, body, change, expected):
    await repository_row("photos", Path("/r"), [])
    collection = f"/api/{path}"
    made = await api.post(collection, body)
    assert made.status == 201
    one = f"{collection}/{made.json['id']}"
    assert made.headers["Location"].endswith(one)
    shown = (await api.get(one)).json
    assert shown.items() <= made.json.items()
    assert (await api.put(one, {"colour": "red"})).json["field"] == "colour"
    changed = await api.put(one, shown | change)
    assert changed.status == 200
    assert expected.items() <= changed.json.items()
    assert (await api.get(collection)).json == {"items": [changed.json], "next_cursor": None}
    assert (await api.delete(one)).status == 204
    for reply in (await api.get(one), await api.put(one, change), await api.delete(one)):
        assert reply.status == 404
    actions = [entry.action.rpartition(".")[2] for entry in await AuditEntry.all().order_by("id")]
    assert actions == ["add", "change", "remove"]


async def test_token_is_answered_once_and_stored_as_its_digest(api):
    made = (await api.post("/api/tokens", {"name": "ci", "role": "view"})).json
    listed = await api.get("/api/tokens")
    assert made["token"] not in listed.text
    assert "digest" not in listed.text
    row = await ApiToken.get(name="ci")
    assert made["token"] not in str(dict(row))
    assert made["token"] not in str([entry.detail for entry in await AuditEntry.all()])


async def test_token_name_is_given_once_and_admin_is_taken(api):
    await api.post("/api/tokens", {"name": "ci", "role": "view"})
    assert (await api.post("/api/tokens", {"name": "ci", "role": "operate"})).status == 409
    assert (await api.post("/api/tokens", {"name": "admin", "role": "view"})).json["field"] == "name"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "CI", "role": "view"}, "name"), ({"name": "", "role": "view"}, "name"), ({"name": "ci"}, "role"),
        ({"name": "ci", "role": "root"}, "role"), ({"name": "ci", "role": "view", "expires_at": "soon"}, "expires_at"),
        ({"name": "ci", "role": "view", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"name": "ci", "role": "view", "expires_at": 4102444800}, "expires_at"),
        ({"name": "ci", "role": "view", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ],
)  # fmt: skip
async def test_refused_token_names_its_field(api, body, field):
    assert (await api.post("/api/tokens", body)).json["field"] == field


async def test_expiry_can_be_moved_to_a_later_time_only(api):
    made = (
        await api.post("/api/tokens", {"name": "ci", "role": "view", "expires_at": "2090-01-01T02:00:00+02:00"})
    ).json
    assert made["expires_at"] == "2090-01-01T00:00:00Z"
    one = f"/api/tokens/{made['id']}"
    refused = await api.put(one, {"expires_at": "2020-01-01T00:00:00Z"})
    assert (refused.status, refused.json["field"]) == (422, "expires_at")
    assert (await api.put(one, {"expires_at": None})).json["expires_at"] is None


async def test_expired_token_is_changed_by_sending_back_what_was_answered(api):
    made = (await api.post("/api/tokens", {"name": "ci", "role": "view"})).json
    await ApiToken.filter(name="ci").update(expires_at=now() - timedelta(days=1))
    one = f"/api/tokens/{made['id']}"
    reply = await api.put(one, (await api.get(one)).json | {"role": "operate"})
    assert (reply.status, reply.json["role"]) == (200, "operate")


async def test_secret_is_made_when_none_is_given_answered_once_and_encrypted(api):
    made = (await api.post("/api/subscriptions", {"url": URL})).json
    secret = made["secret"]
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert made["events"] == ["job.completed", "job.failed", "job.cancelled"]
    row = await Subscription.get(id=made["id"])
    assert SecretBox(SECRET_KEY).decrypt(row.secret) == secret
    for path in ("/api/subscriptions", f"/api/subscriptions/{row.id}"):
        text = (await api.get(path)).text
        assert secret not in text
        assert row.secret not in text


async def test_given_secret_is_never_answered_and_can_be_changed(api):
    made = await api.post("/api/subscriptions", {"url": URL, "secret": SECRET})
    assert made.json["secret"] is None
    other = new_signing_secret()
    changed = await api.put(f"/api/subscriptions/{made.json['id']}", {"secret": other})
    assert SECRET not in made.text
    assert other not in changed.text
    assert SecretBox(SECRET_KEY).decrypt((await Subscription.get(id=made.json["id"])).secret) == other


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"url": "ftp://x/y"}, "url"), ({"url": "https://u:p@x/y"}, "url"), ({"url": "https://u@x/"}, "url"),
        ({"url": "/hook"}, "url"), ({"url": "https:///x"}, "url"), ({"url": "https://x/#a"}, "url"),
        ({"url": "https://x:0x/"}, "url"), ({"url": "https://x:99999/"}, "url"), ({"url": "https://x/a b"}, "url"),
        ({"url": "https://x/\n"}, "url"), ({"secret": "plain"}, "secret"), ({"secret": "whsec_!!!"}, "secret"),
        ({"secret": "whsec_" + base64.b64encode(b"x" * 23).decode()}, "secret"),
        ({"secret": "whsec_" + base64.b64encode(b"x" * 65).decode()}, "secret"),
        ({"events": []}, "events"), ({"events": ["job.exploded"]}, "events.0"),
        ({"repositories": ["A"]}, "repositories.0"),
    ],
)  # fmt: skip
async def test_refused_subscription_names_its_field_and_no_secret(api, given, field):
    reply = await api.post("/api/subscriptions", {"url": URL} | given)
    assert (reply.status, reply.json["field"]) == (422, field)
    assert str(given.get("secret")) not in reply.text


async def test_enabling_a_subscription_forgets_why_it_was_switched_off(api):
    made = (await api.post("/api/subscriptions", {"url": URL})).json
    await Subscription.filter(id=made["id"]).update(enabled=False, disabled_reason="410")
    reply = await api.put(f"/api/subscriptions/{made['id']}", {"enabled": True})
    assert (reply.json["enabled"], reply.json["disabled_reason"]) == (True, None)


@pytest.mark.parametrize(
    ("subject", "status"),
    [
        ("slack:T1:U1", 201), ("slack:T1:usergroup:S1", 201), ("discord:1:2", 201), ("discord:1:role:2", 201),
        ("token:ci", 201), ("alice", 422), ("slack:U1", 422), ("slack:T1:@alice", 422), ("discord:a:b", 422),
        ("token:", 422), ("token:A", 422), ("slack:T1:U1:x", 422), ("", 422), ("token:ci\n", 422),
    ],
)  # fmt: skip
async def test_subject_follows_the_grammar(api, subject, status):
    assert (await api.post("/api/role-bindings", {"subject": subject, "role": "view"})).status == status


async def test_binding_of_an_unknown_repository_is_refused(api):
    await repository_row("photos", Path("/r"), [])
    body = {"subject": "token:ci", "role": "view"}
    reply = await api.post("/api/role-bindings", body | {"repositories": ["photos", "fotos"]})
    assert (reply.status, reply.json["field"]) == (422, "repositories")
    assert "fotos" in reply.json["detail"]
    made = (await api.post("/api/role-bindings", body | {"repositories": ["photos"]})).json
    reply = await api.put(f"/api/role-bindings/{made['id']}", {"repositories": ["fotos"]})
    assert (reply.status, reply.json["field"]) == (422, "repositories")
    assert await RoleBinding.get().values_list("repositories", flat=True) == ["photos"]


async def test_same_binding_is_made_once(api):
    for name in ("photos", "mail"):
        await repository_row(name, Path(f"/{name}"), [])
    body = {"subject": "token:ci", "role": "view"}
    limited = {"repositories": ["photos", "mail"], "channels": ["console"]}
    first = (await api.post("/api/role-bindings", body | limited)).json
    again = await api.post("/api/role-bindings", body | limited | {"repositories": ["mail", "photos"]})
    assert again.status == 409
    assert f"role binding {first['id']}" in again.json["detail"]
    for other in ({"subject": "token:cd"}, {"role": "operate"}, {"repositories": ["mail"]}, {"channels": None}):
        assert (await api.post("/api/role-bindings", body | limited | other)).status == 201
    second = (await api.post("/api/role-bindings", body)).json
    assert (await api.put(f"/api/role-bindings/{second['id']}", limited)).status == 409
    assert (await api.put(f"/api/role-bindings/{second['id']}", {})).json == second


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001",
        "10.0.0.7", "192.168.1.1", "169.254.169.254", "[::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
    ],
)  # fmt: skip
async def test_subscription_to_a_private_address_is_refused(api, host):
    reply = await api.post("/api/subscriptions", {"url": f"http://{host}:8080/hook"})
    assert (reply.status, reply.json["field"]) == (422, "url")
    assert "LOCUTUS_ALLOW_PRIVATE_WEBHOOK_TARGETS" in reply.json["detail"]
    made = (await api.post("/api/subscriptions", {"url": URL})).json
    assert (await api.put(f"/api/subscriptions/{made['id']}", {"url": f"http://{host}/"})).status == 422


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "localhost.example", "10.example"])
async def test_subscription_to_a_public_address_or_a_name_is_taken(api, host):
    assert (await api.post("/api/subscriptions", {"url": f"https://{host}/"})).status == 201


async def test_private_targets_can_be_allowed(opened_sqlite, aiohttp_client, tmp_path):
    app = application(opened_sqlite, tmp_path, allow_private_webhook_targets=True)
    api = await started(aiohttp_client, app)
    assert (await api.post("/api/subscriptions", {"url": "http://localhost:9/"})).status == 201


async def test_failed_try_is_logged_with_its_reason(api):
    made = (await api.post("/api/subscriptions", {"url": "http://nas.invalid:1/token"})).json
    payload = '{"data": {}}'
    await Delivery.create(
        subscription_id=made["id"], webhook_id="msg_1", event="job.failed", payload=payload, due_at=now()
    )
    async with WebhookSender(allow_private_targets=False) as sender:
        with capture_logs() as logs:
            await Deliveries(sender, SecretBox(SECRET_KEY), "")._deliver(
                await Delivery.get().select_related("subscription")
            )
    (line,) = [entry for entry in logs if entry["event"] == "delivery_tried"]
    assert "nas.invalid" in line["error"]
    assert "/token" not in line["error"]


async def test_settings_have_the_seeds_defaults_and_keep_what_is_put(api):
    before = (await api.get("/api/settings")).json
    assert {name: value for name, value in before.items() if name.startswith("notify_on_")} == {
        "notify_on_backup_start": False, "notify_on_backup_success": False, "notify_on_backup_failure": True,
        "notify_on_restore_success": False, "notify_on_restore_failure": True, "notify_on_check_success": False,
        "notify_on_check_failure": True, "notify_on_schedule_failure": True,
        "notify_on_compact_success": False, "notify_on_compact_failure": True,
        "notify_on_prune_success": False, "notify_on_prune_failure": True,
        "notify_on_package_success": False, "notify_on_package_failure": True,
        "notify_on_backup_overdue": True, "notify_on_host_silent": True,
    }  # fmt: skip
    given = {"notify_on_backup_start": True, "default_channel": "slack:T1:C1", "max_jobs_by_kind": {"backup": 2}}
    assert (await api.put("/api/settings", given)).json == before | given
    assert (await api.put("/api/settings", {"default_channel": None})).json["default_channel"] is None
    assert (await api.get("/api/settings")).json == before | given | {"default_channel": None}
    assert await Setting.all().count() == 2


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"colour": "red"}, "colour"), ({"retention_jobs": 0}, "retention_jobs"),
        ({"default_channel": "x"}, "default_channel"),
        ({"two_person": ["launch"]}, "two_person"), ({"max_jobs_by_kind": {"launch": 1}}, "max_jobs_by_kind"),
        ({"notify_on_backup_start": None}, "notify_on_backup_start"),
    ],
)  # fmt: skip
async def test_refused_setting_changes_nothing(api, given, field):
    reply = await api.put("/api/settings", {"retention_jobs": 5} | given)
    assert (reply.status, reply.json["field"]) == (422, field)
    assert await Setting.all().count() == 0


async def test_settings_can_be_sent_back_as_they_were_answered(api):
    assert (await api.put("/api/settings", {"two_person": ["backup"]})).json["two_person"] == ["backup"]
    assert (await api.put("/api/settings", (await api.get("/api/settings")).json)).status == 200


async def test_hosts_show_whether_they_are_heard_of(api):
    await Host.create(
        name="nas", last_seen_at=now(), borg_version="1.4.1", data_directory_id="ab" * 8, public_key="key"
    )
    await Host.create(name="web", last_seen_at=now() - timedelta(minutes=4))
    viewer = await api.token("ci", "view")
    web, nas = (await viewer.get("/api/hosts")).json["items"]
    assert (nas["name"], nas["silent"], nas["borg_version"], nas["fingerprint"]) == ("nas", False, "1.4.1", "ab" * 8)
    assert (web["name"], web["silent"]) == ("web", True)
    assert (await viewer.get(f"/api/hosts/{nas['id']}")).json == nas


async def test_token_that_asks_too_often_is_told_when_to_ask_again(opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    refused = await api.post("/api/tokens", {"name": "ci", "role": "view", "rate_limit": "often"})
    assert (refused.status, refused.json["field"]) == (422, "rate_limit")
    made = await api.post("/api/tokens", {"name": "ci", "role": "view", "rate_limit": "2/h"})
    limited = api.with_token(made.json["token"])
    assert [(await limited.get("/api/jobs")).status for _ in range(2)] == [200, 200]
    reply = await limited.get("/api/jobs")
    assert (reply.status, 1700 < int(reply.headers["Retry-After"]) <= 1800) == (429, True)
    assert "Ask again in" in reply.json["detail"]
    await api.put(f"/api/tokens/{made.json['id']}", {"rate_limit": None})
    assert (await limited.get("/api/jobs")).status == 200
