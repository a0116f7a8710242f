"""Asking a program something short: its answer from standard output, bounded in time and size."""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from jobs.borg.environment import inherited

TERMINATE_PATIENCE_S = 5.0
"""How long a program that takes too long may go on after SIGTERM: borg gives the repository's lock back meanwhile."""
ERRORS_LIMIT = 262_144


@dataclass(frozen=True, slots=True)
class Reply:
    """What the program printed, and its exit status; None if it was ended because it printed too much. Of what it
    printed as errors these are the first bytes.
    """

    output: bytes
    status: int | None
    errors: bytes = b""


async def ask(
    argv: Sequence[str],
    timeout_s: float,
    limit: int,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
    into: BinaryIO | None = None,
) -> Reply:
    """Run `argv` and read up to `limit` bytes and one more; without an `environment` it gets the allowlist.

    With `into` all that it prints goes to that file, and none of it to the reply.

    Raises OSError where it can't be run, TimeoutError when it takes too long. It has ended in any case.
    """
    given = inherited(os.environ) if environment is None else environment
    # Errors go to memory: a pipe would have to be drained, and a program may leave somebody behind who holds it open.
    with os.fdopen(os.memfd_create("errors"), "rb") as errors:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=given,
            stdin=DEVNULL,
            stdout=PIPE if into is None else into,
            stderr=errors,
            pass_fds=descriptors,
            start_new_session=True,  # without a terminal: ssh would ask there for what nobody is there to type
        )
        try:
            async with asyncio.timeout(timeout_s):
                output = await _read(process, limit + 1)
                status = await process.wait() if len(output) <= limit else None
                return Reply(output, status, os.pread(errors.fileno(), ERRORS_LIMIT, 0))
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(TERMINATE_PATIENCE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _read(process: asyncio.subprocess.Process, most: int) -> bytes:
    output = b""
    while process.stdout and len(output) < most and (piece := await process.stdout.read(most - len(output))):
        output += piece
    return output
