"""Which borg this host has, asked once for each file that it has been."""

import asyncio
import re
import shutil
from pathlib import Path

VERSION_TIMEOUT_S = 20
_versions: dict[tuple[str, int, int], str | None] = {}


async def borg_version(program: str) -> str | None:
    """The version, such as `1.2.4`; None when borg is missing or does not say."""
    path = shutil.which(program)
    if path is None:
        return None
    status = await asyncio.to_thread(Path(path).stat)
    key = (path, status.st_mtime_ns, status.st_size)
    if key not in _versions:
        _versions[key] = await _ask(path)
    return _versions[key]


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
