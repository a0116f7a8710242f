"""From a borgmatic configuration to what Locutus would have of it, and what has no counterpart here. Pure.

borgmatic's options: https://torsion.org/borgmatic/docs/reference/configuration/
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.borgmatic.document import ImportRefusedError
from cli.borgmatic.timing import Timing
from jobs.retention import RULES

DEFAULT_NAME_FORMAT = "{hostname}-{now:%Y-%m-%dT%H:%M:%S.%f}"
DEFAULT_CHECK_DAYS = 30
ALWAYS_DAYS = 1
_DAYS = {"hour": 1 / 24, "day": 1, "week": 7, "month": 30, "year": 365}
_TAKEN = {
    "source_directories", "repositories", "exclude_patterns", "compression", "encryption_passphrase",
    "encryption_passcommand", "archive_name_format", "checks", "skip_actions", "remote_path",
    "upload_rate_limit", *RULES,
}  # fmt: skip
_SILENT = {"verbosity", "syslog_verbosity", "log_file_verbosity", "color", "progress", "statistics", "list_details"}
"""How borgmatic itself prints: nothing is lost by leaving it."""
_ON_BY_ITSELF = {"acls", "xattrs", "flags", "bsd_flags", "ctime", "birthtime"}
_PATTERNS = ("match_archives", "glob_archives", "prefix")
"""Which archives borgmatic looks at; here that is the name template's."""
_NOT_PRUNED = "nothing is pruned before you say what is: `/backup prune REPO --dry-run` shows it"
_WHY: Sequence[tuple[str, str]] = (
    (r"(before|after)_.*|on_error|commands", "Locutus runs no programs of its own beside borg; run them around it"),
    (r".*_databases", "dump the database into a directory that is backed up"),
    (r"healthchecks|cronitor|cronhub|uptime_kuma|zabbix|pagerduty|sentry|loki", "subscribe to its events instead"),
    (r"ntfy|pushover|apprise", "add a notification channel instead"),
    (r"btrfs|zfs|lvm|bootable", "take snapshots outside, and back up their directory"),
    (r"ssh_command", "only the key in it is taken over"),
    (r"acls|xattrs|flags|bsd_flags|ctime|birthtime", "what borg stores of a file by itself is stored"),
    (r"keep_.*", f"prune has no such rule here, and by the others alone more would go: {_NOT_PRUNED}"),
    ("|".join(_PATTERNS), _NOT_PRUNED),
)


@dataclass(frozen=True, slots=True)
class Here:
    """The machine that borgmatic ran on, which its placeholders name, and whose clock its crontab and timer meant."""

    hostname: str
    fqdn: str
    user: str
    timezone: str
    home: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One repository and its schedule, as the API takes them; the passphrase is in `repository` and never shown."""

    repository: dict[str, Any]
    schedule: dict[str, Any] | None


@dataclass(slots=True)
class Plan:
    """What would be made, and what of the configuration would be left behind: option and reason."""

    planned: list[Planned] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def plan_of(options: Mapping[str, Any], timing: Timing | None, here: Here, host: str | None = None) -> Plan:
    """The plan of one file; raises `ImportRefusedError` where that has no repository or no source."""
    plan = Plan(left=list(_left(options, here)))
    sources = _paths("source_directories", options, here, filled_in=r"[*?\[{]")
    places = list(_places(options.get("repositories"), here))
    if not places or not sources:
        raise ImportRefusedError("the configuration names no repository or no source directory.")
    excludes = _paths("exclude_patterns", options, here, filled_in=r"\$\{")
    secret = _secret(options, plan)
    checks = _checks(options, plan)
    for label, location, encryption in places:
        fields = {
            "name": _name(label or location), "location": location, "source_directories": sources, "host": host,
            "exclude_patterns": excludes, "compression": options.get("compression"),
            "encryption": encryption, "archive_name_template": _template(options, here),
            "remote_path": options.get("remote_path"), "upload_ratelimit": options.get("upload_rate_limit"),
            "ssh_key": _ssh_key(options, here), **secret, **checks,
        }  # fmt: skip
        repository = {name: value for name, value in fields.items() if value not in (None, [])}
        plan.planned.append(Planned(repository, _schedule(repository["name"], options, timing, here)))
    if timing is None or timing.unread:
        why = timing.unread if timing else "no crontab line and no timer was found"
        plan.left.append(
            ("schedule", f"{why}: add one with `locutus schedule add REPO WHEN{_prune_option(options, timing)}`")
        )
    for other in timing.others if timing else ():
        plan.left.append((other, "one time is taken over: add a schedule for this one"))
    for step in ("prune", "compact"):
        if timing and not timing.runs(step):
            plan.left.append(
                (step, "the crontab's line names what it runs, and not this: the schedule does not either")
            )
    return plan


def _paths(option: str, options: Mapping[str, Any], here: Here, *, filled_in: str) -> list[str]:
    """The paths with `~` expanded; raises `ImportRefusedError` for one that borgmatic fills in at each run."""
    paths = [_at_home(text, here) for text in _texts(options.get(option))]
    if refused := [path for path in paths if re.search(rf"{filled_in}|^~", path)]:
        raise ImportRefusedError(
            f"{option}: {refused[0]} is filled in by borgmatic at each run, and would be taken as it stands here. "
            "Write out what it means, and import that."
        )
    return paths


def _at_home(path: str, here: Here) -> str:
    return here.home + path[1:] if path == "~" or path.startswith("~/") else path


def _places(given: Any, here: Here) -> Iterator[tuple[str | None, str, str | None]]:
    """Label, location and encryption of each repository."""
    for entry in given if isinstance(given, list) else []:
        said = entry if isinstance(entry, Mapping) else {"path": entry}
        if path := said.get("path"):
            yield said.get("label"), _location(_expanded(str(path), here)), said.get("encryption")


def _location(path: str) -> str:
    """A directory or an ssh URL; `user@host:path` is the latter in short."""
    short = re.fullmatch(r"(?P<login>[^/:@]+@[^/:]+):(?P<path>.+)", path)
    if short is None:
        return path.removeprefix("file://")
    inside = short["path"] if short["path"].startswith("/") else f"/./{short['path']}"
    return f"ssh://{short['login']}{inside}"


def _name(wanted: str) -> str:
    """A repository's name of a label, or of the last part of a location."""
    last = wanted.rstrip("/").rpartition("/")[2].removesuffix(".borg").lower()
    plain = re.sub(r"[^a-z0-9._-]+", "-", last).strip("-._")[:63]
    return plain if plain and not plain.isdigit() else f"repository-{plain}".rstrip("-")


def _template(options: Mapping[str, Any], here: Here) -> str:
    """The name's format with this machine's names in it, so that its archives are told from others'."""
    return _expanded(str(options.get("archive_name_format") or DEFAULT_NAME_FORMAT), here)


def _expanded(text: str, here: Here) -> str:
    for name in ("hostname", "fqdn", "user"):
        text = text.replace(f"{{{name}}}", getattr(here, name))
    return text


def _secret(options: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    phrase, command = options.get("encryption_passphrase"), options.get("encryption_passcommand")
    if command:
        return {"passphrase_command": shlex.split(str(command))}
    if phrase is None:
        return {}
    text = str(phrase)
    if found := re.fullmatch(r"\{credential file (?P<path>/[^}]+)\}", text):
        return {"passphrase_file": found["path"].strip()}
    if re.search(r"\$\{|^\{credential ", text):
        plan.left.append(("encryption_passphrase", "it comes from elsewhere: say it with `locutus repo passphrase`"))
        return {}
    return {"passphrase": text}


def _ssh_key(options: Mapping[str, Any], here: Here) -> str | None:
    """The key of `ssh -i ~/.ssh/backup` or `ssh -o IdentityFile=/root/key`."""
    found = re.search(
        r"(?:^|\s)-(?:i\s*|o\s*['\"]?IdentityFile[=\s]\s*)['\"]?([/~][^\s'\"]+)", str(options.get("ssh_command") or "")
    )
    return _at_home(found[1], here) if found else None


def _schedule(name: str, options: Mapping[str, Any], timing: Timing | None, here: Here) -> dict[str, Any] | None:
    if timing is None or timing.cron is None:
        return None
    kept = _kept(options)
    said: dict[str, Any] = {
        "name": f"{name}-backup", "repository": name, "cron_expression": timing.cron,
        "timezone": timing.timezone or here.timezone,
        "jitter": timing.jitter_s or None, "catch_up": timing.catch_up, "run_prune_after": _prunes(options, timing),
        "run_compact_after": timing.runs("compact") and "compact" not in _texts(options.get("skip_actions")), **kept,
    }  # fmt: skip
    return {field: value for field, value in said.items() if value is not None}


def _kept(options: Mapping[str, Any]) -> dict[str, Any]:
    return {rule: options[rule] for rule in RULES if options.get(rule)}


def _prunes(options: Mapping[str, Any], timing: Timing | None) -> bool:
    """Whether borgmatic pruned, and the retention says here what it says there."""
    skipped = "prune" in _texts(options.get("skip_actions")) or (timing is not None and not timing.runs("prune"))
    return bool(_kept(options)) and not skipped and not _keeps_otherwise(options)


def _prune_option(options: Mapping[str, Any], timing: Timing | None) -> str:
    rules = ",".join(f"{rule.replace('_', '-')}={count}" for rule, count in _kept(options).items())
    return f" --prune {rules}" if _prunes(options, timing) else ""


def _keeps_otherwise(options: Mapping[str, Any]) -> bool:
    """Whether borgmatic looked at other archives than the name's, or kept some by a rule that is none here."""
    return any(options.get(name) for name in options if name in _PATTERNS or _is_other_rule(name))


def _is_other_rule(name: str) -> bool:
    return name.startswith("keep_") and name not in RULES


def _checks(options: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """How often the repository is checked, and for how long."""
    if "check" in _texts(options.get("skip_actions")):
        return {}
    if "checks" not in options:
        return {"check_interval_days": DEFAULT_CHECK_DAYS}
    checks = [check if isinstance(check, Mapping) else {"name": check} for check in options["checks"] or []]
    plain = [check for check in checks if check.get("name") in {"repository", "archives", "data"}]
    names = {check.get("name") for check in checks}
    for other in sorted(str(name) for name in names - {"repository", "archives", "disabled"}):
        plan.left.append((f"checks: {other}", "a check by interval looks at repository and archives"))
    if "disabled" in names or not plain:
        return {}
    limit = next((check["max_duration"] for check in plain if check.get("max_duration")), None)
    if limit and "archives" in names:
        plan.left.append(("checks: archives", "a check of max_duration looks at the repository alone"))
    return {"check_interval_days": min(map(_interval_days, plain)), "check_max_duration": limit}


def _interval_days(check: Mapping[str, Any]) -> int:
    found = re.fullmatch(r"(\d+)\s*(hour|day|week|month|year)s?", str(check.get("frequency") or "always"))
    return max(1, round(int(found[1]) * _DAYS[found[2]])) if found else ALWAYS_DAYS


def _left(options: Mapping[str, Any], here: Here) -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        by_itself = value is (name in _ON_BY_ITSELF)
        if name in _TAKEN or name in _SILENT or value in (None, [], {}) or by_itself:
            continue
        why = next((reason for pattern, reason in _WHY if re.fullmatch(pattern, name)), "it has no counterpart here")
        if name == "ssh_command" and not _ssh_key(options, here):
            why = "it names no key, and nothing else of it is taken over"
        yield name, why


def _texts(given: Any) -> list[str]:
    return [str(each) for each in given] if isinstance(given, list) else []
