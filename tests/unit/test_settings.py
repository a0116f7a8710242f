"""Settings: each bad value is one line that names its variable, and never shows a secret."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.settings import Settings, SettingsError, default_data_directory, load_settings, machine_zone, parse_duration

SECRET = "s3cret-" * 8
SECRETS = {
    "LOCUTUS_SECRET_KEY": "secret_key",
    "LOCUTUS_ADMIN_TOKEN": "admin_token",
    "LOCUTUS_TOKEN": "token",
    "DISCORD_TOKEN": "discord_token",
    "SLACK_BOT_TOKEN": "slack_bot_token",
    "SLACK_SIGNING_SECRET": "slack_signing_secret",
    "SLACK_APP_TOKEN": "slack_app_token",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No `.env` but the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("LOCUTUS_MAX_JOBS", "9", "max_jobs", 9),
        ("locutus_host", "nas", "host", "nas"),
        ("LOCUTUS_BIND", "[::1]:80", "bind", "[::1]:80"),
        ("LOCUTUS_PROGRESS_INTERVAL", "250ms", "progress_interval", timedelta(milliseconds=250)),
        ("LOCUTUS_HOST_LOST_AFTER", "2d", "host_lost_after", timedelta(days=2)),
        ("LOCUTUS_DATABASE_URL", "postgres://u:p@h/d", "database_url", "postgres://u:p@h/d"),
        ("LOCUTUS_PUBLIC_URL", "https://x.org/", "base_url", "https://x.org"),
        ("LOCUTUS_BIND", "0.0.0.0:8484", "base_url", "http://127.0.0.1:8484"),
        ("LOCUTUS_BIND", "[::]:8484", "base_url", "http://[::1]:8484"),
        ("LOCUTUS_BIND", ":::8484", "base_url", "http://[::1]:8484"),
        ("LOCUTUS_BIND", "[fe80::2]:8484", "base_url", "http://[fe80::2]:8484"),
        ("LOCUTUS_BIND", "backup.lan:80", "base_url", "http://backup.lan:80"),
        ("LOCUTUS_PUBLIC_URL", "http://[::1]:8484/locutus", "base_url", "http://[::1]:8484/locutus"),
        ("LOCUTUS_REDIS_URL", "redis://u:p@h:6379/1", "redis_url", "redis://u:p@h:6379/1"),
        ("LOCUTUS_REDIS_URL", "rediss://h", "redis_url", "rediss://h"),
        ("LOCUTUS_REDIS_URL", "unix:///run/r.sock", "redis_url", "unix:///run/r.sock"),
        ("LOCUTUS_DATABASE_URL", "postgresql:///d", "database_url", "postgresql:///d"),
        ("LOCUTUS_SLACK_API_URL", "http://127.0.0.1:1/api", "slack_api_url", "http://127.0.0.1:1/api/"),
        ("LOCUTUS_ALLOW_PRIVATE_WEBHOOK_TARGETS", "true", "allow_private_webhook_targets", True),
    ],
)
def test_setting_is_read(monkeypatch, variable, text, name, value):
    monkeypatch.setenv(variable, text)
    assert getattr(load_settings(), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LOCUTUS_MAX_JOBS", "0"),
        ("LOCUTUS_MAX_JOBS", "1001"),
        ("LOCUTUS_MAX_JOBS", "many"),
        ("LOCUTUS_BIND", "8484"),
        ("LOCUTUS_BIND", ":8484"),
        ("LOCUTUS_BIND", "localhost:http"),
        ("LOCUTUS_BIND", "localhost:65536"),
        ("LOCUTUS_DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("LOCUTUS_PROGRESS_INTERVAL", "0"),
        ("LOCUTUS_PROGRESS_INTERVAL", "soon"),
        ("LOCUTUS_PROGRESS_INTERVAL", "-5s"),
        ("LOCUTUS_PROGRESS_INTERVAL", "-PT5S"),
        ("LOCUTUS_HOST_LOST_AFTER", "0h"),
        ("LOCUTUS_HOST_LOST_AFTER", "99999999999999d"),
        ("LOCUTUS_HOST", "x" * 256),
        ("LOCUTUS_HOST", "bad/host x"),
        ("LOCUTUS_HOST", "-nas"),
        ("LOCUTUS_REDIS_URL", "http://x"),
        ("LOCUTUS_REDIS_URL", "foo:bar"),
        ("LOCUTUS_REDIS_URL", "redis://:hunter2@h:abc"),
        ("LOCUTUS_REDIS_URL", "redis://:hunter2@h:99999"),
        ("LOCUTUS_REDIS_URL", "redis://:hunter2@[h"),
        ("LOCUTUS_REDIS_URL", "redis://:hunter2@h?colour=blue"),
        ("LOCUTUS_REDIS_URL", "unix://redis.sock"),
        ("LOCUTUS_DATABASE_URL", "postgres://u:hunter2@h:abc/d"),
        ("LOCUTUS_DATABASE_URL", "postgres://u:hunter2/@h/d"),
        ("LOCUTUS_DATABASE_URL", "postgres://u:hunter2@[h/d"),
        ("LOCUTUS_DATABASE_URL", "sqlite://"),
        ("LOCUTUS_PUBLIC_URL", "not a url"),
        ("LOCUTUS_PUBLIC_URL", "locutus.example.org"),
        ("LOCUTUS_PUBLIC_URL", "https://u:hunter2@x.org"),
        ("LOCUTUS_PUBLIC_URL", "https://x.org/?a=b"),
        ("LOCUTUS_PUBLIC_URL", "https://x..org"),
        ("LOCUTUS_URL", "http://x.org:abc"),
        ("LOCUTUS_SLACK_API_URL", "ftp://slack.com/api/"),
        ("LOCUTUS_ADMIN_TOKEN", "hunter2"),
        ("LOCUTUS_ADMIN_TOKEN", "hunter2 hunter2"),
        ("LOCUTUS_ADMIN_TOKEN", "hunter2-hunter²"),
        ("LOCUTUS_TOKEN", "hunter2\nX-Header: x"),
        ("SLACK_BOT_TOKEN", "xoxb-hunter2\r\n"),
        ("LOCUTUS_SECRET_KEY", "too-short"),
        ("LOCUTUS_SECRET_KEY", f"{'k' * 32},too-short"),
        ("LOCUTUS_SECRET_KEY", f"{'k' * 32},"),
        ("LOCUTUS_SECRET_KEY", " " * 40 + "x"),
        ("LOCUTUS_ALLOW_PRIVATE_WEBHOOK_TARGETS", "maybe"),
    ],
)
def test_bad_value_is_one_line_with_the_name_and_without_the_value(monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    sentence = str(refused.value)
    assert sentence.startswith(f"{variable}: ")
    assert "\n" not in sentence
    for secret in ("too-short", "hunter2"):
        assert secret not in sentence


@pytest.mark.parametrize("variable", SECRETS)
def test_empty_variable_is_no_secret(monkeypatch, variable):
    monkeypatch.setenv(variable, "")
    assert getattr(load_settings(), SECRETS[variable]) is None


@pytest.mark.parametrize("variable", SECRETS)
def test_secret_is_read_from_the_file_that_is_named(monkeypatch, tmp_path, variable):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    assert getattr(load_settings(), SECRETS[variable]).get_secret_value() == SECRET


def test_addresses_with_a_password_are_read_from_files_and_dotenv_may_name_them(monkeypatch, tmp_path):
    (tmp_path / "database").write_text("postgres://u:hunter2@h/d\n")
    (tmp_path / "redis").write_text("redis://:hunter2@h\n")
    (tmp_path / ".env").write_text(f"LOCUTUS_REDIS_URL_FILE={tmp_path}/redis\n")
    monkeypatch.setenv("LOCUTUS_DATABASE_URL_FILE", str(tmp_path / "database"))
    assert load_settings().database_url == "postgres://u:hunter2@h/d"
    assert load_settings().redis_url == "redis://:hunter2@h"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_secret_file_without_a_secret_is_one_line(monkeypatch, tmp_path, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("LOCUTUS_ADMIN_TOKEN_FILE", str(path))
    with pytest.raises(SettingsError, match=rf"^LOCUTUS_ADMIN_TOKEN_FILE: {path} .*\.$"):
        load_settings()


def test_short_key_in_a_file_is_refused_too(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("too-short")
    monkeypatch.setenv("LOCUTUS_SECRET_KEY_FILE", str(tmp_path / "secret"))
    with pytest.raises(SettingsError, match="32 characters"):
        load_settings()


def test_every_secret_is_one_of_these():
    assert {name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)} == {
        *SECRETS.values()
    }


def test_environment_comes_before_file_and_file_before_dotenv(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("LOCUTUS_ADMIN_TOKEN=of-the-dotenv\nLOCUTUS_MAX_JOBS=7\n")
    assert load_settings().admin_token.get_secret_value() == "of-the-dotenv"
    (tmp_path / "secret").write_text("of-the-file")
    monkeypatch.setenv("LOCUTUS_ADMIN_TOKEN_FILE", str(tmp_path / "secret"))
    assert load_settings().admin_token.get_secret_value() == "of-the-file"
    monkeypatch.setenv("LOCUTUS_ADMIN_TOKEN", "of-the-environment")
    assert load_settings().admin_token.get_secret_value() == "of-the-environment"
    assert load_settings().max_jobs == 7


def test_settings_show_no_secret(monkeypatch):
    for variable in SECRETS:
        monkeypatch.setenv(variable, SECRET)
    monkeypatch.setenv("LOCUTUS_DATABASE_URL", "postgres://u:hunter2@h/d")
    monkeypatch.setenv("LOCUTUS_REDIS_URL", "redis://:hunter2@h")
    shown = f"{load_settings()!r} {load_settings()}"
    assert SECRET not in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(("user", "directory"), [(0, "/var/lib/locutus"), (1000, "/home/alice/.local/share/locutus")])
def test_data_directory_is_where_such_things_stand(monkeypatch, user, directory):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert str(default_data_directory()) == directory
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert str(default_data_directory()) == "/data/locutus"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("250ms", 0.25),
        ("24h", 86_400),
        ("7d", 604_800),
        ("1.5m", 90),
        ("90", 90),
        (" 5s ", 5),
        (2, 2),
        (0.5, 0.5),
    ],
)
def test_duration_is_number_and_unit(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", ".", "s", "1w", "5 s", "1.2.3s", "1e3", "-1s", "²s"])
def test_other_text_is_left_alone(text):
    assert parse_duration(text) == text


@given(st.text())
def test_no_text_breaks_the_reading_of_a_duration(text):
    assert parse_duration(text) == text or isinstance(parse_duration(text), timedelta)


@pytest.mark.parametrize(
    ("variable", "link", "zone"),
    [
        ("", "/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("Asia/Tokyo", "/usr/share/zoneinfo/Europe/Berlin", "Asia/Tokyo"),
        (":Asia/Tokyo", "/usr/share/zoneinfo/Europe/Berlin", "Asia/Tokyo"),
        ("", "/usr/share/zoneinfo/Etc/UTC", "UTC"),
        ("", None, "UTC"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "/usr/share/zoneinfo/Europe/Berlin", "UTC"),
        ("../../etc/passwd", None, "UTC"),
    ],
)
def test_zone_of_the_machine(monkeypatch, tmp_path, variable, link, zone):
    local_time = tmp_path / "localtime"
    if link:
        local_time.symlink_to(link)
    monkeypatch.setenv("TZ", variable)
    monkeypatch.setattr("jobs.settings.LOCAL_TIME", local_time)
    assert machine_zone() == zone
