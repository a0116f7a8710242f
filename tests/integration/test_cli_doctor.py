"""`locutus doctor`: what stands badly is named, with the way to mend it."""

import shutil
from pathlib import Path

import pytest

from cli import checks
from cli.composition import storage
from cli.finding import FAIL, OK, WARN
from cli.slack import BOT_SCOPES
from jobs.settings import Settings
from tests.fakes.instance import repository_row
from tests.fakes.slack import FakeSlack


def standings(findings):
    return [finding.standing for finding in findings]


@pytest.mark.parametrize(
    ("version", "standing", "names"),
    [
        (None, FAIL, "LOCUTUS_BORG"),
        ("1.1.18", FAIL, "1.2 and 1.4"),
        ("1.2.4", WARN, "CVE-2023-36811"),
        ("1.2.5", WARN, "CVE-2026-62268"),
        ("1.4.4", WARN, "1.4.5"),
        ("1.4.5", OK, "1.4.5"),
        ("2.0.0b14", FAIL, "1.2 and 1.4"),
    ],
)
def test_borg_versions_are_judged(version, standing, names):
    first = checks.borg_findings(version, "borg")[0]
    assert first.standing is standing
    assert names in f"{first.seen} {first.mend}" or any(
        names in f"{finding.seen} {finding.mend}" for finding in checks.borg_findings(version, "borg")
    )


async def test_a_data_directory_open_to_others_fails(tmp_path):
    tmp_path.chmod(0o755)
    (found,) = await checks.data_directory(Settings(data_dir=tmp_path))
    assert (found.standing, found.mend) == (FAIL, f"chmod 700 {tmp_path}")
    tmp_path.chmod(0o700)
    assert standings(await checks.data_directory(Settings(data_dir=tmp_path))) == [OK]


async def test_a_missing_database_fails_and_a_migrated_one_is_well(tmp_path, sqlite_template):
    assert standings(await checks.database(Settings(data_dir=tmp_path))) == [FAIL]
    shutil.copy(sqlite_template, tmp_path / "locutus.db")
    assert standings(await checks.database(Settings(data_dir=tmp_path))) == [OK]


async def test_redis_that_was_set_must_answer_and_keep_time(tmp_path, redis_url, monkeypatch):
    assert standings(await checks.redis(Settings(data_dir=tmp_path, redis_url=redis_url))) == [OK, OK]
    assert standings(await checks.redis(Settings(data_dir=tmp_path, redis_url="redis://127.0.0.1:1"))) == [FAIL]
    assert standings(await checks.redis(Settings(data_dir=tmp_path))) == [WARN]
    monkeypatch.setattr(checks, "GREATEST_CLOCK_DIFFERENCE_S", 0.0)
    assert standings(await checks.redis(Settings(data_dir=tmp_path, redis_url=redis_url))) == [OK, FAIL]


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        ({}, []),
        ({"slack_bot_token": "xoxb-test", "slack_signing_secret": "0" * 32}, [OK]),
        ({"slack_bot_token": "xoxb-test"}, [FAIL, OK]),
        ({"slack_bot_token": "xoxb-other", "slack_signing_secret": "0" * 32}, [FAIL]),
        ({"slack_bot_token": "xoxb-test", "slack_signing_secret": "short"}, [FAIL, OK]),
        ({"slack_signing_secret": "0" * 32}, [FAIL]),
        ({"slack_app_token": "xapp-test"}, [FAIL]),
        ({"slack_bot_token": "xoxb-test", "slack_app_token": "xapp-test"}, [OK]),
        ({"slack_bot_token": "xoxb-test", "slack_app_token": "xapp-other"}, [OK, FAIL]),
    ],
)
async def test_slack_tokens_are_tried(tmp_path, secrets, expected):
    async with FakeSlack() as slack:
        found = await checks.slack(Settings(data_dir=tmp_path, slack_api_url=slack.base_url, **secrets))
    assert standings(found) == expected
    assert all(finding.mend for finding in found if finding.standing is FAIL)
    assert not any(secret in f"{finding.seen}{finding.mend}" for secret in secrets.values() for finding in found)


async def test_slack_that_lacks_a_scope_or_tells_another_time_is_named_with_its_mend(tmp_path):
    async with FakeSlack() as slack:
        given = {"slack_bot_token": "xoxb-test", "slack_signing_secret": "0" * 32, "slack_api_url": slack.base_url}
        slack.scopes = [scope for scope in BOT_SCOPES if scope != "usergroups:read"]
        (scope,) = await checks.slack(Settings(data_dir=tmp_path, **given))
        slack.scopes, slack.clock_s = list(BOT_SCOPES), -600.0
        (clock, bot) = await checks.slack(Settings(data_dir=tmp_path, **given))
    assert (scope.standing, "usergroups:read" in scope.seen) == (FAIL, True)
    assert (clock.name, clock.standing, bot.standing) == ("clock", FAIL, OK)
    assert "timedatectl" in clock.mend


async def test_channel_without_the_bot_is_named(tmp_path, sqlite_url, redis_url):
    async with FakeSlack(channels=("C1",)) as slack:
        given = {"slack_bot_token": "xoxb-test", "slack_signing_secret": "0" * 32, "slack_api_url": slack.base_url}
        settings = Settings(data_dir=tmp_path, database_url_setting=sqlite_url, redis_url=redis_url, **given)
        async with storage(settings):
            for number, channel in enumerate(("slack:T1:C1", "slack:T1:C9", "console")):
                await repository_row(f"photos-{number}", Path("/r") / str(number), [], channel=channel)
        bot, channel = await checks.slack(settings)
    assert (bot.standing, channel.standing) == (OK, WARN)
    assert channel.seen.startswith("slack:T1:C9: ")
    assert "/invite" in channel.mend


async def test_a_gateway_that_is_not_up_is_no_failure_unless_it_was_named(tmp_path):
    nobody = {"data_dir": tmp_path, "bind": "127.0.0.1:1"}
    assert standings(await checks.gateway(Settings(**nobody))) == [WARN]
    assert standings(await checks.gateway(Settings(**nobody, url="http://127.0.0.1:1"))) == [FAIL]
