"""The messages that a job's thread must show. Rows only: the reporter compares them with the job and calls the
platforms.
"""

from datetime import timedelta

from jobs import runtime_settings
from jobs.database.unit import insert_all
from jobs.models import ChatMessage, Confirmation, Job, QuestionMessage, Repository
from jobs.view import JobStatus

CONSOLE = "console"
CARD, PROGRESS, FAILURE, END = "card", "progress", "failure", "end"


async def open_thread(job: Job, channel: str | None) -> None:
    """Inside a unit: card and progress message on the console and, when there is one, in the chat channel.

    A further step of a chain has no card: its progress message stands in the thread of the chain's first job.
    """
    if job.parent_id is not None:
        await _join_thread(job, job.parent_id)
        return
    settings = await runtime_settings.load()
    places = await _places(channel, job.repository_id, settings.default_channel)
    await insert_all(
        [
            ChatMessage(
                job_id=job.id,
                part=part,
                platform=platform_of(place),
                channel=place,
                state="held" if place in settings.only_failures else "unsent",
            )
            for place in places
            for part in (CARD, PROGRESS)
        ]
    )


async def is_to_come_in(channel: str, job_id: int) -> bool:
    """Whether the job's thread has yet to come in a channel."""
    return await ChatMessage.filter(channel=channel, job_id=job_id, state="unsent").exists()


async def is_first_in(channel: str, job_id: int) -> bool:
    """Whether the job's thread has yet to come in a channel that no message of ours has reached before."""
    reached = ChatMessage.filter(channel=channel, address__isnull=False)
    return await is_to_come_in(channel, job_id) and not await reached.exists()


async def find_another_place(job: Job, platform: str, refused: str, *, moved: bool) -> bool:
    """Inside a unit: have a thread whose channel takes none shown where one that nobody asked for there would be.

    False where no channel is left (`_elsewhere`).
    """
    settings = await runtime_settings.load()
    other = _elsewhere(await _channel_of(job.repository_id), settings.default_channel, refused, moved=moved)
    if other is None:
        return False
    state = "held" if other in settings.only_failures and job.status != JobStatus.FAILED else "unsent"
    if platform_of(other) != platform:
        for part in (CARD, PROGRESS):
            new = {"channel": other, "state": state}
            await ChatMessage.get_or_create(job_id=job.id, part=part, platform=platform_of(other), defaults=new)
    steps = await Job.filter(parent_id=job.id).values_list("id", flat=True)
    unshown = ChatMessage.filter(job_id__in=[job.id, *steps], platform=platform_of(other), address__isnull=True)
    await unshown.exclude(channel=other).update(channel=other, state=state, failures=0)
    return True


async def post_question(row: Confirmation, channel: str | None, repository_id: int | None) -> None:
    """Inside a unit: have a second person asked where the thread of the job would be, also where it is to be quiet."""
    places = await _places(channel, repository_id, (await runtime_settings.load()).default_channel)
    shown = [QuestionMessage(confirmation_id=row.id, platform=platform_of(place), channel=place) for place in places]
    await insert_all(shown)


async def move_question(message: QuestionMessage, row: Confirmation) -> None:
    """Inside a unit: have a question whose channel takes none shown where one that nobody asked for there would be."""
    repository = await Repository.get_or_none(name=row.repository_name)
    own, default = repository.channel if repository else None, (await runtime_settings.load()).default_channel
    moved = message.channel != row.request.get("channel")
    other = _elsewhere(own, default, message.channel, moved=moved)
    if other is not None and platform_of(other) == message.platform:
        await QuestionMessage.filter(id=message.id).update(channel=other, state="unsent", failures=0)


async def _join_thread(job: Job, first_id: int) -> None:
    cards = await ChatMessage.filter(job_id=first_id, part=CARD)
    await insert_all(
        [
            ChatMessage(
                job_id=job.id,
                part=PROGRESS,
                platform=card.platform,
                channel=card.channel,
                state="held" if card.state == "held" else "unsent",
            )
            for card in cards
        ]
    )


async def close_thread(job: Job) -> None:
    """Inside a unit: one further reply, wherever it has a card: the last log lines of a job that failed, the end of one
    that took long. A thread that was held back is opened by a failure, and forgotten when all went well.
    """
    held = ChatMessage.filter(job_id__in=[job.id, job.parent_id or job.id], state="held")
    if job.status == JobStatus.FAILED:
        await held.update(state="unsent")
        await _add_reply(job, FAILURE)
        return
    if not job.follow_ups:
        await held.delete()
    if await _took_long(job):
        await _add_reply(job, END)


async def _add_reply(job: Job, part: str) -> None:
    for card in await ChatMessage.filter(job_id=job.parent_id or job.id, part=CARD).exclude(state="held"):
        await ChatMessage.get_or_create(
            job_id=job.id, part=part, platform=card.platform, defaults={"channel": card.channel}
        )


async def _took_long(job: Job) -> bool:
    minutes = (await runtime_settings.load()).reply_after_minutes
    if not minutes or job.started_at is None or job.completed_at is None:
        return False
    return job.completed_at - job.started_at >= timedelta(minutes=minutes)


async def reopen_thread(job: Job) -> None:
    """Inside a unit: have the thread of an ended job shown anew, as something was learned of it."""
    await ChatMessage.filter(job_id=job.id).update(settled=False)


async def reopen_card(job_id: int) -> None:
    """Inside a unit: have the card of a job shown anew, as a step of its chain has moved, or it was asked for again."""
    await ChatMessage.filter(job_id=job_id, part=CARD).update(settled=False)


def platform_of(channel: str) -> str:
    """The platform that `slack:TEAM:CHANNEL`, `discord:GUILD:CHANNEL` or `console` is on."""
    return channel.partition(":")[0]


def _elsewhere(own: str | None, default: str | None, refused: str, *, moved: bool) -> str | None:
    """Where that is shown which can't be in `refused`: in the repository's channel, else in the default one.

    What was `moved` before goes further down that list, so that two that refuse don't hand it to each other for ever.
    """
    places = [place for place in (own, default) if place is not None]
    if moved and refused in places:
        places = places[places.index(refused) + 1 :]
    return next((place for place in places if place != refused), None)


async def _places(channel: str | None, repository_id: int | None, default: str | None) -> dict[str, None]:
    """The console, and the chat channel where there is one."""
    return dict.fromkeys((CONSOLE, channel or await _channel_of(repository_id) or default or CONSOLE))


async def _channel_of(repository_id: int | None) -> str | None:
    repository = await Repository.get_or_none(id=repository_id) if repository_id is not None else None
    return repository.channel if repository else None
