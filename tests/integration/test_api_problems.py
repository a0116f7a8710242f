"""Every error is a problem document that says what is wrong, and none says more than that."""

import asyncio
import io
import json
import re

import asyncpg
import pytest
from aiohttp import web
from pydantic import ValidationError

from jobs.field_errors import TIME
from tests.fakes.gateway import application, started
from webhooks import health, reading
from webhooks.app import ROUTES
from webhooks.problems import InvalidFieldsError

PATTERN = "it is not written as it should be; `locutus openapi` shows the pattern."


async def fail(request):
    raise RuntimeError("the inner secret")


async def move(request):
    raise web.HTTPFound("/elsewhere")


def add_failing(app):
    app.router.add_get("/fail", fail)
    app.router.add_get("/move", move)


@pytest.fixture
async def api(opened_sqlite, aiohttp_client, tmp_path):
    return await started(aiohttp_client, application(opened_sqlite, tmp_path, extra=[add_failing]))


def problem(reply, status):
    assert reply.status == status, reply.text
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert reply.json["status"] == status
    assert reply.json["title"]
    assert reply.json["detail"]
    assert len(reply.json["request_id"]) == 32
    return reply.json


@pytest.mark.parametrize("path", ["/api/nothing", "/api/jobs/seven", "/api/jobs/99999999999", "/api/jobs/7"])
async def test_unknown_path_or_row_is_404(api, path):
    problem(await api.get(path), 404)


async def test_wrong_method_is_405_and_names_the_right_ones(api):
    reply = await api.delete("/api/jobs")
    assert "GET" in problem(reply, 405)["detail"]
    assert reply.headers["Allow"] == "GET"


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"name": NaN}', b"[" * 5000, b'{"name": "\\ud800"}', b'{"name": "\\u0000"}']
)
async def test_body_that_is_no_json_is_400(api, body):
    problem(await api.call("POST", "/api/tokens", data=body), 400)


@pytest.mark.parametrize("body", ["[]", "7", "null", '"text"'])
async def test_body_that_is_no_object_is_422(api, body):
    assert problem(await api.call("POST", "/api/tokens", data=body), 422)["field"] == "body"


async def test_too_large_a_body_is_413(api):
    problem(await api.call("POST", "/api/tokens", data=io.BytesIO(b" " * (1024**2 + 1))), 413)


async def test_refused_fields_are_named_without_their_values(api):
    reply = problem(await api.post("/api/tokens", {"name": "ci", "role": "emperor", "colour": "hunter2"}), 422)
    assert [error["field"] for error in reply["errors"]] == ["role", "colour"]
    assert reply["field"] == "role"
    assert "hunter2" not in json.dumps(reply)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=201", "limit"), ("limit=ten", "limit"), ("cursor=abc", "cursor"),
        ("state=failed", "state"), ("status=lost", "status"), ("since=yesterday", "since"),
        ("since=2024-01-01T00:00:00", "since"), ("since=2020", "since"), ("until=1700000000", "until"),
        ("since=2024-01-01", "since"), ("since=2024-02-30T00:00:00Z", "since"), ("since=", "since"),
        ("since=2024-01-01T00:00Z", "since"), ("until=0001-01-01T00:00:00%2B14:00", "until"),
        ("parent_id=99999999999", "parent_id"), ("host=%00", "host"),
        ("host=a&host=b", "host"),
    ],
)  # fmt: skip
async def test_refused_query_is_named(api, query, field):
    assert problem(await api.get(f"/api/jobs?{query}"), 422)["field"] == field


@pytest.mark.parametrize("moment", ["2024-01-01T00:00:00Z", "2024-01-01t00:00:00.123z", "2024-01-01T00:00:00%2B02:00"])
async def test_time_of_rfc_3339_is_taken(api, moment):
    assert (await api.get(f"/api/jobs?since={moment}")).status == 200


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        ("backup/run", "[]", "body", "give a JSON object."),
        ("backup/run", '{"rsh": "x", "repository": "a"}', "rsh", "there is no such field."),
        ("backup/run", "{}", "repository", "this field is needed."),
        ("backup/run", '{"repository": "A"}', "repository", PATTERN),
        ("backup/run", '{"repository": "a", "priority": "now"}', "priority", "give one of 'high', 'normal' or 'low'."),
        ("backup/run", '{"repository": [7]}', "repository", "give a text."),
        ("tokens", '{"name": "ci", "role": "view", "expires_at": 1700000000}', "expires_at", f"{TIME}."),
        ("subscriptions", '{"url": "https://x/", "events": []}', "events", "it is too short: 1 is the least length."),
    ],
)  # fmt: skip
async def test_refused_field_is_told_why_in_plain_words(api, path, body, field, message):
    reply = problem(await api.call("POST", f"/api/{path}", data=body), 422)
    assert reply["detail"] == f"{field}: {message}"
    assert reply["errors"] == [{"field": field, "message": message}]


VALUES = (
    None,
    True,
    7,
    -1,
    10**30,
    1.5,
    "",
    "x",
    "2" * 5000,
    "\n",
    [],
    [7],
    ["x"] * 2000,
    {},
    {"a": "b"},
    {"backup": 0},
)
MODELS = {model for route in ROUTES for model in (route.body, route.query) if model}


@pytest.mark.parametrize("model", sorted(MODELS, key=str), ids=lambda model: model.__name__)
def test_no_refusal_speaks_of_the_library(model):
    for given in (*VALUES, *(dict.fromkeys(model.model_fields, value) for value in VALUES)):
        try:
            model.model_validate(given)
        except ValidationError as error:
            messages = [refused.message for refused in InvalidFieldsError.of(error, "body").errors]
            assert not [message for message in messages if re.search("[Ii]nput|should (have|match)|valid ", message)]


@pytest.mark.parametrize("token", [b"\xff\xfe", b"\xc3\x28", "schlüssel".encode()])
async def test_token_that_is_no_ascii_is_401(api, token):
    server = api.client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    lines = [b"GET /api/jobs HTTP/1.1", b"Host: x", b"Connection: close", b"Authorization: Bearer " + token, b"", b""]
    writer.write(b"\r\n".join(lines))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_readiness_without_a_database_is_503(api, monkeypatch):
    async def refused():
        raise asyncpg.CannotConnectNowError("the database system is shutting down")

    monkeypatch.setattr(health, "_workers_answer", refused)
    assert (await api.get("/readyz")).status == 503


async def test_unforeseen_error_is_500_without_what_happened_inside(api):
    reply = await api.get("/fail")
    problem(reply, 500)
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text


async def test_redirect_of_a_mounted_route_passes(api):
    assert (await api.get("/move", allow_redirects=False)).status == 302


async def test_slow_body_is_408(api, monkeypatch):
    monkeypatch.setattr(reading, "BODY_TIMEOUT_S", 0.05)
    for_ever = asyncio.Event()

    async def slow():
        yield b"{"
        await for_ever.wait()

    async with api.open("POST", "/api/tokens", data=slow()) as answer:
        assert answer.status == 408
    for_ever.set()
