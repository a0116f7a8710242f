"""Archive names: templates expanded by us, so that a name is known before borg runs and after anything dies."""

import os
import re
import socket
from dataclasses import dataclass
from datetime import datetime
from getpass import getuser
from string import Formatter

from jobs.errors import InvalidRequestError

DEFAULT_TEMPLATE = "{repository}-{utcnow:%Y-%m-%dT%H:%M:%S}"
LONGEST_NAME = 240
_FORBIDDEN = re.compile(r"[/\\{}\x00-\x1f\x7f]|::")


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What the placeholders stand for."""

    repository: str
    job_id: int
    utcnow: datetime
    schedule: str = ""
    host: str = ""
    """The host that makes the archive; empty: this one."""

    def values(self) -> dict[str, object]:
        """Each placeholder's value."""
        host = self.host or socket.gethostname()
        return {
            "hostname": host.partition(".")[0],
            "fqdn": host,
            "user": _user(),
            "now": _Moment(self.utcnow.astimezone()),
            "utcnow": _Moment(self.utcnow),
            "repository": self.repository,
            "schedule": self.schedule,
            "job": self.job_id,
        }


class _Moment:
    """A time that formats as ISO seconds unless a strftime format is given."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def __format__(self, specification: str) -> str:
        return self._moment.strftime(specification or "%Y-%m-%dT%H:%M:%S")


def expand(template: str, facts: NameFacts) -> str:
    """The archive's name; raises `InvalidRequestError` for an unknown placeholder or a name that borg won't take."""
    values = facts.values()
    try:
        name = "".join(_piece(part, values) for part in Formatter().parse(template))
    except (KeyError, ValueError, IndexError) as error:
        known = " ".join(f"{{{key}}}" for key in values)
        raise InvalidRequestError(
            "archive_name_template", f"{template!r} has an unknown placeholder ({error}). Use {known}."
        ) from error
    if not name or name != name.strip() or len(name) > LONGEST_NAME or _FORBIDDEN.search(name):
        raise InvalidRequestError("archive_name_template", f"{template!r} makes the name {name!r}, which borg refuses.")
    return name


def _piece(part: tuple[str, str | None, str | None, str | None], values: dict[str, object]) -> str:
    literal, field, specification, conversion = part
    if field is None:
        return literal
    value = values[field]
    if conversion or (specification and not isinstance(value, _Moment)):
        raise ValueError(f"{field}: only times take a format")
    return literal + format(value, specification or "")


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
