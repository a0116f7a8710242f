"""The question for a second person as a chat shows it, and what became of it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from bot import wording
from bot.card import Button, Field, Message, Part, asked, by, title
from jobs.confirmations import ConfirmationState
from jobs.models import Confirmation
from jobs.types import JOB_TYPES

CONFIRM, DISMISS = "request.confirm", "request.dismiss"
_SENTENCE_LIMIT = 600
_STATES = {
    ConfirmationState.WAITING: ("?", "waits for a second person"),
    ConfirmationState.CONFIRMED: ("✓", "was confirmed"),
    ConfirmationState.DISMISSED: ("–", "was dismissed"),
    ConfirmationState.EXPIRED: ("–", "has expired"),
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the job would work on."""

    kind: str
    repository: str | None
    subject: str | None
    host: str


def question_message(row: Confirmation, state: ConfirmationState) -> Message:
    """What exactly will happen, on what, who asked, and the buttons while it waits; then who decided, and the job."""
    kind = JOB_TYPES.get(row.kind)
    subject = kind.subject(row.request.get("parameters", {})) if kind else None
    work = _Asked(row.kind, row.repository_name, subject, row.host)
    mark, said = _STATES[state]
    waits = state is ConfirmationState.WAITING
    return Message(
        job_id=None,
        part=Part.QUESTION,
        status=state,
        mark=mark,
        headline=title(work, kind.words if kind else None),
        state=f"{said} (confirmation {row.id})",
        lines=(_what_now(row, state), *(wording.clip(wording.one_line(line), _SENTENCE_LIMIT) for line in row.plan)),
        fields=(*asked(row.asked_by, row.origin), *_decided(row, state)),
        buttons=question_buttons(row) if waits else (),
        confirmation_id=row.id,
    )


def question_buttons(row: Confirmation) -> tuple[Button, ...]:
    """Yes and no."""
    return Button(CONFIRM, str(row.id), "Confirm", "danger"), Button(DISMISS, str(row.id), "Dismiss")


def _what_now(row: Confirmation, state: ConfirmationState) -> str:
    if state is ConfirmationState.CONFIRMED:
        return f"It is job #{row.job_id}." if row.job_id else "It is done."
    if state is ConfirmationState.WAITING:
        until = wording.moment(row.expires_at)
        return f"Somebody else with the right must confirm by {until}, else nothing is done."
    return "Nothing was done."


def _decided(row: Confirmation, state: ConfirmationState) -> Iterator[Field]:
    if row.decided_by and state in {ConfirmationState.CONFIRMED, ConfirmationState.DISMISSED}:
        yield by(f"{state.capitalize()} by", row.decided_by)
