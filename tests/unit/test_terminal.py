"""A message on a terminal: laid out whole, and nothing in it is taken for markup or obeyed by the terminal."""

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group, RenderableType

from bot.card import Button, Field, Message, Part
from bot.console import terminal
from bot.figures import Bar
from jobs.view import JobStatus

CARD = Message(
    7, Part.CARD, JobStatus.RUNNING, "●", "Backup of photos", "#7 running",
    fields=(Field("Host", "nas"), Field("Asked by", "token ci", "token:ci")),
    buttons=(Button("job.cancel", "7", "Cancel", "danger"),),
)  # fmt: skip
PROGRESS = Message(
    7, Part.PROGRESS, JobStatus.RUNNING, "●", "Backing up photos", "#7 running",
    bar=Bar(0.41, "≈ 41 % of the previous archive's 31.2 GB"), lines=("1,204 files", "last activity 40 s ago"),
    note="/home/anna/…/IMG_2041.CR3",
)  # fmt: skip


def shown(renderable: RenderableType, *, width: int = 100, colours: bool = False) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=colours, color_system="standard" if colours else None)
    console.print(renderable)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def test_card_and_progress_stand_in_one_thread():
    assert shown(terminal.thread([CARD, PROGRESS])).splitlines() == [
        "● Backup of photos #7 running",
        "  Host nas · Asked by token ci",
        "  Cancel: /backup cancel 7",
        "  ● Backing up photos #7 running",
        "    ████████░░░░░░░░░░░░ ≈ 41 % of the previous archive's 31.2 GB",
        "    1,204 files",
        "    last activity 40 s ago",
        "    /home/anna/…/IMG_2041.CR3",
    ]


def test_status_line_is_cut_at_the_edge_and_stays_one_line():
    line = shown(Group(terminal.status_line(PROGRESS)), width=40)
    assert line.count("\n") == 0
    assert line.startswith("● Backing up photos #7 running  ████")
    assert line.endswith("…")


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", "[link=http://x]y", ":smile:", "[red"])
def test_markup_in_names_is_text(text):
    message = replace(CARD, headline=text, lines=(text,), note=text, code=text, fields=(Field(text, text),))
    assert shown(terminal.rendered(message)).count(text) == 6


def test_log_lines_move_no_cursor():
    message = replace(CARD, part=Part.FAILURE, code="\x1b[2Jgone\x07\nERROR: a\tb")
    text = shown(terminal.rendered(message))
    assert "  gone\N{REPLACEMENT CHARACTER}\n  ERROR: a    b" in text


@pytest.mark.parametrize("status", list(JobStatus))
def test_every_state_has_a_colour(status):
    assert "\x1b[" in shown(terminal.rendered(replace(CARD, status=status)), colours=True)


@given(st.text())
def test_no_log_reaches_the_terminal_as_a_command(code):
    text = shown(terminal.rendered(replace(PROGRESS, code=code or None)))
    assert "\x1b" not in text
