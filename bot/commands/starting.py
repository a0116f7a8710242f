"""The commands that start a job: one for each job type that declares a command word, made from its declaration."""

from dataclasses import replace
from functools import partial

from bot import wording
from bot.commands.asking import Answer, Asker
from bot.commands.declaration import Command, Flag, FlagType, Values, flags_of
from bot.commands.lookup import only_host, repository_named
from bot.commands.outcome import told
from jobs.chain import later_steps
from jobs.job_type import FollowUp, JobType
from jobs.present import PRIORITIES
from jobs.submit import JobRequest, submit_or_ask
from jobs.types import JOB_TYPES

START_FLAGS = (
    Flag("priority", choices=tuple(PRIORITIES), help="who goes first where several wait"),
    Flag("template", help="a named set of parameters; what is said beside it wins"),
)
"""What every start may say beside the parameters of its kind."""
_HOST_FLAGS = (Flag("host", help="where, when there are several hosts"),)


def commands() -> tuple[Command, ...]:
    """The starting commands of all job types."""
    return tuple(starting_command(kind) for kind in JOB_TYPES.values() if kind.command_word)


def job_request(asker: Asker, kind: str = "") -> JobRequest:
    """A request for a job in the asker's name, from where it was asked."""
    return JobRequest(
        kind=kind,
        principal=asker.principal,
        origin=asker.origin,
        request_key=asker.request_key,
        channel=asker.channel,
        asked_in=asker.channel,
    )


def starting_command(kind: JobType) -> Command:
    """The command that starts a job of this kind."""
    said = {word.name for word in kind.positionals}
    return Command(
        name=str(kind.command_word),
        summary=f"starts {wording.with_article(kind.words.noun.lower())}",
        carry_out=partial(_start, kind),
        role=kind.role,
        positionals=kind.positionals,
        flags=(
            *flags_of(kind.parameters, without=said),
            *(() if kind.needs_repository else _HOST_FLAGS),
            *START_FLAGS,
            *_chain_flags(kind),
        ),
    )


def _chain_flags(kind: JobType) -> tuple[Flag, ...]:
    """What may follow, and no kind that would be refused: Discord takes 8,000 characters for all commands together."""
    steps = tuple(sorted(later_steps(kind)))
    return (Flag("then", FlagType.LIST, steps, "a kind that is to follow its success"),) if steps else ()


async def _start(kind: JobType, asker: Asker, values: Values) -> Answer:
    request = job_request(asker, kind.kind)
    if kind.needs_repository:
        request = replace(request, repository=(await repository_named(asker, values["repository"])).name)
    else:
        request = replace(request, host=values.get("host") or await only_host())
    parameters = {name: value for name, value in values.items() if name in kind.parameters.model_fields}
    then = tuple(FollowUp(step) for step in values.get("then", ()))
    options = {name: values[name] for name in ("priority", "template") if name in values}
    return await told(await submit_or_ask(replace(request, parameters=parameters, then=then, **options)))
