"""`locutus repo import`: borgmatic's configuration is read, the plan is shown, then what it says is made."""

import getpass
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from bot import wording
from cli.api_client import Api, ApiError, api
from cli.borgmatic.document import ImportRefusedError, files_in, read
from cli.borgmatic.plan import Here, Plan, Planned, plan_of
from cli.borgmatic.timing import Timing, read_timing
from cli.output import AsJson, command, fail, note, say, say_json
from cli.repo import PATH
from cli.schedule import PATH as SCHEDULES
from jobs.clock import now
from jobs.errors import InvalidRequestError
from jobs.field_errors import field_name, reason
from jobs.models import ScheduledJob
from jobs.repository_fields import NewRepository, archive_glob_of
from jobs.retention import in_words
from jobs.schedule.fields import NewSchedule
from jobs.schedule.turns import check_jitter
from jobs.settings import load_settings, machine_zone

USUAL_PLACES = (
    Path("/etc/cron.d/borgmatic"),
    Path("/etc/systemd/system/borgmatic.timer"),
    Path("/usr/lib/systemd/system/borgmatic.timer"),
)
SECRET = frozenset({"passphrase", "passphrase_command"})
"""A command may be `echo` and the passphrase."""


@command
async def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="borgmatic's file, or its directory.")],
    *,
    schedule_from: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The crontab or systemd timer that ran it.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The host that runs its jobs; this one if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over repositories, retention, checks and schedule from borgmatic's configuration."""
    try:
        plan = _joined(path, schedule_from, host)
        _check(plan)
    except ImportRefusedError as error:
        fail(error)
    if as_json:
        say_json(_shown(plan, written=not dry_run))
    else:
        _say(plan)
    if dry_run:
        note("Nothing was written.")
    elif yes or as_json or not sys.stdin.isatty() or typer.confirm("Write this?"):
        async with api(load_settings()) as client:
            await _write(client, plan.planned, quiet=as_json)


def _timing(given: Path | None, file: Path) -> Timing | None:
    """What the crontab or timer says of a configuration file, or the first of the usual ones that says something."""
    for place in (given,) if given else USUAL_PLACES:
        try:
            found = read_timing(place.read_text(), file)
        except FileNotFoundError:
            if given:
                raise ImportRefusedError(f"{given} does not exist.") from None
            continue
        except (OSError, UnicodeError) as error:
            raise ImportRefusedError(f"{place} can't be read ({error}).") from error
        if found:
            return found
        if given:
            raise ImportRefusedError(f"{given} has no line that runs borgmatic.")
    return None


def _joined(path: Path, schedule_from: Path | None, host: str | None) -> Plan:
    here = Here(
        hostname=socket.gethostname().partition(".")[0],
        fqdn=socket.getfqdn(),
        user=getpass.getuser(),
        timezone=machine_zone(),
        home=str(Path.home()),
    )
    whole = Plan()
    for file in files_in(path):
        timing = _timing(schedule_from, file.absolute())
        try:
            part = plan_of(read(file), timing, here, host)
        except ImportRefusedError as error:
            raise ImportRefusedError(f"{file}: {error}") from error
        whole.planned += part.planned
        whole.left += [entry for entry in part.left if entry not in whole.left]
    return whole


def _check(plan: Plan) -> None:
    """Refuse what the API would refuse, before anything is written."""
    names = [planned.repository["name"] for planned in plan.planned]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ImportRefusedError(f"two repositories would be called {min(doubled)}: give them a label each.")
    for planned in plan.planned:
        row, schedule = planned.repository, planned.schedule
        with _refusing(row["name"]):
            NewRepository.model_validate(row)
            _glob(row)
        if schedule:
            with _refusing(schedule["name"]):
                NewSchedule.model_validate(schedule)
                _check_jitter(schedule)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ImportRefusedError(f"{name}: {field_name(first)}: {reason(first)}") from error
    except InvalidRequestError as error:
        raise ImportRefusedError(f"{name}: {error}") from error


def _check_jitter(schedule: dict[str, Any]) -> None:
    row = ScheduledJob(
        cron_expression=schedule["cron_expression"], timezone=schedule["timezone"], jitter_s=schedule.get("jitter", 0)
    )
    check_jitter(row, now())


def _say(plan: Plan) -> None:
    for planned in plan.planned:
        for line in _lines(planned):
            say(line)
    if plan.left:
        say("Without a counterpart:")
        for name, why in plan.left:
            say(f"  {name}: {why}")


def _lines(planned: Planned) -> Sequence[str]:
    row, schedule = planned.repository, planned.schedule
    lines = [f"Repository {row['name']} at {row['location']}", f"  of {', '.join(row['source_directories'])}"]
    if row.get("exclude_patterns"):
        lines.append(f"  without {', '.join(row['exclude_patterns'])}")
    lines.append(f"  archives {row['archive_name_template']}, {_passphrase(row)}")
    if days := row.get("check_interval_days"):
        lines.append(f"  checked every {wording.count(days, 'day')}")
    if schedule:
        then = [step for step in ("prune", "compact") if schedule[f"run_{step}_after"]]
        said = f"  schedule {schedule['cron_expression']} {schedule['timezone']}"
        lines.append(", then ".join([said, *then]))
        lines.append(f"  {_pruned(row, schedule)}")
    return lines


def _pruned(row: dict[str, Any], schedule: dict[str, Any]) -> str:
    """What becomes of the archives that are there already."""
    if not schedule["run_prune_after"]:
        return "nothing is pruned; all archives stay"
    return (
        f"prune keeps {in_words(schedule)} of the archives named {_glob(row)}, those that borgmatic made included; "
        "no other archive is touched"
    )


def _glob(row: dict[str, Any]) -> str:
    return archive_glob_of(row["archive_name_template"], row["name"])


def _passphrase(row: dict[str, Any]) -> str:
    if "passphrase" in row:
        return "the passphrase that stands in the file"
    if "passphrase_file" in row:
        return f"the passphrase in {row['passphrase_file']}"
    return "the passphrase that a command prints" if "passphrase_command" in row else "no passphrase"


def _shown(plan: Plan, *, written: bool) -> dict[str, Any]:
    return {
        "repositories": [
            {name: value for name, value in planned.repository.items() if name not in SECRET}
            for planned in plan.planned
        ],
        "schedules": [planned.schedule for planned in plan.planned if planned.schedule],
        "without_counterpart": [{"option": name, "reason": why} for name, why in plan.left],
        "written": written,
    }


async def _write(client: Api, planned: Sequence[Planned], *, quiet: bool) -> None:
    known = {row["name"] for row in await client.items(PATH)}
    if taken := [each.repository["name"] for each in planned if each.repository["name"] in known]:
        raise ApiError(f"There is a repository called {taken[0]} already. Nothing was written.")
    for each in planned:
        added = await client.post(PATH, each.repository)
        if each.schedule:
            await _add_schedule(client, each.schedule)
        if not quiet:
            said = " and its schedule" if each.schedule else ""
            say(f"Repository {added['name']}{said} is added; its jobs run on {added['host']}.")


async def _add_schedule(client: Api, fields: dict[str, Any]) -> None:
    try:
        await client.post(SCHEDULES, fields)
    except ApiError as error:
        raise ApiError(
            f"The repository {fields['repository']} is added, but not its schedule: {error} "
            "Add it with `locutus schedule add`."
        ) from error
