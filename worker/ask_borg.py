"""Asking borg something beside a run, in the environment that a run has, and reading what it said where it failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from jobs.borg.events import parse_event
from jobs.borg.outcome import Diagnosis, Outcome
from jobs.models import Repository
from jobs.settings import Settings
from worker.ask import Reply, ask
from worker.borg_access import borg_access
from worker.secret_pipe import secret_pipe
from worker.supervisor import SECRET_VARIABLE


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long an answer may take, in seconds, and how large it may be, in bytes."""

    timeout_s: float
    limit: int


async def ask_borg(
    settings: Settings,
    repository: Repository,
    arguments: Sequence[str],
    bounds: Bounds,
    secret: bytes | None = None,
    into: BinaryIO | None = None,
) -> Reply:
    """Run borg for a repository, with a passphrase from a pipe where there is one; raises as `worker.ask.ask` does.

    An answer of any length goes `into` a file.
    """
    access = borg_access(settings, repository)
    with secret_pipe(secret) as descriptors:
        given = {SECRET_VARIABLE: str(descriptors[0])} if descriptors else {}
        argv = (*access.command, *arguments)
        return await ask(argv, bounds.timeout_s, bounds.limit, {**access.environment, **given}, descriptors, into)


def outcome_of(reply: Reply, repository: Repository) -> Outcome:
    """What borg's answer means, from its exit status and its log (`--log-json`)."""
    diagnosis = Diagnosis()
    for line in reply.errors.splitlines(keepends=True):
        diagnosis.feed(parse_event(line))
    status = 2 if reply.status is None else reply.status
    return diagnosis.outcome(status, repository=repository.name, location=repository.location)
