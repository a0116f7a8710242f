"""Asking a program something short: its answer from standard output, bounded in time and size."""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.borg.environment import INHERITED


@dataclass(frozen=True, slots=True)
class Reply:
    """What the program printed, and its exit status; None if it was ended because it printed too much."""

    output: bytes
    status: int | None


async def ask(
    argv: Sequence[str],
    timeout_s: float,
    limit: int,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Reply:
    """Run `argv` and read up to `limit` bytes and one more; without an `environment` it gets the allowlist.

    Raises OSError where it can't be run, TimeoutError when it takes too long. It has ended in any case.
    """
    given = {name: os.environ[name] for name in INHERITED if name in os.environ} if environment is None else environment
    process = await asyncio.create_subprocess_exec(
        *argv, env=given, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, pass_fds=descriptors
    )
    try:
        async with asyncio.timeout(timeout_s):
            output = await _read(process, limit + 1)
            return Reply(output, await process.wait() if len(output) <= limit else None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _read(process: asyncio.subprocess.Process, most: int) -> bytes:
    output = b""
    while process.stdout and len(output) < most and (piece := await process.stdout.read(most - len(output))):
        output += piece
    return output
