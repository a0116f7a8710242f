"""Which borg this host has, asked once for each file that it has been."""

import asyncio
import re
import shutil
from pathlib import Path

from worker.ask import ask

VERSION_TIMEOUT_S = 20
LONGEST_ANSWER = 4096
_versions: dict[tuple[str, int, int], str] = {}
_known: dict[str, str | None] = {}


def known_borg_version(program: str) -> str | None:
    """What `borg_version` said last; the sweep asks it every minute, so that no job has to wait for an answer."""
    return _known.get(program)


async def borg_version(program: str) -> str | None:
    """The version, such as `1.2.4`; None when borg is missing or does not say."""
    key = await asyncio.to_thread(_identify, program)
    version = _versions.get(key) if key else None
    if key and version is None and (version := await _ask(key[0])):
        _versions[key] = version
    _known[program] = version
    return version


def _identify(program: str) -> tuple[str, int, int] | None:
    path = shutil.which(program)
    if path is None:
        return None
    status = Path(path).stat()
    return path, status.st_mtime_ns, status.st_size


async def _ask(path: str) -> str | None:
    try:
        reply = await ask((path, "--version"), VERSION_TIMEOUT_S, LONGEST_ANSWER)
    except OSError:  # also a TimeoutError
        return None
    match = re.search(rb"(\d+\.\d+(?:\.\w+)*)", reply.output)
    return match[1].decode() if match else None
