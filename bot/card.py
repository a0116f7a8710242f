"""What a job's messages say, the same for every platform: the card, the progress message, the last log lines. Pure.

A renderer lays a message out as its platform likes; what is said, and in which order, is decided here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from bot import wording
from bot.figures import SEPARATOR, Bar, figures_of, last_activity, share_done
from jobs.confirmations import ConfirmationState
from jobs.types import JOB_TYPES
from jobs.view import JobStatus, JobView

LOG_TAIL_LINES = 15
_AGAIN_SHOWN = 2
_NAME_LIMIT, _FILE_LIMIT, _SENTENCE_LIMIT, _LOG_LINE_LIMIT = 80, 60, 600, 160
_MARKS = {
    JobStatus.PENDING: "○",
    JobStatus.RUNNING: "●",
    JobStatus.COMPLETED: "✓",
    JobStatus.FAILED: "✗",
    JobStatus.CANCELLED: "–",
}
_WARNING_MARK = "!"
_LATE = {
    JobStatus.COMPLETED: "it had completed after all",
    JobStatus.FAILED: "it had failed",
    JobStatus.CANCELLED: "it had been cancelled",
}
_ORIGINS = {"slack": "Slack", "discord": "Discord", "api": "API", "cli": "command line", "hook": "webhook"}
_PEOPLE = {"slack": "Slack user", "discord": "Discord user"}


class Part(StrEnum):
    """Which of a job's messages it is; FAILURE is the further reply with the last log lines, END that of a long job.

    QUESTION is no job's: it asks a second person whether one may be.
    """

    CARD = "card"
    PROGRESS = "progress"
    FAILURE = "failure"
    END = "end"
    QUESTION = "question"


class KindWords(Protocol):
    """How a job type speaks of itself: `Backup`, `of`, `Backing up`; `jobs.job_type.Words` is one."""

    @property
    def noun(self) -> str: ...
    @property
    def preposition(self) -> str: ...
    @property
    def running(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Field:
    """A named fact. `subject` is set where the value is a person whom a platform may know: `slack:T1:U1`."""

    name: str
    value: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """A click that comes back as (`action`, `value`)."""

    action: str
    value: str
    label: str
    style: Literal["danger"] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message about one job, or about a question (`confirmation_id`) that may become one, unescaped.

    `mark`, `headline` and `state` make the first line; then `bar`, `lines`, `fields`, `note` (small print), `code`
    (log lines parted by newlines, shown as they stand) and `buttons`. Only `code` has newlines in it.
    """

    job_id: int | None
    part: Part
    status: JobStatus | ConfirmationState
    mark: str
    headline: str
    state: str
    fields: tuple[Field, ...] = ()
    bar: Bar | None = None
    lines: tuple[str, ...] = ()
    note: str | None = None
    code: str | None = None
    buttons: tuple[Button, ...] = ()
    confirmation_id: int | None = None

    @property
    def text(self) -> str:
        """The same as plain text, for notifications and screen readers; only the small print is left out."""
        bar = (self.bar.caption,) if self.bar else ()
        details = [*bar, *self.lines, *(f"{field.name.lower()} {field.value}" for field in self.fields)]
        listed = ", ".join((*(detail.rstrip(".") for detail in details[:-1]), *details[-1:])).replace(SEPARATOR, ", ")
        sentence = f"{self.headline} {self.state}" + (f": {listed}" if listed else "")
        return "\n".join((sentence, *((self.code,) if self.code else ())))


def job_card(
    job: JobView,
    *,
    words: KindWords | None = None,
    chain: Sequence[JobView] = (),
    again: Sequence[JobView] = (),
    confirmed_by: str | None = None,
) -> Message:
    """The root message: what, where, who, state, buttons. It shows no progress and so changes only with the state.

    `chain` holds the jobs that have followed this one, in their order, `again` those that ask for the same once more.
    `confirmed_by` is who said yes to it.
    """
    return replace(
        _message(job, Part.CARD, title(job, words)),
        fields=(
            *_facts(job),
            *_confirmed_by(job, confirmed_by),
            *_cancelled_by(job),
            *_chain(job, chain),
            *_again(job, again),
        ),
        lines=(*_situation(job, with_place=True), *_noted(job)),
        buttons=(*_chain_buttons(job, chain), *_buttons(job)),
    )


def progress_message(
    job: JobView,
    *,
    now: datetime,
    words: KindWords | None = None,
) -> Message:
    """The message in the thread that is edited until the job ends, and then holds the final figures or the reason.

    What a job waits for stands in it, the place in the queue does not: that is for the card to follow.
    """
    situation = _situation(job, with_place=False)
    if job.status is JobStatus.RUNNING:
        return _running(job, words, now, situation)
    completed = job.status is JobStatus.COMPLETED
    figures = figures_of(job.progress, alive=False, new_in=" in the repository") if completed else None
    said = _last_said(job) if completed or job.status is JobStatus.CANCELLED else None
    return replace(
        _message(job, Part.PROGRESS, title(job, words)),
        lines=tuple(filter(None, (figures, said, *situation))),
        fields=tuple(_cancelled_by(job)),
    )


def failure_message(job: JobView, log_tail: Sequence[str]) -> Message:
    """The further reply after a failure: the last lines of the log, oldest first."""
    shown = [wording.clip(wording.log_line(line), _LOG_LINE_LIMIT) for line in log_tail[-LOG_TAIL_LINES:]]
    code = "\n".join(shown).strip("\n")
    hint = f"/backup logs {job.id} shows the whole log" if code else "the log is empty"
    return replace(
        _message(job, Part.FAILURE, "Last log lines of"),
        lines=(hint,),
        fields=(by("Asked by", job.requested_by),),
        code=code or None,
    )


def end_message(job: JobView, *, words: KindWords | None = None) -> Message:
    """The further reply after a job that took long: it says the end to who asked, as an edit notifies nobody."""
    return replace(_message(job, Part.END, title(job, words)), fields=(by("Asked by", job.requested_by),))


def _message(job: JobView, part: Part, headline: str) -> Message:
    mark = _WARNING_MARK if job.status is JobStatus.COMPLETED and job.warnings else _MARKS[job.status]
    state = f"#{job.id} {job.status}" if part is Part.FAILURE else _state(job)
    return Message(job.id, part, job.status, mark, headline, state)


def _running(job: JobView, words: KindWords | None, now: datetime, situation: tuple[str, ...]) -> Message:
    progress, bar = job.progress, share_done(job.progress)
    silent = bool(situation)
    phase = _sentence(progress.progress_message or "")
    figures = figures_of(progress, alive=not silent)
    nothing_yet = None if bar or phase or figures or silent else "no figures yet"
    tail = situation or (last_activity(progress, now, told_by_bar=bar is not None),)
    return replace(
        _message(job, Part.PROGRESS, _running_title(job, words)),
        bar=bar,
        lines=tuple(filter(None, (phase, figures, nothing_yet, *tail))),
        note=wording.shorten(wording.one_line(progress.current_file), _FILE_LIMIT) if progress.current_file else None,
    )


class Work(Protocol):
    """What is worked on, or would be."""

    @property
    def kind(self) -> str: ...
    @property
    def repository(self) -> str | None: ...
    @property
    def subject(self) -> str | None: ...
    @property
    def host(self) -> str: ...


def title(job: Work, words: KindWords | None) -> str:
    """`Backup of photos`, `Installation of tree on nas-1`."""
    noun = words.noun if words else _name(job)
    if job.repository is None and job.subject is None:
        return f"{noun} on {_short(job.host)}"
    return f"{noun} {words.preposition if words else 'of'} {_what(job)}"


def _running_title(job: JobView, words: KindWords | None) -> str:
    return f"{words.running} {_what(job)}" if words else title(job, words)


def _what(job: Work) -> str:
    """`photos`; of a host's own job `tree on nas-1`, or `on nas-1`."""
    if job.repository is not None:
        return _short(job.repository)
    return " ".join((*([_short(job.subject)] if job.subject else []), "on", _short(job.host)))


def _name(job: Work) -> str:
    return _short(job.kind.replace("_", " ").capitalize())


def _state(job: JobView) -> str:
    """`#7 completed with 3 warnings in 4 min 12 s`."""
    warnings = f" with {wording.count(job.warnings, 'warning')}" if job.warnings and job.status.final else ""
    took = ""
    if job.status.final and job.duration_s is not None:
        took = f" {'in' if job.status is JobStatus.COMPLETED else 'after'} {wording.duration(job.duration_s)}"
    return f"#{job.id} {job.status}{warnings}{took}"


def _situation(job: JobView, *, with_place: bool) -> tuple[str, ...]:
    """Why the job is where it is: what it waits for, since when its host is silent, what the error or warning was."""
    message = (_sentence(job.error_message),) if job.error_message else ()
    silent = (f"host silent since {wording.moment(job.host_silent_since)}",) if job.host_silent_since else ()
    if job.status is JobStatus.PENDING:
        return (_waiting(job, with_place=with_place), *silent, *message)
    if job.status is JobStatus.RUNNING:
        return (*_being_cancelled(job), *silent)
    if job.late_status is not None:
        return (f"the host returned: {_LATE[job.late_status]}",)
    return message or (("no reason was recorded",) if job.status is JobStatus.FAILED else ())


def _noted(job: JobView) -> Iterator[str]:
    if job.note:
        yield _sentence(job.note)


def _being_cancelled(job: JobView) -> Iterator[str]:
    if job.cancelled_by:
        yield f"being cancelled, asked by {_who(job.cancelled_by)}"


def _last_said(job: JobView) -> str | None:
    """What a run found or did in the end; of a cancelled one, what became of the repository's lock."""
    said = job.progress.progress_message
    # A reason that goes on with what does not follow begins with it.
    return _sentence(said) if said and not (job.error_message or "").startswith(said.rstrip(".")) else None


def _waiting(job: JobView, *, with_place: bool) -> str:
    if job.waits_for:
        place = _place(job.queue_place) if with_place and job.queue_place else ""
        return f"waiting for {_sentence(job.waits_for)}{place}"
    if job.not_before:
        return f"{'tried again at' if job.attempt > 1 else 'waiting until'} {wording.soon(job.not_before)}"
    return f"waiting for {_short(job.host)}"


def _place(number: int) -> str:
    return ", next in the queue" if number == 1 else f", place {number} in the queue"


def _facts(job: JobView) -> Iterator[Field]:
    if job.repository is not None:
        yield Field("Host", _short(job.host))
    yield from asked(job.requested_by, job.origin)
    if job.archive_name and {job.status, job.late_status} & {JobStatus.RUNNING, JobStatus.COMPLETED}:
        yield Field("Archive", _short(job.archive_name))
    if job.attempt > 1:
        yield Field("Attempt", str(job.attempt))
    if job.retry_of is not None:
        yield Field("Retry of", f"#{job.retry_of}")


def asked(subject: str, through: str) -> Iterator[Field]:
    """Who asked, and the way it came in where that does not say it."""
    yield by("Asked by", subject)
    origin, _, detail = through.partition(":")
    if origin and origin != subject.partition(":")[0]:
        yield Field("Via", _short(" ".join(filter(None, (_ORIGINS.get(origin, origin), detail)))))


def by(name: str, subject: str) -> Field:
    """A person, by the name of what they did."""
    return Field(name, _who(subject), subject)


def _chain(job: JobView, chain: Sequence[JobView]) -> Iterator[Field]:
    """`prune #8 completed, compact #9 running`; a step to come stands without a number."""
    last = chain[-1] if chain else job
    over = last.status in {JobStatus.FAILED, JobStatus.CANCELLED}
    begun = [f"{_name(step).lower()} #{step.id} {step.status}" for step in chain]
    to_come = [_short(kind.replace("_", " ")) + (" not run" if over else "") for kind in last.follow_ups]
    if steps := (*begun, *to_come):
        yield Field("Then", ", ".join(steps))


def _again(job: JobView, again: Sequence[JobView]) -> Iterator[Field]:
    """`Retried as #9 by ann`: who pressed the button, or wrote the command."""
    word = "Run again" if job.status is JobStatus.COMPLETED else "Retried"
    for next_one in again[-_AGAIN_SHOWN:]:
        yield by(f"{word} as #{next_one.id} by", next_one.requested_by)


def _confirmed_by(job: JobView, subject: str | None) -> Iterator[Field]:
    if subject and subject != job.requested_by:
        yield by("Confirmed by", subject)


def _chain_buttons(job: JobView, chain: Sequence[JobView]) -> tuple[Button, ...]:
    """While a step goes on, the card's button ends that one: the first job has ended by then."""
    going_on = next((step for step in chain if not step.status.final), None)
    return (Button("job.cancel", str(job.id), "Cancel", "danger"),) if going_on and _cancellable(going_on) else ()


def _cancelled_by(job: JobView) -> Iterator[Field]:
    if job.cancelled_by and job.status is JobStatus.CANCELLED:
        yield by("Cancelled by", job.cancelled_by)


def _who(subject: str) -> str:
    """`token ci`, `root at the command line`, `Slack user U1`: a subject where nobody can resolve it to a name."""
    kind, _, name = subject.partition(":")
    if kind in _PEOPLE:
        return _short(f"{_PEOPLE[kind]} {name.rpartition(':')[2]}")
    return _short(f"{name} at the command line" if kind == "cli" else subject.replace(":", " ", 1))


def _buttons(job: JobView) -> tuple[Button, ...]:
    return tuple(Button(action, str(job.id), label, style) for action, label, style in _actions(job))


def _actions(job: JobView) -> Iterator[tuple[str, str, Literal["danger"] | None]]:
    if not job.status.final and _cancellable(job):
        yield "job.cancel", "Cancel", "danger"
    if job.status is JobStatus.COMPLETED:
        if job.kind not in JOB_TYPES or JOB_TYPES[job.kind].command_word:  # nobody makes a repository twice
            yield "job.again", "Run again", None
    elif job.status.final and job.late_status is not JobStatus.COMPLETED:
        yield "job.retry", "Retry", None
    if job.status is not JobStatus.PENDING:
        yield "job.log", "Show log", None


def _cancellable(job: JobView) -> bool:
    kind = JOB_TYPES.get(job.kind)
    if job.status is JobStatus.RUNNING and job.cancelled_by:
        return False
    return kind is None or job.status is JobStatus.PENDING or kind.cancellable(job.progress)


def _short(name: str) -> str:
    return wording.shorten(wording.one_line(name), _NAME_LIMIT)


def _sentence(text: str) -> str:
    return wording.clip(wording.one_line(text), _SENTENCE_LIMIT)
