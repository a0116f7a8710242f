"""Asking borg something beside a run, in the environment that a run has, and reading what it said where it failed."""

import os
from collections.abc import Sequence
from typing import BinaryIO

from jobs.borg.environment import environment
from jobs.borg.events import parse_event
from jobs.borg.outcome import Diagnosis, Outcome
from jobs.models import Repository
from worker.ask import Reply, ask
from worker.secret_pipe import secret_pipe
from worker.supervisor import SECRET_VARIABLE


async def ask_borg(argv: Sequence[str], timeout_s: float, limit: int, secret: bytes | None = None) -> Reply:
    """Run borg, with a passphrase from a pipe where there is one; raises as `worker.ask.ask` does."""
    return await _ask(argv, timeout_s, limit, secret)


async def ask_borg_into(file: BinaryIO, argv: Sequence[str], timeout_s: float, secret: bytes | None) -> Reply:
    """The same for an answer of any length, which goes to a file."""
    return await _ask(argv, timeout_s, 0, secret, file)


async def _ask(
    argv: Sequence[str], timeout_s: float, limit: int, secret: bytes | None, into: BinaryIO | None = None
) -> Reply:
    variables = environment(os.environ, base_dir=None, passphrase_given=secret is not None)
    with secret_pipe(secret) as descriptors:
        variables |= {SECRET_VARIABLE: str(descriptors[0])} if descriptors else {}
        return await ask(argv, timeout_s, limit, variables, descriptors, into)


def outcome_of(reply: Reply, repository: Repository) -> Outcome:
    """What borg's answer means, from its exit status and its log (`--log-json`)."""
    diagnosis = Diagnosis()
    for line in reply.errors.splitlines(keepends=True):
        diagnosis.feed(parse_event(line))
    status = 2 if reply.status is None else reply.status
    return diagnosis.outcome(status, repository=repository.name, location=repository.location)
