"""Hooks in: a signed delivery starts its job once; everything else is refused, and writes nothing."""

import asyncio
import io
import itertools
import json
from datetime import timedelta
from functools import partial
from urllib.parse import urlencode

import pytest

from jobs import expiry, lifecycle
from jobs.clock import now
from jobs.database.unit import unit
from jobs.job_type import Parameters
from jobs.lifecycle import Ending
from jobs.models import AuditEntry, Hook, HookDelivery, Job
from jobs.types import JOB_TYPES
from jobs.types.backup import Backup
from jobs.view import JobStatus
from tests.fakes import hook_senders
from tests.fakes.gateway import Api, application, started
from tests.fakes.hook_senders import FORGE_SECRET, SENDERS, STANDARD_SECRET, github, standard
from tests.fakes.tables import row_counts


class NotedParameters(Parameters):
    note: str = "none"
    count: int = 0


class Noted(Backup):
    """A backup that takes parameters."""

    kind = "noted"
    parameters = NotedParameters


@pytest.fixture(autouse=True)
def noted(monkeypatch):
    monkeypatch.setitem(JOB_TYPES, "noted", Noted())


async def gateway_of(queue, aiohttp_client, directory, **overrides):
    api = await started(aiohttp_client, application(queue, directory, **overrides))
    await api.repository("photos")
    return api


@pytest.fixture
async def api(opened_sqlite, aiohttp_client, tmp_path):
    return await gateway_of(opened_sqlite, aiohttp_client, tmp_path)


@pytest.fixture
async def api_of_both(opened, aiohttp_client, tmp_path):
    return await gateway_of(opened, aiohttp_client, tmp_path)


async def hook(api, scheme="standard", action=None, **fields):
    secret = STANDARD_SECRET if scheme == "standard" else FORGE_SECRET
    action = {"kind": "backup", "repository": "photos", **(action or {})}
    given = {"name": "deploy", "scheme": scheme, "secret": secret, "action": action, "coalesce": False}
    reply = await api.post("/api/hooks", given | fields)
    assert reply.status == 201, reply.text
    return reply.json


async def send(api, signed, path="/hooks/deploy", **options):
    headers, body = signed
    return await Api(api.client, None).call("POST", path, headers=headers | options.pop("headers", {}), data=body)


@pytest.mark.parametrize("scheme", SENDERS)
async def test_signed_delivery_starts_one_job_however_often_it_comes(api_of_both, scheme):
    api = api_of_both
    await hook(api, scheme)
    signed = SENDERS[scheme]()
    first = await send(api, signed)
    again = await send(api, signed)
    assert (first.status, again.status) == (202, 200)
    assert again.json == first.json
    assert first.json["wait_url"].endswith(f"/api/jobs/{first.json['job_id']}?wait=60")
    assert first.headers["Location"] == first.json["status_url"]
    job = await Job.get()
    assert (job.id, job.kind, job.origin, job.requested_by) == (first.json["job_id"], "backup", "hook", "hook:deploy")
    assert (await AuditEntry.get(action="backup.run")).subject == "hook:deploy"
    assert (await send(api, SENDERS[scheme]())).status == 202


async def test_repetition_is_known_when_the_job_has_ended_and_redis_was_flushed(opened_sqlite, api):
    await hook(api)
    signed = standard()
    first = await send(api, signed)
    await unit(partial(lifecycle.end, 1, 1, Ending(JobStatus.FAILED)))
    await opened_sqlite.redis.flushall()
    again = await send(api, signed)
    assert (again.status, again.json) == (200, first.json)


@pytest.mark.parametrize(
    "change",
    [
        {"enabled": False},
        {"when": {"ref": "other"}},
        {"action": {"kind": "noted", "repository": "photos", "mapping": {"note": "/none"}}},
    ],
)
async def test_repetition_is_answered_alike_whatever_became_of_the_hook(api, change):
    made = await hook(api)
    signed = standard()
    first = await send(api, signed)
    assert (await api.put(f"/api/hooks/{made['id']}", change)).status == 200
    again = await send(api, signed)
    assert (again.status, again.json) == (200, first.json)
    assert (await send(api, standard())).status in {204, 409, 422}


@pytest.mark.parametrize(
    ("scheme", "wrong"),
    [pair for pair in itertools.product(SENDERS, ("secret", "body", "unsigned")) if pair != ("gitlab", "body")],
)
async def test_bad_signature_is_refused_and_writes_nothing(api, scheme, wrong):
    await hook(api, scheme)
    before = await row_counts()
    other = {"secret": STANDARD_SECRET[:-4] + "AAAA" if scheme == "standard" else "another secret"}
    headers, body = SENDERS[scheme](**(other if wrong == "secret" else {}))
    if wrong == "unsigned":
        headers = {name: value for name, value in headers.items() if "ignature" not in name and "Token" not in name}
    elif wrong == "body":
        body += b" "
    reply = await send(api, (headers, body))
    assert reply.status == 401
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert await row_counts() == before


async def test_body_that_is_no_json_is_verified_before_it_is_parsed(api):
    await hook(api, "github")
    headers, body = github(b"\xff{ no json")
    assert (await send(api, (headers, body))).status == 400
    assert (await send(api, ({**headers, "X-Hub-Signature-256": "sha256=00"}, body))).status == 401
    assert (await send(api, github(b"[]"))).status == 400
    assert await Job.all().count() == 0


async def test_text_about_nul_is_taken_and_a_nul_is_not(api):
    await hook(api, "github")
    for text, status in ((r"\\u0000", 202), (r"\u0000", 400), (r"\\\u0000", 400), (r"\n\\\\u0000", 202)):
        assert (await send(api, github(b'{"message": "say %s"}' % text.encode()))).status == status


async def test_forms_payload_is_read_as_forges_send_it(api):
    await hook(api, "github", when={"ref": "refs/heads/main"})
    body = urlencode({"payload": json.dumps({"ref": "refs/heads/main"})}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await send(api, github(body), headers=form)).status == 202


async def test_json_that_is_called_a_form_is_read_as_json(api):
    await hook(api, "github", when={"ref": "a*"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await send(api, github({"ref": "a&payload={}"}), headers=form)).status == 202
    assert (await send(api, github(b"ref=main"), headers=form)).status == 400


async def test_name_and_id_that_no_database_keeps_are_refused(api_of_both):
    api = api_of_both
    await hook(api, "github")
    assert (await send(api, github(), "/hooks/a%00b")).status == 404
    headers, body = github({})
    lines = [f"{name}: {value}".encode() for name, value in ({**headers, "X-GitHub-Delivery": ""}).items()]
    server = api.client.server
    reading, writing = await asyncio.open_connection(server.host, server.port)
    request = b"\r\n".join([b"POST /hooks/deploy HTTP/1.1\r\nHost: x\r\nContent-Length: %d" % len(body), *lines])
    writing.write(request.replace(b"Delivery: ", b"Delivery: \xff\xfe") + b"\r\n\r\n" + body)
    assert (await reading.readline()).split()[1] == b"400"
    writing.close()


async def test_unknown_hook_is_not_found_and_one_switched_off_says_so(api):
    assert (await send(api, standard())).status == 404
    made = await hook(api)
    await api.put(f"/api/hooks/{made['id']}", {"enabled": False})
    reply = await send(api, standard())
    assert (reply.status, "switched off" in reply.json["detail"]) == (409, True)
    assert (await send(api, standard(secret=STANDARD_SECRET[:-4] + "AAAA"))).status == 401


async def test_delivery_that_is_not_meant_is_answered_204_and_writes_nothing(api):
    await hook(api, "github", when={"event": ["push", "release"], "ref": "refs/heads/*"})
    before = await row_counts()
    for signed in (github({"ref": "refs/tags/v1"}), github({"ref": "refs/heads/x"}, "issues"), github({})):
        assert (await send(api, signed)).status == 204
    assert await row_counts() == before
    assert (await send(api, github({"ref": "refs/heads/x"}, "release"))).status == 202


async def test_ping_of_a_forge_starts_nothing_unless_it_is_meant(api):
    await hook(api, "github")
    assert (await send(api, github({"zen": "Keep it logically awesome."}, "ping"))).status == 204
    await hook(api, "gitea", name="pinged", when={"event": "ping"})
    assert (await send(api, hook_senders.gitea({}, "ping"), "/hooks/pinged")).status == 202


async def test_type_of_a_standard_webhook_is_its_event(api):
    await hook(api, when={"event": "deploy.*"})
    assert (await send(api, standard({"type": "deploy.done"}))).status == 202
    assert (await send(api, standard({"type": "other"}))).status == 204


async def test_deliveries_join_the_hooks_job_that_waits(api_of_both):
    api = api_of_both
    await hook(api, coalesce=True)
    first = await send(api, standard())
    joined = await send(api, standard())
    assert (joined.status, joined.json) == (200, first.json)
    job = await Job.get()
    await unit(partial(lifecycle.start, job, data_directory_id="d", archive_name="a"))
    assert (await send(api, standard())).json["job_id"] != job.id
    assert await HookDelivery.all().count() == 3


async def test_delivery_does_not_join_a_job_that_does_other_work(api):
    await hook(api, action={"kind": "noted", "mapping": {"note": "/who"}}, coalesce=True)
    jobs = [(await send(api, standard({"who": who}))).json["job_id"] for who in ("a", "b", "a")]
    assert jobs == [1, 2, 1]


async def test_parameters_are_fixed_or_come_from_the_payload_through_the_kinds_own_model(api):
    await hook(api, action={"kind": "noted", "parameters": {"count": 3}, "mapping": {"note": "/commits/0/id"}})
    assert (await send(api, standard({"commits": [{"id": "--rsh=sh; rm -rf /"}]}))).status == 202
    assert (await Job.get()).parameters == {"note": "--rsh=sh; rm -rf /", "count": 3}
    before = await row_counts()
    for payload, field in (({}, "note"), ({"commits": [{"id": {"a": 1}}]}, "note")):
        reply = await send(api, standard(payload))
        assert (reply.status, reply.json["field"]) == (422, field)
    assert await row_counts() == before


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "Deploy it"}, "name"),
        ({"scheme": "slack"}, "scheme"),
        ({"secret": "whsec_short"}, "secret"),
        ({"scheme": "github", "secret": "short"}, "secret"),
        ({"scheme": "gitlab", "secret": "whsec_!!!!!!!!"}, "secret"),
        ({"action": {"kind": "dance"}}, "kind"),
        ({"action": {"kind": "noted", "parameters": {"count": "many"}}}, "action.parameters.count"),
        ({"action": {"kind": "noted", "parameters": {"rsh": "sh"}}}, "action.parameters.rsh"),
        ({"action": {"kind": "noted", "mapping": {"rsh": "/a"}}}, "action.mapping.rsh"),
        ({"action": {"kind": "noted", "mapping": {"note": "a"}}}, "action.mapping.note"),
        ({"action": {"kind": "noted", "mapping": {"count": "/a"}, "parameters": {"count": 1}}}, "action.mapping.count"),
        ({"rate_limit": "60"}, "rate_limit"),
        ({"allowed_addresses": ["example.org"]}, "allowed_addresses.0"),
        ({"when": {"a": {"b": 1}}}, "when.a"),
        ({"channel": "#general"}, "channel"),
    ],
)
async def test_hook_that_could_not_work_is_refused_by_field(api, fields, field):
    before = await row_counts()
    fields = {"action": {}, **fields}
    fields["action"] = {"kind": "backup", "repository": "photos", **fields["action"]}
    given = {"name": "deploy", "scheme": "standard", "secret": STANDARD_SECRET}
    reply = await api.post("/api/hooks", given | fields)
    assert reply.status == 422
    assert reply.json["field"].startswith(field)
    assert await row_counts() == before


async def test_hook_is_answered_without_its_secrets_and_changed_by_field(api):
    made = await hook(api, "github", when={"event": "push"}, rate_limit="60/m", allowed_addresses=["10.0.0.0/8"])
    assert made["url"].endswith("/hooks/deploy")
    shown = (await api.get(f"/api/hooks/{made['id']}")).json
    assert shown == {name: value for name, value in made.items() if name not in {"url", "secret"}}
    assert (await api.get("/api/hooks")).json["items"] == [shown]
    assert FORGE_SECRET not in json.dumps([shown, made])
    assert FORGE_SECRET not in (await Hook.get()).secret
    changed = await api.put(f"/api/hooks/{made['id']}", {**shown, "when": {}, "coalesce": True})
    assert changed.json == {**shown, "when": {}, "coalesce": True}
    assert (await api.post("/api/hooks", {**shown, "name": "deploy"})).status == 422
    assert (await api.delete(f"/api/hooks/{made['id']}")).status == 204
    assert (await send(api, github())).status == 404


async def test_secret_is_made_where_none_is_given(api):
    made = await api.post(
        "/api/hooks", {"name": "x", "scheme": "standard", "action": {"kind": "backup", "repository": "photos"}}
    )
    assert (await send(api, standard(secret=made.json["secret"]), "/hooks/x")).status == 202
    doubled = await api.post(
        "/api/hooks", {"name": "x", "scheme": "github", "action": {"kind": "backup", "repository": "photos"}}
    )
    assert doubled.status == 409


@pytest.mark.parametrize("scheme", SENDERS)
async def test_secret_is_rotated_without_a_gap(api_of_both, scheme):
    api, sender = api_of_both, SENDERS[scheme]
    made = await hook(api, scheme)
    rotated = (await api.post(f"/api/hooks/{made['id']}/rotate", {})).json
    assert rotated["two_secrets"]
    for signed in (sender(), sender(secret=rotated["secret"])):
        assert (await send(api, signed)).status == 202
    assert (await send(api, sender(secret=STANDARD_SECRET[:-4] + "AAAA"))).status == 401
    changed = await api.put(f"/api/hooks/{made['id']}", {"second_secret": None})
    assert changed.json["two_secrets"] is False
    assert (await send(api, sender())).status == 401
    assert (await send(api, sender(secret=rotated["secret"]))).status == 202


async def test_gitlab_changes_from_a_token_to_a_signing_token_without_a_gap(api):
    made = await hook(api, "gitlab")
    reply = await api.post(f"/api/hooks/{made['id']}/rotate", {"secret": STANDARD_SECRET})
    assert reply.json["two_secrets"]
    signed, body = standard()
    for delivery in (SENDERS["gitlab"](), ({"X-Gitlab-Event": "Push Hook", **signed}, body)):
        assert (await send(api, delivery)).status == 202


async def test_rate_is_limited_across_repetitions_and_told(api):
    await hook(api, rate_limit="2/h")
    signed = standard()
    assert [(await send(api, each)).status for each in (signed, standard(), signed)] == [202, 202, 200]
    refused = await send(api, standard())
    assert (refused.status, 3500 < int(refused.headers["Retry-After"]) <= 3600) == (429, True)
    await HookDelivery.all().update(received_at=now() - timedelta(minutes=61))
    assert (await send(api, standard())).status == 202


async def test_only_allowed_addresses_reach_a_hook(opened_sqlite, aiohttp_client, tmp_path):
    api = await gateway_of(opened_sqlite, aiohttp_client, tmp_path, trusted_proxies="127.0.0.1,192.0.2.9")
    await hook(api, allowed_addresses=["198.51.100.0/24", "2001:db8::/32"])

    async def status(forwarded):
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        return (await send(api, standard(), headers=headers)).status

    assert await status(None) == 403
    assert await status("198.51.100.7") == 202
    assert await status("203.0.113.1, 2001:db8::1, 192.0.2.9") == 202
    assert await status("198.51.100.7, 203.0.113.1") == 403
    assert await status("198.51.100.7, nonsense") == 403
    assert await Job.all().count() == 2


async def test_forwarded_address_of_an_untrusted_proxy_is_not_believed(api):
    await hook(api, allowed_addresses=["198.51.100.0/24"])
    assert (await send(api, standard(), headers={"X-Forwarded-For": "198.51.100.7"})).status == 403


async def test_body_beyond_the_limit_is_refused(api):
    await hook(api)
    headers, body = standard(b" " * (1024**2 + 1))
    assert (await send(api, (headers, io.BytesIO(body)))).status == 413
    assert await Job.all().count() == 0


async def test_sender_that_hangs_up_is_no_error_of_ours(api, capsys):
    await hook(api, "github")
    capsys.readouterr()
    server = api.client.server
    _, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b"POST /hooks/deploy HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await send(api, github())).status == 202
    assert "request_failed" not in capsys.readouterr().err


async def test_removed_repository_is_said_and_a_renamed_one_followed(api):
    await hook(api)
    await api.put("/api/repositories/photos", {"name": "pictures"})
    assert (await send(api, standard())).status == 202
    assert (await Job.get()).repository_name == "pictures"
    await unit(partial(lifecycle.end, 1, 1, Ending(JobStatus.CANCELLED)))
    assert (await api.delete("/api/repositories/pictures")).status == 204
    reply = await send(api, standard())
    assert (reply.status, "was removed" in reply.json["detail"]) == (409, True)


async def test_holder_of_the_secret_waits_for_the_hooks_own_jobs_alone(api):
    await hook(api)
    job_id = (await send(api, standard())).json["job_id"]
    await api.post("/api/backup/run", {"repository": "photos"})
    anonymous = Api(api.client, None)

    async def show(number, signed_path=None):
        headers, _ = standard((signed_path or f"GET /hooks/deploy/jobs/{number}").encode())
        return await anonymous.get(f"/hooks/deploy/jobs/{number}?wait=60", headers=headers)

    await unit(partial(lifecycle.end, job_id, 1, Ending(JobStatus.CANCELLED)))
    assert (await show(job_id)).json["status"] == "cancelled"
    assert (await show(2)).status == 404
    assert (await show(job_id, "GET /hooks/deploy/jobs/2")).status == 401
    assert (await anonymous.get(f"/hooks/deploy/jobs/{job_id}")).status == 401
    # What is signed to look does not start anything.
    assert (await send(api, standard(f"GET /hooks/deploy/jobs/{job_id}".encode()))).status == 400


async def test_many_at_once_make_one_job_for_each_distinct_delivery(api_of_both):
    api = api_of_both
    await hook(api)
    deliveries = [standard({"n": number}) for number in range(40)]
    replies = await asyncio.gather(*(send(api, signed) for signed in deliveries * 3))
    by_id = {}
    for (headers, _), reply in zip(deliveries * 3, replies, strict=True):
        by_id.setdefault(headers["webhook-id"], []).append(reply)
    assert all(sorted(reply.status for reply in group) == [200, 200, 202] for group in by_id.values())
    assert all(len({reply.json["job_id"] for reply in group}) == 1 for group in by_id.values())
    assert await Job.all().count() == len(deliveries)


async def test_refusal_of_one_takes_nothing_from_those_that_are_committed_with_it(api_of_both):
    api = api_of_both
    await hook(api, action={"kind": "noted", "mapping": {"count": "/n"}})
    replies = await asyncio.gather(*(send(api, standard({"n": number if number % 3 else "x"})) for number in range(30)))
    assert [reply.status for reply in replies] == [202 if number % 3 else 422 for number in range(30)]
    assert await Job.all().count() == await HookDelivery.all().count() == 20


async def test_delivery_ids_are_kept_for_seven_days(api):
    await hook(api)
    signed = standard()
    await send(api, signed)
    await HookDelivery.all().update(received_at=now() - timedelta(days=6, hours=23))
    await expiry.expire()
    assert (await send(api, signed)).status == 200
    await HookDelivery.all().update(received_at=now() - timedelta(days=7, hours=1))
    await expiry.expire()
    assert await HookDelivery.all().count() == 0


async def test_hook_takes_a_template_and_a_chain(api):
    await api.post("/api/templates", {"name": "weekly", "kind": "prune", "parameters": {"keep_weekly": 4}})
    action = {"kind": "prune", "template": "weekly", "then": ["compact"]}
    await hook(api, action=action, coalesce=True)
    first, joined = await send(api, standard()), await send(api, standard())
    assert (first.status, joined.status) == (202, 200)
    job = await Job.get()
    assert (job.kind, job.parameters["keep_weekly"]) == ("prune", 4)
    assert [step["kind"] for step in job.follow_ups] == ["compact"]
    refused = await api.post(
        "/api/hooks",
        {"name": "x", "scheme": "github", "action": {**action, "repository": "photos", "then": ["backup"]}},
    )
    assert refused.status == 422
