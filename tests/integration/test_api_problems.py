"""Every error is a problem document that says what is wrong, and none says more than that."""

import asyncio
import io
import json

import pytest
from aiohttp import web

from tests.fakes.gateway import application, started
from webhooks import reading


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
        ("since=2024-01-01T00:00:00", "since"), ("parent_id=99999999999", "parent_id"), ("host=%00", "host"),
        ("host=a&host=b", "host"),
    ],
)  # fmt: skip
async def test_refused_query_is_named(api, query, field):
    assert problem(await api.get(f"/api/jobs?{query}"), 422)["field"] == field


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
