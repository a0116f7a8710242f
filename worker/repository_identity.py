"""The id that borg gave a repository: by it two rows that mean one repository are found out (`jobs/lanes.py`).

A local repository has it in its `config` (borg's manual, internals/data-structures, "Config file"); a remote one is
asked by borg.
"""

import asyncio
import configparser
import json
import re
from pathlib import Path

import structlog

from jobs.models import Repository
from jobs.secrets import HostKey
from jobs.settings import Settings
from worker.ask_borg import Bounds, ask_borg
from worker.passphrase import PassphraseUnavailableError, passphrase_of

BOUNDS = Bounds(timeout_s=120, limit=1024 * 1024)
LOCK_WAIT_S = 60
_ID = re.compile("[0-9a-f]{64}")

_log = structlog.get_logger()


async def identity_of(settings: Settings, repository: Repository, key: HostKey) -> str | None:
    """64 hexadecimal digits; None where it can't be had now, which is no reason to fail: each backup tells it too."""
    try:
        if repository.location.startswith("/"):
            found = await asyncio.to_thread(_from_config, Path(repository.location))
        else:
            found = await _from_borg(settings, repository, key)
    except (OSError, ValueError, KeyError, TypeError, configparser.Error, PassphraseUnavailableError) as error:
        _log.warning("repository_not_identified", repository=repository.name, reason=str(error))
        return None
    return found if _ID.fullmatch(found) else None


def _from_config(location: Path) -> str:
    config = configparser.ConfigParser(interpolation=None)
    config.read_string((location / "config").read_text())
    return config["repository"]["id"]


async def _from_borg(settings: Settings, repository: Repository, key: HostKey) -> str:
    secret = await passphrase_of(repository, key)
    options = ("--json", "--last", "1", "--log-json", "--lock-wait", str(LOCK_WAIT_S))
    arguments = ("list", *options, "--", repository.location)
    reply = await ask_borg(settings, repository, arguments, BOUNDS, secret)
    return str(json.loads(reply.output)["repository"]["id"])
