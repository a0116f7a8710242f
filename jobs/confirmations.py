"""The yes or no to a request that destroys or overwrites: asked by `jobs.submit`, decided here, once.

A question is a row, so that it outlives every restart; the yes and the job it makes are one transaction. Who says yes a
second time is told of the same job.
"""

from dataclasses import replace
from enum import StrEnum
from functools import partial

from jobs import audit, chain
from jobs.access import Principal
from jobs.clock import now
from jobs.database.unit import unit
from jobs.errors import ConflictError, ForbiddenError, NotFoundError
from jobs.models import Confirmation, HookDelivery, Job
from jobs.place import find_place, said_of
from jobs.submit import JobRequest, accept_within, require_acceptable, takes_second_person
from jobs.types import job_type


class ConfirmationState(StrEnum):
    """How far a question is; `expired` is never stored: it follows from the time."""

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"
    EXPIRED = "expired"


class DecidedMeanwhileError(Exception):
    """Another's decision was faster."""


def state_of(row: Confirmation) -> ConfirmationState:
    """How far the question is now."""
    stored = ConfirmationState(row.state)
    expired = stored is ConfirmationState.WAITING and row.expires_at <= now()
    return ConfirmationState.EXPIRED if expired else stored


async def find(number: int) -> Confirmation:
    """The question; raises `NotFoundError`."""
    row = await Confirmation.get_or_none(id=number)
    if row is None:
        raise NotFoundError(f"There is no confirmation {number}.")
    return row


async def confirm(number: int, principal: Principal, *, origin: str, asked_in: str | None = None) -> Job:
    """Say yes, and return the job that comes, or came, of it.

    Raises `NotFoundError`, `ForbiddenError` for who may not ask for it, or not alone, `ConflictError` when it was
    dismissed, has expired, or the repository is not what it was, and whatever `jobs.submit` refuses by now.
    """
    row = await find(number)
    request = _request(row, principal, asked_in)
    await require_acceptable(request)
    if state_of(row) is ConfirmationState.CONFIRMED:
        return await Job.get(id=row.job_id)
    _require_waiting(row)
    # The setting may have come after the question.
    if row.asked_by == principal.subject and (row.second_person or await takes_second_person(request)):
        raise ForbiddenError(f"Confirmation {number} takes a second person: somebody else with the right must confirm.")
    try:
        return await unit(partial(_confirm, row, request, origin))
    except DecidedMeanwhileError:
        return await confirm(number, principal, origin=origin, asked_in=asked_in)


async def dismiss(number: int, principal: Principal, *, origin: str, asked_in: str | None = None) -> Confirmation:
    """Say no; one that was dismissed or has expired stays as it is.

    Raises `NotFoundError`, `ForbiddenError` for who neither asked nor might ask for it, `ConflictError` when it was
    confirmed.
    """
    row = await find(number)
    if principal.subject != row.asked_by:
        await require_acceptable(_request(row, principal, asked_in))
    if state_of(row) is ConfirmationState.CONFIRMED:
        raise ConflictError(f"Confirmation {number} was confirmed: it is job #{row.job_id}. Cancel that.")
    if state_of(row) is ConfirmationState.WAITING:
        try:
            await unit(partial(_dismiss, row, principal, origin))
        except DecidedMeanwhileError:
            return await dismiss(number, principal, origin=origin, asked_in=asked_in)
    return await find(number)


def _require_waiting(row: Confirmation) -> None:
    if state_of(row) is ConfirmationState.DISMISSED:
        raise ConflictError(f"Confirmation {row.id} was dismissed. Ask again if it is to be done.")
    if state_of(row) is ConfirmationState.EXPIRED:
        raise ConflictError(f"Confirmation {row.id} has expired, and nothing was done. Ask again.")


def _request(row: Confirmation, principal: Principal, asked_in: str | None) -> JobRequest:
    """The request as it was asked; the right is that of who decides, the job is the asker's."""
    stored = {name: value for name, value in row.request.items() if name in JobRequest.__slots__}
    stored["then"] = chain.stored(stored.get("then", ()))
    request = JobRequest(principal=principal, origin=row.origin, **stored)
    return replace(request, asked_by=row.asked_by, asked_in=asked_in, request_key=f"confirmation:{row.id}")


async def _confirm(row: Confirmation, request: JobRequest, origin: str) -> Job:
    await _decide(row, ConfirmationState.CONFIRMED, request.principal)
    job = await accept_within(request)
    await _require_as_asked(row, request)
    await Confirmation.filter(id=row.id).update(job_id=job.id)
    await HookDelivery.filter(confirmation_id=row.id).update(job_id=job.id)
    await _record(row, "confirm", request.principal, origin, job_id=job.id)
    return job


async def _require_as_asked(row: Confirmation, request: JobRequest) -> None:
    """What it works on is still what the question told of. To be called once the job's row holds the repository's."""
    place = await find_place(job_type(request.kind), request.repository, request.host, request.schedule)
    if row.request.get("place") != said_of(place):
        raise ConflictError(f"The repository {row.repository_name} was changed since. Ask again.")


async def _dismiss(row: Confirmation, principal: Principal, origin: str) -> None:
    await _decide(row, ConfirmationState.DISMISSED, principal)
    await _record(row, "dismiss", principal, origin)


async def _decide(row: Confirmation, state: ConfirmationState, principal: Principal) -> None:
    waiting = Confirmation.filter(id=row.id, state=ConfirmationState.WAITING, expires_at__gt=now())
    if not await waiting.update(state=state, decided_by=principal.subject, decided_at=now()):
        raise DecidedMeanwhileError


async def _record(row: Confirmation, verb: str, principal: Principal, origin: str, **detail: int) -> None:
    target = row.repository_name or row.host
    said = {"confirmation_id": row.id, "kind": row.kind, "asked_by": row.asked_by, **detail}
    await audit.record(principal, f"confirmation.{verb}", origin=origin, target=target, **said)
