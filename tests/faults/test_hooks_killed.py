"""Many deliveries at once, a third of them repeats, the gateway killed in the middle: one job for each, none two."""

import asyncio
import contextlib
import os
import sys

import aiohttp

from jobs.database.connection import database
from jobs.models import HookDelivery, Job
from tests.conftest import free_port
from tests.fakes.hook_senders import STANDARD_SECRET
from tests.fakes.hook_storm import Storm, a_third_repeated, until_answered

ADMIN_TOKEN = "an-admin-token-of-the-tests"


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


async def prepare(http):
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    photos = {"name": "photos", "location": "/srv/photos", "source_directories": ["/home"], "encryption": "none"}
    status, said = await until_answered(http, "POST", "/api/repositories", lambda: {"json": photos, "headers": headers})
    assert status == 201, said
    action = {"kind": "backup", "repository": "photos"}
    hook = {"name": "deploy", "scheme": "standard", "secret": STANDARD_SECRET, "action": action, "coalesce": False}
    status, said = await until_answered(http, "POST", "/api/hooks", lambda: {"json": hook, "headers": headers})
    assert status == 201, said


async def test_every_delivery_has_one_job_though_the_gateway_is_killed(tmp_path, database_url, redis_url):
    number = 1000 if database_url.startswith("sqlite") else 300
    gateway, storm = Gateway(tmp_path, database_url, redis_url), Storm(a_third_repeated(number), clients=number)

    async def kill_in_the_middle():
        await storm.half_way.wait()
        await gateway.kill()
        assert len(storm.answers) < number
        await gateway.start()

    await gateway.start()
    try:
        async with aiohttp.ClientSession(gateway.url, connector=aiohttp.TCPConnector(limit=0)) as http:
            await prepare(http)
            await asyncio.gather(kill_in_the_middle(), storm.send(http))
    finally:
        await gateway.kill()
    async with database(database_url):
        jobs = await Job.all().values_list("id", flat=True)
        rows = dict(await HookDelivery.all().values_list("delivery_id", "job_id"))
    distinct = number - number // 3
    assert storm.outcome(rows, jobs) == {
        "answered": number, "distinct": distinct, "jobs": distinct, "lost": 0, "doubled": 0, "answered_otherwise": 0,
    }  # fmt: skip
