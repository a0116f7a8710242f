"""The documentation keeps up with the code, and its links lead somewhere."""

import re
from pathlib import Path

import pytest
import typer.main

from bot.commands import COMMANDS
from cli.__main__ import app
from jobs.borg.outcome import SENTENCES
from jobs.lifecycle import TRANSITIONS
from jobs.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    broken = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not broken


def test_every_setting_is_documented():
    text = (ROOT / "docs/configuration.md").read_text()
    variables = [choice for field in Settings.model_fields.values() for choice in field.validation_alias.choices]
    assert not [name for name in variables if f"`{name}`" not in text]


def test_every_command_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert not [name for name in COMMANDS if f"`{name}`" not in text and f"/backup {name}" not in text]


def test_state_diagram_shows_exactly_the_transition_table():
    diagram = (ROOT / "docs/architecture.md").read_text().partition("stateDiagram-v2")[2].partition("```")[0]
    shown = {(source, target) for source, target in re.findall(r"(\w+) --> (\w+)", diagram)}
    assert shown == {(source.value, target.value) for source, targets in TRANSITIONS.items() for target in targets}


def test_every_decision_is_numbered_in_order():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_command_line_that_people_are_told_to_run_exists():
    texts = [page.read_text() for page in PAGES] + [" ".join(sentence) for sentence in SENTENCES.values()]
    told = {
        match
        for text in texts
        for match in re.findall(r"(?:`|^|/bin/)locutus ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE)
    }
    commands = typer.main.get_command(app).commands
    unknown = [
        (name, sub)
        for name, sub in told
        if name not in commands or (hasattr(commands[name], "commands") and sub and sub not in commands[name].commands)
    ]
    assert unknown == []
