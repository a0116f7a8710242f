"""Repositories behind a real sshd: a key of their own, a host key that somebody confirmed, and what breaks."""

import asyncio
import os
import re
import stat

import pytest

from jobs.models import Repository
from jobs.ssh import ssh_place
from tests.conftest import free_port
from tests.fakes.instance import instance, settings_for, until
from tests.fakes.sshd import is_there, sshd_in
from worker.ssh_files import pin

pytestmark = pytest.mark.skipif(not is_there, reason="openssh-server is not installed")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def server(tmp_path):
    with sshd_in(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def settings(tmp_path, sqlite_url, redis_url):
    return settings_for(tmp_path, sqlite_url, redis_url)


@pytest.fixture
def sources(tmp_path):
    directory = tmp_path / "sources"
    directory.mkdir()
    (directory / "file").write_bytes(os.urandom(3_000_000))
    return directory


def body(server, path, sources, name="photos", **fields):
    given = {"name": name, "location": server.location(path), "source_directories": [str(sources)]}
    return given | {"encryption": "none", "init": True} | fields


async def answered(running, method, path, expected, **options):
    status, answer = await running.call(method, path, **options)
    assert status == expected, answer
    return answer


async def ended_again(running, job_id):
    """What becomes of the same request once more."""
    started = await answered(running, "POST", f"/api/jobs/{job_id}/retry", 202)
    return await running.ended(started["job_id"])


async def backed_up(running, name="photos"):
    started = await answered(running, "POST", "/api/backup/run", 202, json={"repository": name})
    return await running.ended(started["job_id"])


async def key_line(running, name="photos"):
    """The line for the server, once the worker has made the key."""
    async with asyncio.timeout(30):
        while (await running.call("GET", f"/api/repositories/{name}/key"))[0] == 409:
            await asyncio.sleep(0.05)
    return (await answered(running, "GET", f"/api/repositories/{name}/key", 200))["authorized_keys"]


async def made(running, server, path, sources, **fields):
    """A repository that works."""
    added = await answered(running, "POST", "/api/repositories", 201, json=body(server, path, sources, **fields))
    server.let_in(await key_line(running))
    job = await running.ended(added["init_job_id"])
    return job if job.status == "completed" else await ended_again(running, job.id)


async def test_server_is_trusted_once_somebody_has_compared_its_key_and_let_our_own_in(
    settings, server, sources, tmp_path
):
    path = tmp_path / "repo"
    async with instance(settings) as running:
        added = await answered(running, "POST", "/api/repositories", 201, json=body(server, path, sources))
        job = await running.ended(added["init_job_id"])
        assert (job.status, job.error_code) == ("failed", "host_key_unconfirmed")
        [offered, _] = re.findall(r"SHA256:[A-Za-z0-9+/]{43}", job.error_message)
        assert f"locutus repo trust photos {offered}" in job.error_message
        await answered(running, "PUT", "/api/repositories/photos", 200, json={"host_key": offered})

        job = await ended_again(running, job.id)
        assert (job.status, job.error_code) == ("failed", "ssh_key_refused")
        assert "`locutus repo key photos`" in job.error_message
        line = await key_line(running)
        assert line.startswith(f'command="borg serve --restrict-to-repository {path}",restrict ssh-ed25519 ')
        server.let_in(line)
        job = await ended_again(running, job.id)
        assert (job.status, job.error_message) == ("completed", None)
        assert str((await Repository.get(name="photos")).borg_id) in (path / "config").read_text()
        assert (await backed_up(running)).status == "completed"

        other = body(server, tmp_path / "other", sources, "other", init=False)
        assert (await answered(running, "POST", "/api/repositories", 201, json=other))["host_key"] == offered
    [key, *_] = sorted((settings.data_dir / "ssh").glob("*.key"))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not (tmp_path / "home" / ".ssh").exists()


async def test_server_that_has_another_key_than_before_gets_nothing(settings, server, sources, tmp_path):
    async with instance(settings) as running:
        fingerprint = server.make_host_key()
        server.stop()
        server.start()
        assert (await made(running, server, tmp_path / "repo", sources, host_key=fingerprint)).status == "completed"
        server.stop()
        server.make_host_key()
        server.start()
        job = await backed_up(running)
    assert (job.status, job.error_code) == ("failed", "host_key_unknown")
    assert "`locutus repo trust photos`" in job.error_message


async def test_key_that_is_trusted_no_more_is_forgotten_also_while_the_server_does_not_answer(settings):
    repository = Repository(
        id=7, name="photos", location=f"ssh://127.0.0.1:{free_port()}/repo", host_key=f"SHA256:{'A' * 43}"
    )
    known_hosts = settings.data_dir / "ssh" / "7.known_hosts"
    known_hosts.parent.mkdir(parents=True)
    known_hosts.write_text("locutus-7 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==\n")
    await pin(settings, repository, ssh_place(repository.location))
    assert not known_hosts.exists()


async def test_connection_that_breaks_in_the_middle_is_told_and_made_again(settings, server, sources, tmp_path):
    fingerprint = server.make_host_key()
    server.stop()
    server.start()
    slow = {"host_key": fingerprint, "compression": "none", "upload_ratelimit": 300, "remote_path": "/usr/bin/borg"}
    async with instance(settings) as running:
        assert (await made(running, server, tmp_path / "repo", sources, **slow)).status == "completed"
        started = await answered(running, "POST", "/api/backup/run", 202, json={"repository": "photos"})
        job_id = started["job_id"]
        await until(lambda: sum(file.stat().st_size for file in (tmp_path / "repo/data").rglob("*")) > 500_000)
        assert server.break_connections()
        job = await running.until(job_id, lambda job: job.attempt == 2)
        assert (job.status, job.error_code) == ("pending", "connection_lost")
        await answered(running, "POST", f"/api/jobs/{job_id}/cancel", 200)
        async with running.http.get(f"/api/jobs/{job_id}/logs") as answer:
            header = (await answer.text()).splitlines()[0]
        assert ": borg --upload-ratelimit 300 create " in header
        await answered(running, "PUT", "/api/repositories/photos", 200, json={"upload_ratelimit": None})
        assert (await backed_up(running)).status == "completed"


@pytest.mark.parametrize(
    ("field", "value"),
    [("ssh_key", "/root/key"), ("remote_path", "borg1"), ("host_key", "SHA256:" + "a" * 43), ("upload_ratelimit", 5)],
)
async def test_what_is_for_ssh_alone_is_refused_elsewhere(settings, sources, tmp_path, field, value):
    async with instance(settings) as running:
        given = {
            "name": "local",
            "location": str(tmp_path / "repo"),
            "source_directories": [str(sources)],
            field: value,
        }
        assert (await answered(running, "POST", "/api/repositories", 422, json=given))["field"] == field
