"""Installing packages with the real apt and dpkg, in a Debian of the test's own."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess

import pytest

from jobs.models import Job
from tests.fakes.debian import INSTALLED, SUDOERS, can_be_made, debian_in
from tests.fakes.gateway import application, started
from tests.fakes.instance import instance, settings_for
from worker import supervision
from worker.run_directory import RunDirectory

PATH = "/api/system/packages/install"
WRITING = "dpkg is writing"
NO_NAMES = (
    "", "a", "bash-", "zlib1g..", "-y", "--help", "Hullo", "libc6:i386", "hullo=1", "hullo/sid", "hul*", "a b", "a\nb",
    "hullo\n", "é9",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not can_be_made, reason="a mount namespace of its own takes root, dpkg-deb and unshare")


@pytest.fixture
def debian(tmp_path):
    (tmp_path / "debian").mkdir()
    return debian_in(tmp_path / "debian")


@pytest.fixture
def settings(debian, tmp_path, sqlite_url, redis_url):
    return settings_for(tmp_path, sqlite_url, redis_url, install_package=debian.install_package)


@pytest.fixture
def gate(tmp_path):
    """A pipe that keeps a maintainer script waiting until somebody opens it."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


async def asked(running, package):
    status, answer = await running.call("POST", PATH, json={"package": package})
    assert status == 202, answer
    return answer["job_id"]


async def installed(running, package):
    job = await running.ended(await asked(running, package))
    assert (job.status, job.error_message) == ("completed", None)
    return job


async def refused(running, package, code):
    job = await running.ended(await asked(running, package))
    assert (job.status, job.error_code) == ("failed", code), job.error_message
    return job.error_message


async def writes(running, job_id):
    return await running.until(job_id, lambda job: str(job.progress.get("progress_message")).startswith(WRITING))


def open_gate(gate):
    gate.write_text("go on\n")


async def test_package_is_installed_and_told_everywhere(settings, debian):
    debian.offer("needed", "1.0")
    debian.offer("hullo", "1.0", Depends="needed")
    async with instance(settings) as running:
        job_id = (await installed(running, "hullo")).id
        _, job = await running.call("GET", f"/api/system/packages/jobs/{job_id}")
        assert (job["kind"], job["repository"], job["host"], job["subject"]) == (
            "package_install", None, "test-host", "hullo",
        )  # fmt: skip
        assert job["progress"]["progress_percent"] == 100
        _, packages = await running.call("GET", "/api/system/packages")
        [package] = packages["items"]
        assert {name: package[name] for name in ("host", "name", "version", "status", "job_id")} == {
            "host": "test-host", "name": "hullo", "version": "1.0", "status": "installed", "job_id": job_id,
        }  # fmt: skip
        async with running.http.get(f"/api/jobs/{job_id}/logs") as answer:
            log = (await answer.text()).splitlines()
        assert log[0].endswith(f"on test-host: {debian.install_package} -- hullo")
        assert [line for line in log if line.startswith("Unpacking")] == [
            "Unpacking needed (1.0) ...", "Unpacking hullo (1.0) ...",
        ]  # fmt: skip
        assert log[-1].startswith("Locutus: exited, exit status 0")
        debian.offer("hullo", "2.0")
        await installed(running, "hullo")
        _, packages = await running.call("GET", "/api/system/packages")
        assert [each["version"] for each in packages["items"]] == ["2.0"]
    assert debian.version("needed") == "1.0 installed"


async def test_what_apt_would_make_more_of_is_refused_and_nothing_is_changed(settings, debian):
    for name, version in (("hullo", "1.0"), ("old", "2.0")):
        debian.offer(name, version)
    async with instance(settings) as running:
        await running.call("PUT", "/api/settings", json={"package_installs_per_hour": 0})
        await installed(running, "hullo")
        await installed(running, "old")
        debian.withdraw()
        for name in ("hullo", "old"):
            debian.offer(name, "0.5")
        debian.offer("clash", "1.0", Conflicts="hullo")
        debian.offer("broken", "1.0", Depends="nothing-of-that-name")
        debian.prefer("old", "0.5")
        for package, code, words in (
            ("hull", "package_unknown", "There is no package called hull in"),
            ("hul.o", "package_unknown", "There is no package called hul.o in"),
            ("clash", "package_harmful", "would remove hullo"),
            ("old", "package_harmful", "would downgrade old"),
            ("broken", "package_uninstallable", "broken can't be installed"),
        ):
            assert words in await refused(running, package, code)
    assert debian.version("hullo") == "1.0 installed"
    assert debian.version("old") == "2.0 installed"


async def test_job_that_waits_for_another_program_to_let_dpkg_go_can_be_cancelled(settings, debian):
    debian.offer("hullo", "1.0")
    with (debian.root / "var/lib/dpkg/lock-frontend").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        async with instance(settings) as running:
            job_id = await asked(running, "hullo")
            await running.until(job_id, lambda job: job.progress.get("progress_message") == "downloading hullo")
            status, answer = await running.call("POST", f"/api/jobs/{job_id}/cancel")
            assert status == 202, answer
            assert (await running.ended(job_id)).status == "cancelled"
    assert debian.version("hullo") == ""


async def test_too_late_for_a_cancel_the_job_goes_on_also_across_a_restart(settings, debian, gate):
    debian.offer("hullo", "1.0", scripts={"preinst": f"read word < {gate}"})
    async with instance(settings) as running:
        job_id = await asked(running, "hullo")
        job = await writes(running, job_id)
        status, answer = await running.call("POST", f"/api/jobs/{job_id}/cancel")
        assert (status, "too late, dpkg is writing" in answer["detail"]) == (409, True)
        # One that was on its way as dpkg began: the supervisor gets it, and the program does not heed it.
        await asyncio.to_thread(supervision.cancel, RunDirectory.of(settings.runs, job_id, job.attempt), "somebody")
    async with instance(settings) as running:
        await asyncio.to_thread(open_gate, gate)
        job = await running.ended(job_id)
        assert (job.status, job.error_message) == ("completed", None)
        assert job.progress["progress_message"] == "hullo 1.0 is installed"
    assert debian.version("hullo") == "1.0 installed"


async def test_dpkg_that_was_interrupted_is_found_and_explained(settings, debian):
    debian.offer("faulty", "1.0", scripts={"postinst": "exit 7"})
    debian.offer("hullo", "1.0")
    async with instance(settings) as running:
        for package, words in (("faulty", "dpkg has ended before it was done"), ("hullo", "An earlier run of dpkg")):
            sentence = await refused(running, package, "dpkg_interrupted")
            assert words in sentence
            assert "left faulty unfinished. Run `dpkg --configure -a` there" in sentence
    assert debian.version("hullo") == ""


async def test_missing_program_is_told_with_where_to_read_how_to_set_it_up(tmp_path, sqlite_url, redis_url):
    settings = settings_for(tmp_path, sqlite_url, redis_url, install_package=tmp_path / "nothing")
    async with instance(settings) as running:
        sentence = await refused(running, "hullo", "install_package_missing")
    assert "could not be started (No such file or directory)" in sentence


class TestAsking:
    @pytest.fixture
    async def api(self, opened_sqlite, aiohttp_client, tmp_path):
        return await started(aiohttp_client, application(opened_sqlite, tmp_path))

    @pytest.mark.parametrize("name", NO_NAMES)
    async def test_name_that_apt_might_read_as_something_else_is_refused(self, api, name):
        reply = await api.post(PATH, {"package": name})
        assert (reply.status, reply.json["field"]) == (422, "package")
        assert not await Job.exists()

    async def test_only_what_is_on_the_list_may_be_installed(self, api):
        await api.put("/api/settings", {"package_allowlist": ["hullo"]})
        reply = await api.post(PATH, {"package": "tree"})
        assert (reply.status, reply.json["field"]) == (422, "package")
        assert "tree is not among the packages that may be installed" in reply.json["detail"]
        assert (await api.post(PATH, {"package": "hullo"})).status == 202

    async def test_fourth_within_an_hour_on_a_host_is_told_when_to_come_back(self, api):
        for name in ("one", "two", "three"):
            assert (await api.post(PATH, {"package": name})).status == 202
        reply = await api.post(PATH, {"package": "four"})
        assert (reply.status, 3500 < int(reply.headers["Retry-After"]) <= 3600) == (429, True)
        assert "3 installations on nas" in reply.json["detail"]
        assert (await api.post(PATH, {"package": "four", "host": "other"})).status == 202
        await api.put("/api/settings", {"package_installs_per_hour": 0})
        assert (await api.post(PATH, {"package": "four"})).status == 202

    async def test_it_takes_an_administrator(self, api):
        reply = await (await api.token("operator", "operate")).post(PATH, {"package": "hullo"})
        assert reply.status == 403


@pytest.mark.skipif(not shutil.which("sudo"), reason="sudo is not installed")
class TestWithoutRoot:
    """As `nobody`, who may install packages as deploy/sudoers says."""

    def test_rule_for_sudo_is_one_that_sudo_takes(self):
        subprocess.run(["visudo", "-cqf", SUDOERS], check=True)

    def test_packages_are_installed_by_sudo(self, debian):
        debian.offer("hullo", "1.0")
        with debian.run_as_nobody(INSTALLED, "--", "hullo") as running:
            running.communicate()
        assert running.returncode == 0
        assert debian.version("hullo") == "1.0 installed"

    @pytest.mark.parametrize("argv", [("/usr/bin/id",), ("/usr/bin/apt-get", "-s", "install", "hullo")])
    def test_sudo_lets_nothing_else_run(self, debian, argv):
        with debian.run_as_nobody(*argv) as running:
            _, errors = running.communicate()
        assert (running.returncode, "sudo: " in errors) == (1, True)

    def test_program_that_nobody_may_signal_ends_when_it_is_let_go(self, debian):
        debian.offer("hullo", "1.0")
        with (debian.root / "var/lib/dpkg/lock-frontend").open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            with debian.run_as_nobody(INSTALLED, "--", "hullo") as running:
                assert any("downloading hullo" in line for line in running.stderr)
                running.terminate()
            assert running.returncode == 128 + signal.SIGTERM
        assert debian.version("hullo") == ""
