"""Every route is closed to who has no token or too low a role; tokens, bindings and the local principal open them."""

import stat
from datetime import timedelta

import pytest

from jobs.access import Grant, Principal, Role, everywhere
from jobs.clock import now
from jobs.models import ApiToken, AuditEntry, RoleBinding
from tests.fakes.gateway import ADMIN_TOKEN, Api, application, settings, started
from webhooks.app import ROUTES
from webhooks.authentication import load_admin_token
from webhooks.route import PUBLIC

FILLED = {"id": "1", "repo": "photos", "archive_id": "abc"}
PRIVATE = [route for route in ROUTES if route.needs != PUBLIC]


@pytest.fixture
async def api(opened_sqlite, aiohttp_client, tmp_path):
    return await started(aiohttp_client, application(opened_sqlite, tmp_path))


def concrete(route):
    return route.path.format(**FILLED)


async def test_every_route_but_the_public_ones_refuses_who_has_no_token(api):
    for route in PRIVATE:
        reply = await api.with_token(None).call(route.method, concrete(route))
        assert (reply.status, route.path) == (401, route.path)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert reply.headers["Content-Type"].startswith("application/problem+json")


async def test_every_route_refuses_a_token_of_too_low_a_role(api):
    lower = {Role.OPERATE: await api.token("viewer", "view"), Role.ADMINISTER: await api.token("operator", "operate")}
    walked = 0
    for route in PRIVATE:
        if route.needs == Role.VIEW:
            continue
        reply = await lower[route.needs].call(route.method, concrete(route))
        assert (reply.status, route.path) == (403, route.path)
        assert "locutus grant token:" in reply.json["detail"]
        walked += 1
    assert walked > 15


def test_public_routes_are_only_these():
    public = {route.path for route in ROUTES if route.needs == PUBLIC}
    assert public == {"/healthz", "/readyz", "/api/openapi.json", "/hooks/{name}", "/hooks/{name}/jobs/{id}"}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer nonsense", ADMIN_TOKEN])
async def test_malformed_or_unknown_credentials_are_refused(api, header):
    reply = await api.with_token(None).get("/api/jobs", headers={"Authorization": header})
    assert reply.status == 401
    assert ADMIN_TOKEN not in reply.text


async def test_expired_token_is_refused(api):
    viewer = await api.token("ci", "view")
    assert (await viewer.get("/api/jobs")).status == 200
    await ApiToken.filter(name="ci").update(expires_at=now() - timedelta(seconds=1))
    assert (await viewer.get("/api/jobs")).status == 401


async def test_bound_role_adds_to_a_tokens_own(api):
    viewer = await api.token("ci", "view")
    await api.repository("photos")
    await api.repository("mail")
    await RoleBinding.create(subject="token:ci", role="operate", repositories=["photos"])
    assert (await viewer.post("/api/backup/run", {"repository": "photos"})).status == 202
    assert (await viewer.post("/api/backup/run", {"repository": "mail"})).status == 403
    assert (await viewer.delete("/api/repositories/photos")).status == 403


async def test_new_token_of_an_old_name_inherits_no_bindings(api):
    made = (await api.post("/api/tokens", {"name": "ci", "role": "view"})).json
    await api.post("/api/role-bindings", {"subject": "token:ci", "role": "administer"})
    assert (await api.with_token(made["token"]).get("/api/tokens")).status == 200
    await api.delete(f"/api/tokens/{made['id']}")
    again = await api.token("ci", "view")
    assert (await again.get("/api/tokens")).status == 403


async def test_local_principal_needs_no_token_and_is_audited_as_itself(opened_sqlite, aiohttp_client, tmp_path):
    local = everywhere("local:root", Role.ADMINISTER, local=True)
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path, local=local))
    anonymous = api.with_token(None)
    assert (await anonymous.repository()).status == 201
    entry = await AuditEntry.get(action="repository.add")
    assert (entry.subject, entry.origin) == ("local:root", "cli")
    assert (await api.with_token("wrong").get("/api/jobs")).status == 401


async def test_principal_limited_to_a_repository_sees_only_that(opened_sqlite, aiohttp_client, tmp_path):
    limited = Principal("local:x", (Grant(Role.OPERATE, repositories=["photos"]),))
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path, local=limited))
    await api.repository("photos")
    await api.repository("mail")
    for name in ("photos", "mail"):
        assert (await api.post("/api/backup/run", {"repository": name})).status == 202
    mine = api.with_token(None)
    assert [job["repository"] for job in (await mine.get("/api/jobs")).json["items"]] == ["photos"]
    assert [row["name"] for row in (await mine.get("/api/repositories")).json["items"]] == ["photos"]
    assert (await mine.get("/api/repositories/mail")).status == 403
    assert (await mine.get("/api/jobs/2")).status == 403
    assert (await mine.get("/api/jobs/2/logs?follow=false")).status == 403
    assert (await mine.post("/api/jobs/2/cancel")).status == 403
    assert (await mine.get("/api/hosts")).status == 403
    unknown = {"repository": "mail", "destination": "/srv/back"}
    assert (await mine.post("/api/archives/unknown/restore", unknown)).status == 403


async def test_grant_for_a_chat_channel_opens_nothing_here(opened_sqlite, aiohttp_client, tmp_path):
    limited = Principal("local:x", (Grant(Role.ADMINISTER, channels=["slack:T1:C1"]),))
    app = application(opened_sqlite, tmp_path, local=limited)
    anonymous = Api((await started(aiohttp_client, app)).client, None)
    assert (await anonymous.get("/api/jobs")).status == 403


async def test_admin_token_is_made_once_and_is_private(opened_sqlite, aiohttp_client, tmp_path):
    app = application(opened_sqlite, tmp_path, admin_token=None)
    api = await started(aiohttp_client, app)
    file = tmp_path / "data" / "admin-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await api.with_token(file.read_text()).get("/api/tokens")).status == 200
    assert (await api.get("/api/tokens")).status == 401


def test_admin_token_is_kept_by_the_next_start(tmp_path):
    first = load_admin_token(settings(tmp_path, admin_token=None))
    assert load_admin_token(settings(tmp_path, admin_token=None)) == first
    assert len(first) > 40
