"""Many deliveries at once, a third of them repeats, the gateway killed in the middle: one job for each, none two."""

import asyncio
import contextlib
import itertools
import os
import sys
from collections import Counter

import aiohttp

from jobs.database.connection import database
from jobs.models import HookDelivery, Job
from tests.conftest import free_port
from tests.fakes.hook_senders import STANDARD_SECRET, standard

ADMIN_TOKEN = "an-admin-token-of-the-tests"
CLIENTS = 40
ACCEPTED = frozenset({200, 202})


class Gateway:
    """A gateway in a process of its own, that can be killed and started again at its address."""

    def __init__(self, directory, database_url, redis_url):
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = directory / "gateway.log"
        self._environment = {
            "PATH": os.environ["PATH"], "HOME": str(directory), "LOCUTUS_DATA_DIR": str(directory / "data"),
            "LOCUTUS_DATABASE_URL": database_url, "LOCUTUS_REDIS_URL": redis_url,
            "LOCUTUS_BIND": self.url.removeprefix("http://"), "LOCUTUS_ADMIN_TOKEN": ADMIN_TOKEN,
            "LOCUTUS_SECRET_KEY": "a secret key of the tests that is long enough",
        }  # fmt: skip

    async def start(self):
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cli", "gateway", env=self._environment, stdout=log, stderr=log
            )

    async def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def until_answered(http, method, path, **options):
    """As a sender that does not give up."""
    while True:
        try:
            async with http.request(method, path, timeout=aiohttp.ClientTimeout(30), **options) as answer:
                if answer.status < 500:
                    return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(0.05)


async def prepare(http):
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    photos = {"name": "photos", "location": "/srv/photos", "source_directories": ["/home"], "encryption": "none"}
    status, said = await until_answered(http, "POST", "/api/repositories", json=photos, headers=headers)
    assert status == 201, said
    action = {"kind": "backup", "repository": "photos"}
    hook = {"name": "deploy", "scheme": "standard", "secret": STANDARD_SECRET, "action": action, "coalesce": False}
    status, said = await until_answered(http, "POST", "/api/hooks", json=hook, headers=headers)
    assert status == 201, said


async def send_all(http, deliveries, kill_at):
    """Every delivery from many clients; returns the job of each answer, and sets `kill_at` half-way."""
    waiting, answers = iter(deliveries), []

    async def client():
        for headers, body in waiting:
            status, said = await until_answered(http, "POST", "/hooks/deploy", data=body, headers=headers)
            assert status in ACCEPTED, said
            answers.append((headers["webhook-id"], said["job_id"]))
            if len(answers) == len(deliveries) // 2:
                kill_at.set()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(client())
    return answers


async def test_every_delivery_has_one_job_though_the_gateway_is_killed(tmp_path, database_url, redis_url):
    number = 1000 if database_url.startswith("sqlite") else 300
    gateway, kill_at = Gateway(tmp_path, database_url, redis_url), asyncio.Event()
    distinct = [standard({"n": index}) for index in range(number * 2 // 3)]
    deliveries = list(itertools.islice(itertools.chain(distinct, distinct), number))
    deliveries.sort(key=lambda signed: hash(signed[0]["webhook-signature"]))  # repeats come next to each other

    async def kill_in_the_middle():
        await kill_at.wait()
        await gateway.kill()
        await gateway.start()

    await gateway.start()
    try:
        async with aiohttp.ClientSession(gateway.url) as http:
            await prepare(http)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(kill_in_the_middle())
                sending = tasks.create_task(send_all(http, deliveries, kill_at))
        answers = sending.result()
    finally:
        await gateway.kill()
    async with database(database_url):
        jobs = await Job.all().values_list("id", flat=True)
        by_delivery = dict(await HookDelivery.all().values_list("delivery_id", "job_id"))
    assert len(answers) == number
    assert all(by_delivery[webhook_id] == job_id for webhook_id, job_id in answers)
    assert sorted(by_delivery.values()) == sorted(jobs)
    assert len(jobs) == len(distinct)
    assert max(Counter(by_delivery.values()).values()) == 1
