"""What is read of borgmatic's configuration and of what ran it, and what is said to have no counterpart."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.borgmatic.document import ImportRefusedError, parse
from cli.borgmatic.plan import Here, plan_of
from cli.borgmatic.timing import Timing, read_timing

FILE = Path("/etc/borgmatic.d/nas.yaml")
HERE = Here("nas", "nas.example.org", "root", "Europe/Berlin", "/root")
FLAT = """
source_directories: [/home, /etc]
repositories:
    - path: ssh://user@backup.example.org/./main.borg
      label: remote
      encryption: repokey-blake2
    - path: /var/lib/backups/local.borg
exclude_patterns: ['*.pyc', /home/*/.cache]
exclude_caches: true
encryption_passphrase: "secret text"
archive_name_format: '{hostname}-docs-{now}'
compression: zstd,6
keep_daily: 7
keep_monthly: 6
checks:
    - name: repository
      frequency: 2 weeks
      max_duration: 3600
    - name: archives
      frequency: 1 month
    - name: spot
commands:
    - before: action
      run: [echo hello]
postgresql_databases: [{name: users}]
healthchecks: {ping_url: https://hc-ping.com/x}
verbosity: 1
xattrs: false
acls: true
one_file_system: false
"""
SECTIONS = """
location:
    source_directories: [/home]
    repositories: ['backup@host:photos', '{user}-{hostname}.borg']
storage: {encryption_passcommand: "cat '/root/my pass'"}
retention: {keep_weekly: 4}
consistency: {checks: [disabled]}
hooks: {before_backup: [echo hello], on_error: []}
ssh_command: ssh -i /root/.ssh/backup -o BatchMode=yes
remote_path: borg1
upload_rate_limit: 500
"""


@pytest.mark.parametrize(
    "option",
    [
        {"match_archives": "sh:nas-docs-weekly-*"}, {"prefix": "nas-"},
        {"keep_within": "3H"}, {"keep_minutely": 60}, {"keep_13weekly": 4},
    ],
)  # fmt: skip
def test_schedule_does_not_prune_what_borgmatic_would_have_kept(option):
    plan = plan_of({**parse(FLAT, "f"), **option}, Timing("30 2 * * *"), HERE)
    assert [planned.schedule["run_prune_after"] for planned in plan.planned] == [False, False]
    [name] = option
    assert "nothing is pruned before you say what is" in dict(plan.left)[name]


@pytest.mark.parametrize(
    ("options", "hint"),
    [({}, " --prune keep-daily=7,keep-monthly=6"), ({"keep_within": "3H"}, ""), ({"skip_actions": ["prune"]}, "")],
)
def test_retention_of_a_schedule_to_be_added_by_hand_is_said(options, hint):
    left = dict(plan_of({**parse(FLAT, "f"), **options}, None, HERE).left)
    assert left["schedule"].endswith(f"add one with `locutus schedule add REPO WHEN{hint}`")


def test_flat_configuration_becomes_repositories_with_schedules():
    plan = plan_of(parse(FLAT, "f"), Timing("30 2 * * *", jitter_s=600), HERE)
    remote, local = (planned.repository for planned in plan.planned)
    assert (remote["name"], remote["location"]) == ("remote", "ssh://user@backup.example.org/./main.borg")
    assert (local["name"], local["location"], local["passphrase"]) == (
        "local", "/var/lib/backups/local.borg", "secret text",
    )  # fmt: skip
    assert local["archive_name_template"] == "nas-docs-{now}"
    assert (local["check_interval_days"], local["check_max_duration"]) == (14, 3600)
    assert plan.planned[1].schedule == {
        "name": "local-backup", "repository": "local", "cron_expression": "30 2 * * *",
        "timezone": "Europe/Berlin", "jitter": 600,
        "catch_up": "none", "run_prune_after": True, "run_compact_after": True, "keep_daily": 7, "keep_monthly": 6,
    }  # fmt: skip


def test_every_option_without_a_counterpart_is_named_with_a_reason():
    left = dict(plan_of(parse(FLAT, "f"), None, HERE).left)
    assert left.keys() == {
        "exclude_caches", "commands", "postgresql_databases", "healthchecks", "checks: spot", "checks: archives",
        "xattrs", "schedule",
    }  # fmt: skip
    assert "runs no programs" in left["commands"]
    assert "secret text" not in str(left)


def test_configuration_in_sections_is_read_as_well():
    plan = plan_of(parse(SECTIONS, "f"), Timing("0 3 * * *"), HERE)
    assert [planned.repository["location"] for planned in plan.planned] == [
        "ssh://backup@host/./photos",
        "root-nas.borg",
    ]
    first = plan.planned[0]
    assert first.repository["passphrase_command"] == ["cat", "/root/my pass"]
    assert "check_interval_days" not in first.repository
    assert first.schedule["keep_weekly"] == 4
    assert (first.repository["ssh_key"], first.repository["remote_path"]) == ("/root/.ssh/backup", "borg1")
    assert first.repository["upload_ratelimit"] == 500
    assert dict(plan.left).keys() == {"before_backup", "ssh_command"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("[]", "has no options"),
        ("<<: !include common.yaml", "includes other files"),
        ("a: !!python/object:os.system x", "is no YAML"),
        ("", "has no options"),
        ("constants: {root: /data}\nsource_directories: ['{root}/x']", "has constants"),
    ],
)
def test_what_is_no_configuration_is_refused(text, said):
    with pytest.raises(ImportRefusedError, match=said):
        parse(text, "file")


def test_configuration_without_repository_or_source_is_refused():
    with pytest.raises(ImportRefusedError, match="no repository or no source"):
        plan_of({"repositories": [{"path": "/r"}]}, None, HERE)


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"encryption_passphrase": "{credential file /etc/pass}"}, {"passphrase_file": "/etc/pass"}),
        ({"encryption_passphrase": "${PASS}"}, {}),
        ({"encryption_passphrase": "a${PASS}"}, {}),
        ({"encryption_passphrase": 1234}, {"passphrase": "1234"}),
    ],
)
def test_passphrase_is_taken_from_where_it_is(given, fields):
    [planned] = plan_of({"repositories": ["/r/a"], "source_directories": ["/s"], **given}, None, HERE).planned
    assert {name: value for name, value in planned.repository.items() if name.startswith("passphrase")} == fields
    assert planned.schedule is None


@pytest.mark.parametrize("source", ["/home/*/docs", "/srv/${APP}", "/data/[a-c]", "~other/docs"])
def test_source_that_borgmatic_fills_in_is_refused(source):
    with pytest.raises(ImportRefusedError, match="Write out what it means") as refused:
        plan_of({"repositories": ["/r/a"], "source_directories": ["/s", source]}, None, HERE)
    assert source in str(refused.value)


def test_home_is_that_of_who_imports():
    options = {"repositories": ["/r/a"], "source_directories": ["~/docs"], "exclude_patterns": ["~/*/cache", "*.o"]}
    [planned] = plan_of(options, None, HERE).planned
    assert planned.repository["source_directories"] == ["/root/docs"]
    assert planned.repository["exclude_patterns"] == ["/root/*/cache", "*.o"]


@pytest.mark.parametrize(
    ("command", "key", "why"),
    [
        ("ssh -i ~/.ssh/k -p 22", "/root/.ssh/k", "only the key"),
        ("ssh -o IdentityFile=/root/k", "/root/k", "only the key"),
        ("ssh -4 -o 'IdentityFile /root/k'", "/root/k", "only the key"),
        ("ssh -p 2222", None, "it names no key"),
    ],
)
def test_key_of_the_ssh_command_is_taken_or_said_to_lack(command, key, why):
    options = {"repositories": ["/r/a"], "source_directories": ["/s"], "ssh_command": command}
    plan = plan_of(options, None, HERE)
    assert plan.planned[0].repository.get("ssh_key") == key
    assert why in dict(plan.left)["ssh_command"]


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("900", 900), ("15 minutes", 900), ("90 seconds", 90), ("1.5h", 5400), ("1h 30min", 5400),
     ("2days 1week", 777_600), ("1M", 2_630_016), ("infinity", 0), ("5 apples", 0)],
)  # fmt: skip
def test_delay_is_read_in_every_unit_of_systemd(span, seconds):
    assert read_timing(timer("OnCalendar=daily", f"RandomizedDelaySec={span}"), FILE).jitter_s == seconds


def timer(*lines):
    return "\n".join(["[Unit]", "Description=Run borgmatic backup", "[Timer]", *lines, "[Install]"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# comment borgmatic\n0 3 * * * root /usr/bin/borgmatic --syslog-verbosity 1", Timing("0 3 * * *")),
        ("MAILTO=x\n@daily borgmatic", Timing("@daily")),
        ("0 3 * * * root something", None),
        (
            "CRON_TZ=Asia/Tokyo\n0 5 * * 0 root KEY=hidden borgmatic check -v 1\n0 3 * * * borgmatic create\n",
            Timing("0 3 * * *", "Asia/Tokyo", others=("0 5 * * 0 borgmatic check",), actions=frozenset({"create"})),
        ),
        ("0 3 * * * borgmatic -C -p > /dev/null", Timing("0 3 * * *", actions=frozenset({"create", "prune"}))),
        (
            "0 3 * * * borgmatic create --list && borgmatic check",
            Timing("0 3 * * *", actions=frozenset({"create", "check"})),
        ),
        ("PATH = /opt/borgmatic/bin\n0 3 * * * flock -n /x borgmatic", Timing("0 3 * * *")),
        (
            "0 4 * * * borgmatic -c /x.yaml\n0 3 * * * borgmatic\n0 2 * * * borgmatic --config=/a/nas.yaml 2>&1\n",
            Timing("0 2 * * *", others=("0 3 * * * borgmatic",)),
        ),
        ("0 4 * * * borgmatic -c /a/x.yaml /b/nas.yaml create", Timing("0 4 * * *", actions=frozenset({"create"}))),
        ("0 4 * * * borgmatic --config /etc/borgmatic.d >/log", Timing("0 4 * * *")),
        ("0 4 * * * borgmatic -c /etc/borgmatic.d/other.yaml", None),
        ("0 4 * * * borgmatic check", None),
        ("@reboot borgmatic", None),
        (timer("OnCalendar=daily", "OnCalendar=12:00"), Timing("0 0 * * *", others=("OnCalendar=12:00",))),
        (timer("OnCalendar=daily", "Persistent=true"), Timing("0 0 * * *", catch_up="one")),
        (timer("OnCalendar=*-*-* 02:30:00", "RandomizedDelaySec=3h"), Timing("30 2 * * *", jitter_s=10800)),
        (timer("OnCalendar=Mon..Fri 03:00"), Timing("0 3 * * mon-fri")),
        (timer("OnCalendar=Mon,Thu *-*-* 03:05 Europe/Berlin"), Timing("5 3 * * mon,thu", "Europe/Berlin")),
        (timer("OnCalendar=*-*-01 04:00"), Timing("0 4 1 * *")),
        (timer("OnCalendar=*-*~01 04:00"), Timing("0 4 L * *")),
        (timer("OnCalendar=*-*-* 00/6:00:00"), Timing("0 */6 * * *")),
        (timer("OnCalendar=Mon *-*-01..07 03:00"), None),
        (timer("OnCalendar=2026-01-01 03:00"), None),
        (timer("OnBootSec=5min"), None),
        ("61 3 * * * borgmatic", None),
    ],
)
def test_time_is_read_from_crontab_or_timer(text, expected):
    found = read_timing(text, FILE)
    if expected is None:
        assert found is None or found.unread
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("command", "steps"),
    [
        ("", ["prune", "compact"]),
        ("create --stats", []),
        ("create compact", ["compact"]),
        ("create -c /etc/borgmatic.d/nas.yaml prune", ["prune"]),
    ],
)
def test_schedule_runs_after_the_backup_what_the_line_ran_and_what_not_is_said(command, steps):
    plan = plan_of(parse(FLAT, "f"), read_timing(f"0 3 * * * root borgmatic {command}", FILE), HERE)
    for planned in plan.planned:
        assert [step for step in ("prune", "compact") if planned.schedule[f"run_{step}_after"]] == steps
    assert {"prune", "compact"} - dict(plan.left).keys() == set(steps)


def test_every_further_time_is_said_to_be_left():
    plan = plan_of(parse(FLAT, "f"), Timing("0 3 * * *", others=("0 5 * * 0 root borgmatic check",)), HERE)
    assert "add a schedule" in dict(plan.left)["0 5 * * 0 root borgmatic check"]


@given(st.text("OnCalendar=Mon..Fri*-/~,:0123 abc\n[Timer]", max_size=80))
def test_any_timer_is_read_or_said_to_be_unread(text):
    found = read_timing(f"[Timer]\nOnCalendar={text}", FILE)
    assert found is not None
    assert found.cron or found.unread
