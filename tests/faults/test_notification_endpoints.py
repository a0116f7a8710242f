"""Places that people read which hang: each try ends at its deadline, with all that it took, and delays no other."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bot.notice import TEST_NOTICE
from tests.fakes.notification_services import SECRET_PART, HttpService
from tests.fakes.raw_endpoint import RawEndpoint, dripping_body, endless_body
from webhooks import notifier
from webhooks.apprise_calls import AppriseProcess

MORE_THAN_THREADS = (os.cpu_count() or 1) + 4 + 1
"""apprise's own pool has one fewer."""


@pytest.fixture
def process(monkeypatch):
    process = AppriseProcess()
    monkeypatch.setattr(notifier, "APPRISE", process)
    yield process
    process.end()


async def nobody_calls(endpoint):
    async with asyncio.timeout(20):
        while endpoint.callers:
            await asyncio.sleep(0.01)


def shown_of_group(leader):
    """Who is in a process group, and what anybody on the machine sees of them."""
    group = [each for each in Path("/proc").glob("[0-9]*") if os.getpgid(int(each.name)) == leader]
    return group, b"".join((each / name).read_bytes() for each in group for name in ("cmdline", "environ"))


def json_url(endpoint):
    return endpoint.url.replace("http://", "json://") + f"/{SECRET_PART}"


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("answering", [dripping_body, endless_body])
async def test_answers_that_never_end_are_cut_off_and_keep_no_other_message_back(monkeypatch, answering):
    async with RawEndpoint(answering) as endless, HttpService() as well:
        well_url = f"json://127.0.0.1:{well.port}/"
        assert (await notifier.tell(well_url, TEST_NOTICE)).delivered
        with monkeypatch.context() as hasty:
            hasty.setattr(notifier, "TIMEOUT_S", 4.0)
            tries = [notifier.tell(json_url(endless), TEST_NOTICE) for _ in range(MORE_THAN_THREADS)]
            answers = await asyncio.gather(*tries)
        assert not any(answer.delivered for answer in answers)
        if answering is dripping_body:
            assert {answer.error for answer in answers} == {"json did not answer in time."}
        assert endless.called
        assert (await notifier.tell(well_url, TEST_NOTICE)).delivered
        await nobody_calls(endless)


async def test_url_is_in_no_argument_and_environment_and_no_secret_of_ours_is(process, monkeypatch):
    monkeypatch.setenv("LOCUTUS_SECRET_KEY", "k" * 32)
    async with RawEndpoint(dripping_body) as endless:
        telling = asyncio.create_task(notifier.tell(json_url(endless), TEST_NOTICE))
        async with asyncio.timeout(20):
            while not endless.called:
                await asyncio.sleep(0.01)
        group, seen = shown_of_group(process._process.pid)
        process.end()
        await nobody_calls(endless)
        assert (await telling).error == "json could not be told: the try broke off."
    assert len(group) == 2, "the server and its try"
    assert b"apprise_server" in seen
    assert SECRET_PART.encode() not in seen
    assert b"k" * 32 not in seen


async def test_process_that_was_killed_is_started_anew(process):
    async with HttpService() as well:
        for _ in range(2):
            assert (await notifier.tell(f"json://127.0.0.1:{well.port}/", TEST_NOTICE)).delivered
            os.kill(process._process.pid, signal.SIGKILL)
            process._process.wait()
    assert len(well.told) == 2


async def test_tries_under_way_end_with_whoever_asked_for_them():
    script = (
        "import asyncio, sys; from bot.notice import TEST_NOTICE; from webhooks.notifier import tell;"
        "asyncio.run(tell(sys.stdin.read(), TEST_NOTICE))"
    )
    async with RawEndpoint(dripping_body) as endless:
        asking = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=asyncio.subprocess.PIPE)
        asking.stdin.write(json_url(endless).encode())
        asking.stdin.write_eof()
        async with asyncio.timeout(30):
            while not endless.called:
                await asyncio.sleep(0.01)
        asking.kill()
        await asking.wait()
        await nobody_calls(endless)
