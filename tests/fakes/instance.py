"""A whole Locutus in this process, composed as `locutus up` does it, on a test's database, Redis and directory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from cli.composition import chat_platforms, gateway_app, make_data_directory, secret_box, served, storage
from jobs.access import Principal, Role, everywhere
from jobs.models import Job, Repository
from jobs.queue import Queue
from jobs.settings import Settings
from jobs.view import JobStatus
from tests.conftest import free_port
from worker.app import WorkerContext, WorkerRole, run_worker

SECRET_KEY = "a secret key of the tests that is long enough"
ADMIN_TOKEN = "an-admin-token-of-the-tests"
ADMIN = everywhere("token:admin", Role.ADMINISTER)


@dataclass
class Instance:
    """What a test holds of a running Locutus."""

    settings: Settings
    queue: Queue
    http: aiohttp.ClientSession
    admin: Principal = ADMIN

    async def job(self, job_id: int) -> Job:
        return await Job.get(id=job_id)

    async def ended(self, job_id: int, timeout_s: float = 60) -> Job:
        """The job once it has ended."""
        return await self.until(job_id, lambda job: JobStatus(job.status).final, timeout_s)

    async def until(self, job_id: int, condition: Callable[[Job], bool], timeout_s: float = 60) -> Job:
        with self.queue.ear(job_id) as ear:
            async with asyncio.timeout(timeout_s):
                while not condition(job := await Job.get(id=job_id)):
                    await ear.wait(0.5)
        return job

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """An API call: status and JSON."""
        async with self.http.request(method, path, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def add_repository(self, name: str, location: Path, sources: list[Path], **fields: Any) -> int:
        """Add a repository through the API and wait until it has been made."""
        body = {"name": name, "location": str(location), "source_directories": [str(path) for path in sources]}
        status, answer = await self.call(
            "POST", "/api/repositories", json={**body, "encryption": "none", "init": True, **fields}
        )
        assert status == 201, answer
        if init := answer.get("init_job_id"):
            assert (await self.ended(init)).status == JobStatus.COMPLETED
        return int(answer["id"])


async def until(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    """Wait for something in this process that has no event of its own."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def settings_for(directory: Path, database_url: str, redis_url: str, **overrides: Any) -> Settings:
    """The settings of a test's instance."""
    given = {
        "data_dir": directory / "data",
        "database_url_setting": database_url,
        "redis_url": redis_url,
        "host": "test-host",
        "bind": f"127.0.0.1:{free_port()}",
        "secret_key": SECRET_KEY,
        "admin_token": ADMIN_TOKEN,
        "allow_private_webhook_targets": True,
    }
    return Settings(_env_file=None, **{**given, **overrides})  # type: ignore[call-arg]


@contextlib.asynccontextmanager
async def instance(settings: Settings, role: WorkerRole = WorkerRole.ALL) -> AsyncIterator[Instance]:
    """A running gateway and worker."""
    make_data_directory(settings)
    async with storage(settings) as queue, chat_platforms(settings) as platforms, asyncio.TaskGroup() as tasks:
        ready = asyncio.Event()
        context = WorkerContext(settings, queue, role, platforms, secret_box(settings))
        working = tasks.create_task(run_worker(context, ready))
        await ready.wait()
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with served(settings, gateway_app(settings, queue, secret_box(settings))):
            async with aiohttp.ClientSession(settings.base_url, headers=headers) as http:
                yield Instance(settings, queue, http)
        working.cancel()


async def repository_row(name: str, location: Path, sources: list[Path], **columns: Any) -> Repository:
    """A repository written straight into the database."""
    row = {
        "name": name,
        "location": str(location),
        "lane": name,
        "source_directories": [str(path) for path in sources],
        "encryption": "none",
        "host": "test-host",
        "archive_name_template": "{repository}-{utcnow:%Y-%m-%dT%H:%M:%S}",
        "archive_glob": f"{name}-*",
    }
    return await Repository.create(**{**row, **columns})
