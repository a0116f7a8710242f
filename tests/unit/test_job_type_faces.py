"""How every job type shows itself: card and thread on each platform, chat command, route, description, docs."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from bot.card import failure_message, job_card, progress_message
from bot.commands import COMMANDS
from bot.console import terminal
from bot.console.content import restored, stored
from bot.discord.render import render as render_for_discord
from bot.slack.render import render as render_for_slack
from jobs.access import Role
from jobs.clock import now
from jobs.field_errors import field_name
from jobs.job_type import Policy, Target
from jobs.parameters import checked
from jobs.types import JOB_TYPES
from jobs.view import JobStatus, JobView, Progress
from tests.fakes.job_types import example
from webhooks.api.job_kinds import start_body
from webhooks.app import ROUTES, description

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "job-types.md").read_text()
TYPES = pytest.mark.parametrize("declared", JOB_TYPES.values(), ids=JOB_TYPES)
HOSTILE = "*<!channel>* `x`\n\x1b[31m --rm"


def shown_on_terminal(message):
    console = Console(width=100, file=io.StringIO())
    console.print(terminal.rendered(message))
    return console.file.getvalue()


RENDERERS = {
    "discord": lambda message: json.dumps(render_for_discord(message)),
    "slack": lambda message: json.dumps(render_for_slack(message)),
    "console": lambda message: restored(stored(message)).text,
    "terminal": shown_on_terminal,
}


def job_of(kind, status):
    fields = dict.fromkeys(JobView.model_fields) | {
        "id": 7, "kind": kind, "status": status, "repository": "photos", "host": "nas", "warnings": 0, "attempt": 1,
        "progress": Progress(progress=41.0, progress_message=HOSTILE, current_file=HOSTILE), "priority": "normal",
        "logs_url": "/l", "requested_by": "slack:T1:U1", "origin": "slack", "created_at": now(), "follow_ups": (),
        "error_message": f"{HOSTILE} broke.",
    }  # fmt: skip
    return JobView(**fields)


@TYPES
@pytest.mark.parametrize("platform", RENDERERS)
def test_thread_is_rendered_in_every_state_whatever_stands_in_it(declared, platform):
    for status in JobStatus:
        job = job_of(declared.kind, status)
        messages = [
            job_card(job, words=declared.words),
            progress_message(job, now=now(), words=declared.words),
            failure_message(job, [HOSTILE]),
        ]
        for message in messages:
            text = RENDERERS[platform](message)
            assert "#7" in text
            assert status in text
            assert "\x1b" not in text
            assert "<!channel>" not in text or platform != "slack"


@TYPES
def test_example_is_taken_and_each_parameter_says_what_it_is(declared):
    parameters = checked(declared, example(declared))
    declared.check(parameters, Target("photos", "/r", archive_glob="photos-*"), Policy())
    assert all(field.description for field in declared.parameters.model_fields.values())


@TYPES
def test_unknown_and_malformed_parameters_are_refused_by_their_name(declared):
    names = ["no_such_thing", *declared.parameters.model_fields]
    for name in names:
        with pytest.raises(ValueError, match=r".") as refused:
            declared.parameters.model_validate({**example(declared), name: {"not": ["a", "value"]}})
        assert name in {field_name(error).partition(".")[0] for error in refused.value.errors()}


@TYPES
def test_whoever_destroys_something_by_default_must_administer(declared):
    parameters = checked(declared, example(declared))
    assert declared.role >= Role.OPERATE
    if declared.destroys(parameters):
        assert declared.role_for(parameters, Policy()) is Role.ADMINISTER
        plan = declared.plan(parameters, Target("photos", "/srv/photos", archive_glob="photos-*"))
        assert all(sentence.endswith(".") for sentence in plan)


@TYPES
def test_follow_ups_are_kinds_that_there_are(declared):
    assert declared.followed_by <= JOB_TYPES.keys()


@TYPES
def test_every_declared_path_is_served_described_and_guarded(declared):
    paths = description()["paths"]
    served = {(route.method, route.path): route for route in ROUTES}
    wanted = {"start": "POST", "status": "GET", "logs": "GET", "listing": "GET"}
    for name, method in wanted.items():
        if path := getattr(declared.routes, name):
            assert served[method, path].needs is (declared.role if name == "start" else Role.VIEW)
            assert paths[path][method.lower()]["summary"].startswith(declared.words.noun)
    if declared.routes.start:
        described = json.dumps(paths[declared.routes.start]["post"])
        assert start_body(declared).__name__ in described


@TYPES
def test_chat_command_has_its_right_and_a_flag_for_each_parameter(declared):
    if declared.command_word is None:
        return
    command = COMMANDS[declared.command_word]
    said = {flag.name for flag in command.flags} | {word.name for word in command.positionals}
    assert command.role is declared.role
    assert set(declared.parameters.model_fields) <= said


@TYPES
def test_page_of_job_types_names_the_kind_and_each_parameter(declared):
    section = re.search(rf"^## `{declared.kind}`\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section, f"docs/job-types.md has no section for {declared.kind}"
    missing = [name for name in declared.parameters.model_fields if f"`{name}`" not in section[1]]
    assert missing == []
