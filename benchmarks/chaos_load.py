"""People and pipelines that ask a Locutus under chaos for backups, again where nobody answers, and cancel some."""

import asyncio
import random
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp

from benchmarks.chaos_place import REPOSITORIES, Journal
from benchmarks.running import ADMIN_TOKEN, SIGNING_SECRET
from tests.fakes.slack import FakeSlack, Posted, block_action, slash_command

SLACK_CHANNEL = "slack:T1:C1"
QUEUED = re.compile(r"Job #(\d+) is queued")
PATIENCE_S = 60.0
ASK_AGAIN_S = (0.2, 2.0)
ANSWER_WITHIN_S = 10.0
SHARES = {"api": 5, "api with a channel": 2, "slash command": 2, "retry": 1}
REPEATED, CANCELLED = 0.3, 0.2
Ask = Callable[[], Awaitable[int | None]]


class NoAnswerError(Exception):
    """Nobody answered, or only that it can't be done now: whoever asked asks again."""


@dataclass
class Asked:
    """One request: what it was answered, as often as it was made."""

    number: int
    way: str
    jobs: set[int] = field(default_factory=set)
    """The jobs that were answered; more than one is a defect."""


class Client:
    """Speaks to the gateway, which may be down."""

    def __init__(self, http: aiohttp.ClientSession, journal: Journal) -> None:
        self._http = http
        self._journal = journal

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON (or text) of an answer below 500. Raises `NoAnswerError`."""
        try:
            async with asyncio.timeout(options.pop("within_s", ANSWER_WITHIN_S)):
                async with self._http.request(method, path, **options) as answer:
                    text = await answer.text()
                    body = await answer.json() if "application/json" in answer.content_type else text
        except (aiohttp.ClientError, OSError) as error:  # also a TimeoutError
            raise NoAnswerError(str(error) or type(error).__name__) from error
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._journal.note("answer", path=path, status=answer.status, text=text[:300])
            raise NoAnswerError(text)
        return answer.status, body

    async def insist(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of a good answer, asking until there is one. Raises `TimeoutError`, `RuntimeError` for a refusal."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    status, body = await self.call(method, path, **options)
                except NoAnswerError:
                    await asyncio.sleep(ASK_AGAIN_S[0])
                    continue
                if status >= HTTPStatus.BAD_REQUEST:
                    raise RuntimeError(f"{method} {path}: {status} {body}")
                return body


def session(port: int) -> aiohttp.ClientSession:
    """Its connections are not kept: each may be the last that the gateway answers."""
    connector = aiohttp.TCPConnector(force_close=True)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    return aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers, connector=connector)


class Load:
    """Requests at a steady rate (jobs a second), until cancelled; those under way are then finished by `finish`."""

    def __init__(self, client: Client, slack: FakeSlack, journal: Journal, chance: random.Random, rate: float) -> None:
        self.asked: list[Asked] = []
        self.refused: list[str] = []
        self.too_early = 0
        self._client = client
        self._slack = slack
        self._journal = journal
        self._chance = chance
        self._rate = rate
        self._requests: set[asyncio.Task[None]] = set()

    @property
    def accepted(self) -> set[int]:
        return {job for asked in self.asked for job in asked.jobs}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._chance.expovariate(self._rate))
            (way,) = self._chance.choices(list(SHARES), list(SHARES.values()))
            self._begin(way, self._chance.choice(list(REPOSITORIES)))

    async def finish(self) -> None:
        """Wait for the last answers."""
        await asyncio.gather(*self._requests)

    async def probe(self) -> dict[str, int | None]:
        """One more backup of each repository, by repository."""
        return {name: await self._probe(name) for name in REPOSITORIES}

    async def _probe(self, repository: str) -> int | None:
        job = await self._insist(self._asking("api", repository, uuid.uuid4().hex))
        self.asked.append(Asked(len(self.asked) + 1, "probe", set() if job is None else {job}))
        return job

    def _begin(self, way: str, repository: str) -> None:
        asked = Asked(len(self.asked) + 1, way)
        self.asked.append(asked)
        task = asyncio.create_task(self._request(asked, repository))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _request(self, asked: Asked, repository: str) -> None:
        key = f"request-{asked.number}-{uuid.uuid4().hex}"
        ask = self._asking(asked.way, repository, key)
        self._journal.note("asked", number=asked.number, way=asked.way, repository=repository)
        repeated, at_once = self._chance.random() < REPEATED, self._chance.random() < 0.5
        answers = [self._insist(ask) for _ in range(2 if repeated and at_once else 1)]
        asked.jobs |= {job for job in await asyncio.gather(*answers) if job is not None}
        self._journal.note("accepted", number=asked.number, jobs=sorted(asked.jobs))
        if asked.jobs and self._chance.random() < CANCELLED:
            await asyncio.sleep(self._chance.uniform(0, 6))
            await self._cancel(max(asked.jobs))
        if repeated and not at_once:
            await asyncio.sleep(self._chance.uniform(0, 10))
            asked.jobs |= {job for job in [await self._insist(ask)] if job is not None}

    def _asking(self, way: str, repository: str, key: str) -> Ask:
        """A request that is the same each time it is made."""
        if way == "slash command":
            return lambda: self._say(f"run {repository}", key)
        accepted = sorted(job for asked in self.asked if asked.way != "repository" for job in asked.jobs)
        if way == "retry" and accepted:
            path = f"/api/jobs/{self._chance.choice(accepted)}/retry"
            return lambda: self._post(path, key, None)
        body = {"repository": repository} | ({"channel": SLACK_CHANNEL} if way == "api with a channel" else {})
        return lambda: self._post("/api/backup/run", key, body)

    async def _insist(self, ask: Ask) -> int | None:
        """The job's number, asking until somebody answers; None where nobody does, or it is refused."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        return await ask()
                    except NoAnswerError:
                        await asyncio.sleep(self._chance.uniform(*ASK_AGAIN_S))
        except TimeoutError:
            return None

    async def _post(self, path: str, key: str, body: dict[str, str] | None) -> int | None:
        status, answer = await self._client.call("POST", path, json=body, headers={"Idempotency-Key": key})
        if status == HTTPStatus.ACCEPTED:
            return int(answer["job_id"])
        if status == HTTPStatus.CONFLICT:  # a retry of a job that has not ended
            self.too_early += 1
        else:
            self.refused.append(f"{path}: {status} {answer}")
        return None

    async def _say(self, text: str, trigger: str) -> int | None:
        headers, body = slash_command(SIGNING_SECRET, text, trigger_id=trigger)
        status, answer = await self._client.call("POST", "/slack/events", data=body, headers=headers)
        if found := QUEUED.search(str(answer)):
            return int(found[1])
        if "Please try again" in str(answer):
            raise NoAnswerError(str(answer))
        self.refused.append(f"/backup {text}: {status} {answer}")
        return None

    async def _cancel(self, job: int) -> None:
        self._journal.note("cancels", job=job)
        card = self._card(job)
        try:
            if card is not None and self._chance.random() < 0.5:
                headers, body = block_action(SIGNING_SECRET, "job.cancel", str(job), message=card)
                await self._client.call("POST", "/slack/events", data=body, headers=headers)
            else:
                await self._client.call("POST", f"/api/jobs/{job}/cancel")
        except NoAnswerError:
            return

    def _card(self, job: int) -> Posted | None:
        of_job = (message for message in self._slack.messages["C1"] if message.thread_ts is None)
        return next((card for card in of_job if card.metadata.get("event_payload", {}).get("job_id") == job), None)
