"""Chat, waiting and remote use against a real `locutus up` with a real borg."""

import contextlib
import json
import logging
import os
import pty
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from cli.__main__ import app
from tests.conftest import free_port, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def locutus(tmp_path_factory, sqlite_template):
    """A running Locutus with the repository `demo`; yields a function that runs one command."""
    home = tmp_path_factory.mktemp("home")
    data, source, port = home / "data", home / "source", free_port()
    data.mkdir(mode=0o700)
    source.mkdir()
    (source / "letter").write_text("to whom it may concern\n" * 100)
    shutil.copy(sqlite_template, data / "locutus.db")
    variables = {
        "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "LOCUTUS_HOST": "nas",
        "LOCUTUS_DATA_DIR": str(data), "LOCUTUS_BIND": f"127.0.0.1:{port}", "COLUMNS": "100",
    }  # fmt: skip
    run = Locutus(variables, f"http://127.0.0.1:{port}")
    with (
        (data / "up.log").open("w") as log,
        subprocess.Popen(run.command("up"), cwd=ROOT, env=variables, stderr=log) as up,
    ):
        try:
            wait_until(run.is_ready, 40)
            added = run("repo", "add", "demo", str(home / "demo.borg"), "--source", str(source), "--init")
            assert added.stdout.splitlines()[1].startswith("Creation of demo #1 completed"), added.stderr
            yield run
        finally:
            up.terminate()


class Locutus:
    def __init__(self, variables, url):
        self.variables, self.url = variables, url

    def command(self, *arguments):
        return [sys.executable, "-m", "cli", *arguments]

    def __call__(self, *arguments, **more):
        """Run one command to its end, in this process."""
        try:
            return CliRunner().invoke(app, arguments, env=self.variables | more)
        finally:
            structlog.reset_defaults()
            logging.basicConfig(force=True)

    def is_ready(self):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz") as answer:
            return answer.status == 200
        return False


def test_one_command_shows_its_thread_until_the_job_has_completed(locutus):
    ended = locutus("chat", "/backup run demo")
    assert ended.exit_code == 0, ended.stderr
    number = re.match(r"Job #(\d+) is queued", ended.stdout)[1]
    lines = ended.stdout.splitlines()
    assert len(lines) == len(set(lines)), "a message is printed only when its text has changed"
    assert any(re.match(f"Backup of demo #{number} completed", line) for line in lines)
    assert re.match(f"  Backup of demo #{number} completed in .*: 1 file", lines[-1])


def test_a_failed_job_ends_with_its_log_lines_and_status_1(locutus):
    locutus("repo", "add", "gone", "/nonexistent/gone.borg", "--source", "/tmp")
    ended = locutus("chat", "run gone")
    assert ended.exit_code == 1
    assert "/backup logs" in ended.stdout
    waited = locutus("run", "backup", "gone", "--wait")
    assert (waited.exit_code, waited.stdout.count("\n")) == (1, 1)
    assert "failed" in waited.stdout


def test_the_same_commands_work_by_http_with_a_token(locutus):
    token = locutus("token", "add", "ci", "--role", "operate").stdout.strip()
    remote = {"LOCUTUS_URL": locutus.url, "LOCUTUS_TOKEN": token, "LOCUTUS_DATA_DIR": "/nonexistent"}
    ended = locutus("run", "backup", "demo", "--wait", "--json", **remote)
    assert ended.exit_code == 0, ended.stderr
    job = json.loads(ended.stdout)
    assert (job["status"], job["requested_by"], job["origin"]) == ("completed", "token:ci", "api")
    assert "exit status 0" in locutus("jobs", "logs", str(job["id"]), "-f", **remote).stdout
    refused = locutus("token", "list", **remote)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "locutus grant token:ci administer" in refused.stderr


def test_json_is_one_document_also_where_a_repository_is_made(locutus, tmp_path):
    added = locutus("repo", "add", "new", str(tmp_path / "new.borg"), "--source", str(tmp_path), "--init", "--json")
    assert added.exit_code == 0, added.stderr
    answer = json.loads(added.stdout)
    assert (answer["name"], answer["init_job"]["id"]) == ("new", answer["init_job_id"])
    assert answer["init_job"]["status"] == "completed"
    assert answer["init_job"] in json.loads(locutus("jobs", "--json").stdout)["items"]


def test_a_conversation_goes_on_after_each_thread(locutus):
    leader, follower = pty.openpty()
    variables = locutus.variables | {"TERM": "xterm"}
    ends = {"stdin": follower, "stdout": follower, "stderr": follower, "start_new_session": True}
    with subprocess.Popen(locutus.command("chat"), cwd=ROOT, env=variables, **ends) as chat:
        os.close(follower)
        try:
            converse(Terminal(leader))
            assert chat.wait(20) == 0
        finally:
            chat.kill()
            os.close(leader)


def converse(terminal):
    terminal.until("locutus> ")
    terminal.type("/backup run demo\n")
    terminal.until(r"Backup of demo.*#\d+ completed[^§]*1 file[^§]*locutus> ")
    terminal.type("status\n")
    terminal.until(r"Nothing is running or waiting\.[^§]*locutus> ")
    terminal.type("\x04")


class Terminal:
    """What a person sees and types, without colours and cursor moves."""

    def __init__(self, descriptor):
        self.descriptor, self.seen = descriptor, ""

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def until(self, pattern):
        while not (found := re.search(pattern, self.seen)):
            raw = os.read(self.descriptor, 65536).decode(errors="replace")
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw)
        self.seen = self.seen[found.end() :]
