"""`locutus up` as a process: it owns its Redis, its data directory, and none of the borgs."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from cli.embedded_redis import LONGEST_SOCKET_PATH
from tests.fakes.up import Up, eventually, redis_of
from tests.fakes.waiting_borg import WaitingBorg


@pytest.fixture
async def up_in():
    """Make an `Up` in a directory."""
    async with contextlib.AsyncExitStack() as ends:

        def up_in(directory):
            ends.push_async_callback((up := Up(directory)).end)
            return up

        yield up_in


@pytest.fixture
def up(up_in, tmp_path):
    return up_in(tmp_path / "data")


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    async with asyncio.timeout(30):
        _, stderr = await process.communicate()
    return process.returncode, stderr.decode()


async def test_stops_cleanly_and_takes_its_redis_along(up):
    process = await up.start()
    await up.ready()
    assert len(redis_of(up.directory)) == 1
    process.terminate()
    status, stderr = await ended(process)
    assert (status, "Traceback" in stderr) == (0, False), stderr
    assert redis_of(up.directory) == []


async def test_redis_dies_with_an_up_that_is_killed(up):
    process = await up.start()
    await up.ready()
    process.kill()
    await process.wait()
    await eventually(lambda: not redis_of(up.directory))


async def test_second_up_on_the_same_data_directory_is_refused_in_one_line(up, up_in):
    first = await up.start()
    await up.ready()
    status, stderr = await ended(await up_in(up.directory).start())
    assert status == 2
    assert "Another `locutus up` runs" in stderr
    assert len(stderr.strip().splitlines()) == 1
    first.terminate()
    await ended(first)


async def test_taken_port_is_one_line(up):
    with socket.socket() as other:
        other.bind(("127.0.0.1", up.port))
        other.listen()
        status, stderr = await ended(await up.start())
    assert status == 2
    assert stderr.strip().splitlines()[-1].startswith(f"locutus: LOCUTUS_BIND: can't listen on 127.0.0.1:{up.port}")
    assert "Traceback" not in stderr


async def test_host_name_of_another_data_directory_is_one_line(up):
    process = await up.start()
    await up.ready()
    process.terminate()
    await ended(process)
    (up.directory / "host.key").unlink()
    status, stderr = await ended(await up.start())
    assert status == 2
    assert stderr.strip().splitlines()[-1].startswith("locutus: The host name ")
    assert "--replace-host" in stderr
    assert "Traceback" not in stderr


async def test_data_directory_with_a_long_path_works(up_in, tmp_path):
    directory = tmp_path / ("a" * 60) / ("b" * 60) / "data"
    assert len(str(directory / "redis.sock")) > LONGEST_SOCKET_PATH
    directory.parent.mkdir(parents=True)
    up = up_in(directory)
    process = await up.start()
    await up.ready()
    assert "redis" not in str(up.call("/readyz"))
    process.terminate()
    assert (await ended(process))[0] == 0


async def test_files_of_the_data_directory_are_private(up):
    process = await up.start()
    await up.ready()
    process.terminate()
    await ended(process)
    assert up.directory.stat().st_mode & 0o077 == 0
    for name in ("host.key", "secret-key"):
        assert (up.directory / name).stat().st_mode & 0o077 == 0


async def test_files_are_private_in_a_directory_that_is_open_to_others_which_is_warned_of(up, tmp_path):
    up.directory.mkdir()
    up.directory.chmod(0o755)
    process = await up.start()
    await up.ready()
    open_files = [path for path in up.directory.rglob("*") if path.stat().st_mode & 0o077 and not path.is_socket()]
    process.terminate()
    _, stderr = await ended(process)
    assert open_files == []
    assert f"chmod 700 {up.directory}" in stderr
    assert up.directory.stat().st_mode & 0o777 == 0o755


@pytest.fixture
def waiting_borg(tmp_path):
    with WaitingBorg(tmp_path / "program") as borg:
        yield borg


async def test_stop_leaves_borg_running_and_the_next_up_records_its_real_end(up, waiting_borg, tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "file").touch()
    up.borg = str(waiting_borg.program)
    process = await up.start()
    await up.ready()
    up.call(
        "/api/repositories",
        {
            "name": "photos",
            "location": str(tmp_path / "repository"),
            "source_directories": [str(tmp_path / "sources")],
            "encryption": "none",
            "init": True,
        },
    )
    up.call("/api/jobs/1?wait=60")
    assert up.call("/api/backup/run", {"repository": "photos"})["job_id"] == 2
    await eventually(lambda: up.call("/api/jobs/2")["status"] == "running" and waiting_borg.begun())
    process.send_signal(signal.SIGTERM)
    await ended(process)
    assert borgs(tmp_path)
    waiting_borg.let_go()
    process = await up.start()
    await up.ready()
    job = await asyncio.to_thread(up.call, "/api/jobs/2?wait=60")
    assert (job["status"], job["attempt"], job["progress"]["nfiles"]) == ("completed", 1, 1)
    process.terminate()
    await ended(process)


def borgs(directory: Path) -> list[int]:
    """The borg processes that work below a directory."""
    wanted = os.fsencode(directory / "repository")
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if wanted in command and b"supervisor" not in command:
                pids.append(int(process.name))
    return pids


async def test_redis_that_dies_is_started_again_and_the_next_job_runs(up, tmp_path):
    (tmp_path / "sources").mkdir()
    process = await up.start()
    await up.ready()
    [first] = redis_of(up.directory)
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: redis_of(up.directory) and first not in redis_of(up.directory))
    await eventually(lambda: "redis" not in str(up.call("/readyz")))
    body = {
        "name": "photos",
        "location": str(tmp_path / "repository"),
        "source_directories": [str(tmp_path / "sources")],
    }
    up.call("/api/repositories", {**body, "encryption": "none", "init": True})
    job = await asyncio.to_thread(up.call, "/api/jobs/1?wait=60")
    assert job["status"] == "completed"
    process.terminate()
    assert (await ended(process))[0] == 0


async def asking(up, path):
    """An open connection on which a request was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer an-admin-token\r\n\r\n".encode())
    await writer.drain()
    return reader, writer


async def test_who_waits_for_a_job_or_follows_its_log_holds_no_stop(up, tmp_path):
    process = await up.start()
    await up.ready()
    sources = {"location": str(tmp_path / "repository"), "source_directories": [str(tmp_path)]}
    up.call("/api/repositories", {"name": "photos", "host": "elsewhere", "encryption": "none", **sources})
    assert up.call("/api/backup/run", {"repository": "photos"})["job_id"] == 1
    waiting, following = await asking(up, "/api/jobs/1?wait=60"), await asking(up, "/api/jobs/1/logs")
    assert b"200" in await following[0].readline()
    begun_s = time.monotonic()
    process.terminate()
    status, stderr = await ended(process)
    assert (status, time.monotonic() - begun_s < 5.5) == (0, True), stderr
    assert "Traceback" not in stderr
    for _, writer in (waiting, following):
        writer.close()


@pytest.fixture
def never(tmp_path):
    """A pipe from which nothing can be read while the test runs; who reads afterwards is told that it is over."""
    os.mkfifo(path := tmp_path / "never")
    held_open = os.open(path, os.O_RDWR)
    yield path
    path.unlink()
    os.close(held_open)


async def test_program_that_does_not_answer_holds_no_stop(up, never, tmp_path):
    borg, asked = tmp_path / "borg", tmp_path / "asked-again"
    # Once it has answered it is another file, which the first sweep asks again.
    borg.write_text(f"""#!/bin/sh
if [ -e {tmp_path}/answered ]; then
    touch {asked}
    read -r nothing <{never}
fi
touch {tmp_path}/answered
echo '#' >>"$0"
echo borg 1.2.4
""")
    borg.chmod(0o700)
    up.borg = str(borg)
    process = await up.start()
    await up.ready()
    await eventually(asked.exists)
    begun_s = time.monotonic()
    process.terminate()
    status, stderr = await ended(process)
    assert (status, time.monotonic() - begun_s < 5.5) == (0, True), stderr
