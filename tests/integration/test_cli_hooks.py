"""`locutus hook`, `notification` and `subscription` as a person has them, over a data directory."""

import json

import pytest

from tests.integration.test_cli_commands import data_dir, run, variables  # noqa: F401 - fixtures

SECRET_KEY = "a secret key of the tests that is long enough"


@pytest.fixture
def locutus(variables, run):  # noqa: F811
    variables["LOCUTUS_SECRET_KEY"] = SECRET_KEY
    run("repo", "add", "photos", "/srv/photos", "--source", "/home")
    return run


def test_hook_is_added_listed_rotated_paused_and_removed(locutus):
    secret = locutus("hook", "add", "deploy", "photos", "--when", "event=deploy.*", "--rate-limit", "60/m")
    assert secret.startswith("whsec_")
    [row] = json.loads(locutus("hook", "list", "--json"))["items"]
    assert (row["action"]["repository"], row["when"], row["coalesce"]) == ("photos", {"event": "deploy.*"}, True)
    assert locutus("hook", "rotate", "deploy") != secret
    locutus("hook", "settle", "deploy")
    locutus("hook", "pause", "deploy")
    assert "off" in locutus("hook", "list")
    locutus("hook", "resume", "deploy")
    assert "no hook nowhere" in locutus("hook", "remove", "nowhere", status=1)
    locutus("hook", "remove", "deploy")
    assert locutus("hook", "list") == ""


def test_hook_starts_a_chain_or_a_job_on_a_host(locutus):
    locutus("hook", "add", "deploy", "photos", "--then", "compact")
    locutus("hook", "add", "tools", "nas", "--kind", "package_install", "--set", "package=sl")
    tools, deploy = (row["action"] for row in json.loads(locutus("hook", "list", "--json"))["items"])
    assert [step["kind"] for step in deploy["then"]] == ["compact"]
    assert (tools["kind"], tools["host"], tools["parameters"]) == ("package_install", "nas", {"package": "sl"})


def test_notification_channel_is_added_from_stdin_tested_and_removed(locutus):
    url = "json://127.0.0.1:9/T0PSECRET"
    said = locutus(
        "notification", "add", "team", "--event", "backup_failure", "--quiet", "22:00-06:00", typed=f"{url}\n"
    )
    assert "locutus notification test team" in said
    [row] = json.loads(locutus("notification", "list", "--json"))["items"]
    assert (row["service"], row["quiet_until"], "T0PSECRET" in json.dumps(row)) == ("json", "06:00", False)
    assert "could not be told" in locutus("notification", "test", "team", status=1)
    locutus("notification", "add", "monitor", typed="ping+https://hc.example.org/x\n")
    assert "every backup" in locutus("notification", "list")
    locutus("notification", "remove", "team")


def test_subscription_is_rotated_and_its_deliveries_looked_at(locutus):
    locutus("subscription", "add", "https://ci.example.org/done")
    assert locutus("subscription", "rotate", "1").startswith("whsec_")
    locutus("subscription", "settle", "1")
    assert json.loads(locutus("subscription", "deliveries", "--state", "dead", "--json")) == {"items": []}
    assert "no delivery 7" in locutus("subscription", "replay", "7", status=1)
    assert "no delivery 7" in locutus("subscription", "tries", "7", status=1)
