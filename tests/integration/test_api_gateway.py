"""The gateway itself: health, the API's description, private sockets, a stop that takes seconds."""

import asyncio
import json
import re
import stat
from datetime import timedelta

import aiohttp
import pytest
from tortoise.connection import get_connections

from jobs.access import Role, everywhere
from jobs.clock import now
from jobs.database.connection import database
from jobs.events import EVENT_NAMES
from jobs.models import ChatMessage, Host
from jobs.queue import open_queue
from tests.conftest import free_port
from tests.fakes.gateway import ADMIN_TOKEN, HOST, application, started
from webhooks import health
from webhooks.app import ROUTES, description, serve
from webhooks.route import PUBLIC

HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


async def test_ready_says_what_jobs_would_wait_for(opened, aiohttp_client, tmp_path):
    api = (await started(aiohttp_client, application(opened, tmp_path))).with_token(None)
    assert (await api.get("/healthz")).json == {"status": "ok"}
    reply = await api.get("/readyz")
    assert (reply.status, reply.json) == (200, {"status": "ready", "database": "ok", "degraded": ["workers"]})
    await Host.create(name="nas", last_seen_at=now())
    assert (await api.get("/readyz")).json["degraded"] == []
    await Host.create(name="web", last_seen_at=now() - timedelta(minutes=4))
    assert (await api.get("/readyz")).json["degraded"] == ["workers"]


async def test_ready_says_that_a_chat_platform_takes_no_messages(opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    await Host.create(name=HOST, last_seen_at=now())
    await api.repository("photos", channel="slack:T1:C1")
    await api.post("/api/backup/run", {"repository": "photos"})
    assert (await api.get("/readyz")).json["degraded"] == []
    await ChatMessage.filter(platform="slack", part="card").update(state="sending", failures=1)
    assert (await api.get("/readyz")).json["degraded"] == ["chat"]


async def test_without_redis_it_is_ready_but_degraded_and_accepts_jobs(sqlite_url, aiohttp_client, tmp_path):
    async with database(sqlite_url), open_queue(f"unix://{tmp_path}/gone.sock") as queue:
        api = await started(aiohttp_client, application(queue, tmp_path))
        reply = await api.get("/readyz")
        assert (reply.status, reply.json["degraded"]) == (200, ["redis", "workers"])
        await api.repository()
        assert (await api.post("/api/backup/run", {"repository": "photos"})).status == 202


async def test_not_ready_before_migration_or_without_database(opened_sqlite, aiohttp_client, tmp_path, monkeypatch):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    await get_connections().get("default").execute_query("DELETE FROM tortoise_migrations")
    reply = await api.get("/readyz")
    assert (reply.status, reply.json["database"]) == (503, "is not migrated: run `locutus migrate`")
    await get_connections().get("default").execute_query("DROP TABLE tortoise_migrations")

    async def stuck():
        await asyncio.Event().wait()

    monkeypatch.setattr(health, "is_migrated", stuck)
    monkeypatch.setattr(health, "DATABASE_TIMEOUT_S", 0.01)
    reply = await api.get("/readyz")
    assert (reply.status, reply.json["status"]) == (503, "unready")


def references(value):
    return set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(value)))


def test_description_documents_every_route_and_its_references_resolve():
    document = description()
    documented = {(method, path) for path, item in document["paths"].items() for method in item}
    assert documented == {(route.method.lower(), route.path) for route in ROUTES}
    for reference in references(document):
        part = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
        assert part
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_description_declares_parameters_bodies_and_rights():
    document = description()
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        in_path = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
        assert in_path == route.variables
        assert ("requestBody" in operation) == (route.body is not None)
        assert str(route.status.value) in operation["responses"]
        signed = route.path.startswith("/hooks/")
        assert ("401" in operation["responses"]) == (signed or route.needs != PUBLIC)
    start = document["paths"]["/api/backup/run"]["post"]
    assert {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}} in start["parameters"]
    assert start["description"] == "Needs the role `operate`."
    schema = document["components"]["schemas"]["BackupStart"]
    assert (schema["required"], schema["additionalProperties"]) == (["repository"], False)
    assert document["paths"]["/healthz"]["get"]["security"] == []


async def test_description_is_served(opened_sqlite, aiohttp_client, tmp_path):
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    assert (await api.get("/api/openapi.json")).json == json.loads(json.dumps(description()))


async def test_private_socket_is_private_and_a_stale_one_is_replaced(opened_sqlite, tmp_path):
    path = tmp_path / "gateway.sock"
    path.touch()
    app = application(opened_sqlite, tmp_path, local=everywhere("local:root", Role.ADMINISTER, local=True))
    runner = await serve(app, str(path))
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http,
            http.get("http://locutus/api/tokens") as answer,
        ):
            assert answer.status == 200
    finally:
        await runner.cleanup()


async def test_taken_address_is_an_error_that_leaves_nothing_behind(opened_sqlite, tmp_path):
    where = f"127.0.0.1:{free_port()}"
    runner = await serve(application(opened_sqlite, tmp_path), where)
    try:
        with pytest.raises(OSError, match="address already in use"):
            await serve(application(opened_sqlite, tmp_path), where)
    finally:
        await runner.cleanup()


async def test_stop_takes_at_most_five_seconds_with_followers_and_waiters(opened_sqlite, tmp_path):
    port = free_port()
    runner = await serve(application(opened_sqlite, tmp_path), f"127.0.0.1:{port}")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=HEADERS) as http:
        body = {"name": "photos", "location": "/srv/x", "source_directories": ["/home"], "encryption": "none"}
        async with (
            http.post("/api/repositories", json=body),
            http.post("/api/backup/run", json={"repository": "photos"}),
        ):
            pass
        held = [asyncio.create_task(follow(http, path)) for path in ("/api/jobs/1/logs", "/api/jobs/1?wait=60")]
        async with asyncio.timeout(10):
            while len(opened_sqlite._ears) < len(held):
                await asyncio.sleep(0.01)
        before = asyncio.get_running_loop().time()
        await runner.cleanup()
        assert asyncio.get_running_loop().time() - before < 5
        results = await asyncio.gather(*held, return_exceptions=True)
    assert all(isinstance(result, aiohttp.ClientError) for result in results)


async def follow(http, path):
    async with http.get(path) as answer:
        return await answer.read()


def test_description_has_every_event_of_the_catalogue_as_a_webhook():
    document = description()
    assert list(document["webhooks"]) == list(EVENT_NAMES)
    schemas = document["components"]["schemas"]
    failed = schemas["JobFailedEvent"]
    assert failed["properties"]["type"]["const"] == "job.failed"
    assert failed["properties"]["data"] == {"$ref": "#/components/schemas/JobView"}
    assert schemas["HostSilentEvent"]["properties"]["data"] == {"$ref": "#/components/schemas/HostSilent"}
