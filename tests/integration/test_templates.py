"""Templates: parameters under a name, for every way in."""

from pathlib import Path

import pytest

from bot.commands import Asker, answer
from jobs.models import Confirmation, Job
from tests.fakes.gateway import application, started
from tests.fakes.instance import ADMIN, repository_row

NIGHTLY = {"name": "nightly", "kind": "backup", "parameters": {"compression": "zstd,3", "keep_daily": 7}}


@pytest.fixture
async def api(opened_sqlite, aiohttp_client, tmp_path):
    """A gateway with a repository and the template `nightly`."""
    await repository_row("photos", Path("/r"), [])
    api = await started(aiohttp_client, application(opened_sqlite, tmp_path))
    assert (await api.post("/api/templates", NIGHTLY)).status == 201
    return api


async def test_template_is_shown_changed_and_removed(api):
    one = (await api.get("/api/templates")).json["items"][0]
    assert {name: one[name] for name in NIGHTLY} == NIGHTLY
    path = f"/api/templates/{one['id']}"
    changed = await api.call("PUT", path, one | {"parameters": {"compression": "lz4"}})
    assert (changed.status, changed.json["parameters"]) == (200, {"compression": "lz4"})
    assert (await api.post("/api/templates", NIGHTLY)).status == 409
    assert (await api.call("DELETE", path)).status == 204
    assert (await api.get(path)).status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "dance"}, "kind"),
        ({"parameters": {"compression": "gzip"}}, "parameters.compression"),
        ({"parameters": {"speed": 1}}, "parameters.speed"),
        ({"name": "Not so"}, "name"),
    ],
)
async def test_what_no_start_would_take_is_refused_when_the_template_is_made(api, body, field):
    refused = await api.post("/api/templates", NIGHTLY | {"name": "other"} | body)
    assert (refused.status, [error["field"] for error in refused.json["errors"]]) == (422, [field])


async def test_start_takes_the_template_and_what_is_given_wins(api):
    body = {"repository": "photos", "template": "nightly", "compression": "none", "prune_after": True}
    assert (await api.post("/api/backup/run", body)).status == 202
    job = await Job.get()
    assert (job.parameters["compression"], job.parameters["keep_daily"]) == ("none", 7)
    assert job.follow_ups[0]["parameters"]["keep_daily"] == 7


@pytest.mark.parametrize(
    ("path", "name"), [("/api/backup/run", "weekly"), ("/api/repositories/photos/check", "nightly")]
)
async def test_template_that_is_none_or_anothers_is_refused_by_name(api, path, name):
    body = {"template": name} | ({"repository": "photos"} if "backup" in path else {})
    refused = await api.post(path, body)
    assert (refused.status, [error["field"] for error in refused.json["errors"]]) == (422, ["template"])
    assert not await Job.exists()


async def test_chat_names_a_template_and_a_question_keeps_what_it_said(api):
    asker = Asker(ADMIN, "console", "console")
    assert not (await answer("run photos --template nightly --then check", asker)).refused
    job = await Job.get()
    assert (job.parameters["compression"], job.follow_ups[0]["kind"]) == ("zstd,3", "check")
    assert (await answer("run photos --template nightly --prune-after", asker)).confirmation_id
    assert (await Confirmation.get()).request["parameters"]["keep_daily"] == 7


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/scheduled-jobs", {"repository": "photos", "cron_expression": "0 2 * * *", "template": "nightly"}),
        (
            "/api/hooks",
            {"scheme": "github", "action": {"kind": "backup", "repository": "photos", "template": "nightly"}},
        ),
    ],
)
async def test_template_stays_as_long_as_what_goes_by_it(api, path, body):
    made = await api.post(path, body | {"name": "user"})
    assert made.status == 201, made.text
    template = (await api.get("/api/templates")).json["items"][0]
    refused = await api.call("DELETE", f"/api/templates/{template['id']}")
    assert refused.status == 409
    assert "user uses the template nightly" in refused.json["detail"]
    assert (await api.delete(f"{path}/{made.json['id']}")).status == 204
    assert (await api.delete(f"/api/templates/{template['id']}")).status == 204
