"""Which borg this host has, asked once for each file that it has been."""

import asyncio
import re
import shutil
from pathlib import Path

VERSION_TIMEOUT_S = 20
_versions: dict[tuple[str, int, int], str | None] = {}
_known: dict[str, str | None] = {}


def known_borg_version(program: str) -> str | None:
    """What `borg_version` said last; the sweep asks it every minute, so that no job has to wait for an answer."""
    return _known.get(program)


async def borg_version(program: str) -> str | None:
    """The version, such as `1.2.4`; None when borg is missing or does not say."""
    key = await asyncio.to_thread(_identify, program)
    if key is not None and key not in _versions:
        _versions[key] = await _ask(key[0])
    _known[program] = _versions[key] if key else None
    return _known[program]


def _identify(program: str) -> tuple[str, int, int] | None:
    path = shutil.which(program)
    if path is None:
        return None
    status = Path(path).stat()
    return path, status.st_mtime_ns, status.st_size


async def _ask(path: str) -> str | None:
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(VERSION_TIMEOUT_S):
            output, _ = await process.communicate()
    except (OSError, TimeoutError):
        return None
    match = re.search(rb"(\d+\.\d+(?:\.\w+)*)", output)
    return match[1].decode() if match else None
