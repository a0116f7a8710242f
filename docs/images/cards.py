"""Draw docs/images/cards.html: what a channel sees of a job, in every state, in Slack and in Discord, light and dark.

.venv/bin/python docs/images/cards.py

The layout is an approximation: what is checked here is that a card reads in three seconds.
"""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.card import Button, Message, Part, failure_message, job_card, progress_message
from bot.commands.asking import Answer
from bot.discord import render as discord
from bot.question import question_message
from bot.slack.render import render, render_answer
from jobs.confirmations import ConfirmationState
from jobs.models import Confirmation
from jobs.types import JOB_TYPES
from jobs.view import JobStatus, JobView, Progress

PICTURE = Path(__file__).with_name("cards.html")
NOW = datetime(2026, 11, 23, 14, 3, tzinfo=UTC)
WORDS = JOB_TYPES["backup"].words
GB = 10**9
DANGER = 4
QUESTION = Answer(
    "Prune of photos at /srv/photos: keeps 7 daily and 4 weekly archives, deletes the others that Locutus made.\n"
    "Confirm within 10 minutes, else nothing is done (confirmation 3).",
    buttons=(Button("request.confirm", "3", "Confirm", "danger"), Button("request.dismiss", "3", "Dismiss")),
)
SECOND = Confirmation(
    id=4, kind="prune", repository_name="photos", host="nas-1", request={}, asked_by="token:ci", origin="api",
    plan=["Prune of photos at /srv/photos: keeps 7 daily archives, deletes the others that Locutus made."],
    decided_by="slack:T1:U2", job_id=12, expires_at=NOW + timedelta(minutes=10),
)  # fmt: skip
STYLE = """
body { margin: 0; font: 15px/1.46 Lato, "Helvetica Neue", Arial, sans-serif; }
.theme { padding: 24px; display: grid; grid-template-columns: repeat(2, minmax(0, 560px)); gap: 18px 32px; }
.light { background: #fff; color: #1d1c1d; --small: #616061; --line: #dddddd; --code: #f8f8f8; --red: #e01e5a; }
.dark { background: #1a1d21; color: #d1d2d3; --small: #ababad; --line: #35373b; --code: #222529; --red: #e8788f; }
h2 { grid-column: 1 / -1; margin: 0; font-size: 15px; color: var(--small); font-weight: normal; }
.message { display: flex; gap: 8px; } .reply { margin-left: 44px; }
.face { flex: none; width: 36px; height: 36px; border-radius: 8px; background: #1f6f54; color: #fff; display: grid;
  place-items: center; font-weight: bold; }
.who { font-weight: 900; } .who span { font-weight: normal; font-size: 12px; color: var(--small); margin-left: 6px; }
.section { margin: 2px 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.context { font-size: 13px; color: var(--small); display: flex; flex-wrap: wrap; gap: 2px 12px; margin: 4px 0; }
code { font: 12px/1.5 Monaco, Menlo, Consolas, "DejaVu Sans Mono", monospace; color: var(--red);
  background: var(--code); border: 1px solid var(--line); border-radius: 3px; padding: 1px 3px; }
pre { font: 12px/1.5 Monaco, Menlo, Consolas, "DejaVu Sans Mono", monospace; background: var(--code); margin: 4px 0;
  border: 1px solid var(--line); border-radius: 4px; padding: 8px; white-space: pre-wrap; overflow-wrap: anywhere; }
.actions { display: flex; gap: 8px; margin: 6px 0; }
.actions span { border: 1px solid var(--line); border-radius: 4px; padding: 3px 10px; font-size: 13px; }
.actions span { font-weight: 900; }
.embed { border-left: 4px solid; border-radius: 4px; background: var(--code); padding: 8px 12px; margin: 4px 0; }
.embed .title { font-weight: bold; } .embed .small { font-size: 12px; color: var(--small); }
.facts { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 6px 0 2px; }
.facts b { display: block; font-size: 13px; }
.actions .danger { color: var(--red); border-color: var(--red); }
"""


def main() -> None:
    moments = list(_moments())
    pages = [_theme(name, platform, moments) for platform in ("Slack", "Discord") for name in ("light", "dark")]
    head = f'<!doctype html><meta charset="utf-8"><title>Cards</title><style>{STYLE}</style>'
    PICTURE.write_text("\n".join((head, *pages, "")))


def _moments() -> Iterator[tuple[str, Message | Answer]]:
    """A caption, and what is said; what is no card stands in the thread."""
    half = Progress(
        progress_percent=41.0, percent_is_estimate=True, total_size=31 * GB, total_from="previous archive",
        nfiles=81_204, original_size=13 * GB, deduplicated_size=GB // 3, backup_speed=84.2, eta_s=212.0,
        current_file="/home/anna/pictures/2026/lofoten/raw/IMG_2041.CR3", last_activity_at=NOW,
    )  # fmt: skip
    final = Progress(progress_percent=100.0, nfiles=198_114, original_size=31 * GB, deduplicated_size=GB // 2)
    failed = _job("failed", duration_s=12.0, error_message="The repository does not exist. Look at its location.")
    done = _job("completed", final, duration_s=412.0, archive_name="photos-2026-11-23T14:03:00")
    cancelled = _job("cancelled", duration_s=95.0, cancelled_by="slack:T1:U2")
    log = ["borg create --progress … /srv/photos::photos-2026", "Repository /srv/photos does not exist.", "exit 2"]
    yield "waiting", job_card(_job("pending", waits_for="#5 (check, running)", queue_place=2), words=WORDS)
    yield "running", job_card(_job("running", half), words=WORDS)
    yield "its progress", progress_message(_job("running", half), now=NOW, words=WORDS)
    yield "completed", job_card(done, words=WORDS)
    yield "its figures", progress_message(done, now=NOW, words=WORDS)
    yield "failed", job_card(failed, words=WORDS)
    yield "its last log lines", failure_message(failed, log)
    yield "cancelled", job_card(cancelled, words=WORDS)
    again = _job("pending", id=9, requested_by="slack:T1:U2")
    yield "retried", job_card(failed, words=WORDS, again=[again])
    yield "asked back", QUESTION
    yield "a second person is asked", question_message(SECOND, ConfirmationState.WAITING)
    yield "a second person said yes", question_message(SECOND, ConfirmationState.CONFIRMED)


def _job(status: str, progress: Progress | None = None, **changes: Any) -> JobView:
    fields: dict[str, Any] = dict.fromkeys(JobView.model_fields) | {
        "id": 7, "kind": "backup", "repository": "photos", "host": "nas-1", "progress": progress or Progress(),
        "warnings": 0, "logs_url": "", "requested_by": "slack:T1:U1", "origin": "slack", "priority": "normal",
        "attempt": 1, "follow_ups": (), "created_at": NOW, "started_at": NOW - timedelta(minutes=3),
        "status": JobStatus(status),
    }  # fmt: skip
    known = {name: value for name, value in (fields | changes).items() if name in JobView.model_fields}
    return JobView.model_validate(known)


def _theme(name: str, platform: str, moments: list[tuple[str, Message | Answer]]) -> str:
    draw = _in_slack if platform == "Slack" else _in_discord
    shown = "\n".join(_message(caption, draw(said), said) for caption, said in moments)
    return f'<div class="theme {name}"><h2>{platform}, {name}</h2>\n{shown}\n</div>'


def _message(caption: str, content: str, said: Message | Answer) -> str:
    reply = isinstance(said, Message) and said.part not in {Part.CARD, Part.QUESTION}
    return (
        f'<div class="message{" reply" if reply else ""}"><div class="face">L</div><div>'
        f'<div class="who">Locutus<span>{caption}</span></div>{content}</div></div>'
    )


def _in_slack(said: Message | Answer) -> str:
    blocks = render(said)["blocks"] if isinstance(said, Message) else render_answer(said).blocks
    return "".join(map(_block, blocks))


def _in_discord(said: Message | Answer) -> str:
    if isinstance(said, Answer):
        content = discord.render_answer(said)
        return f'<div class="section">{_markdown(content["content"])}</div>{_rows(content["components"])}'
    content = discord.render(said)
    called = f'<div class="section">{html.escape(content["content"])}</div>' if "content" in content else ""
    return called + "".join(map(_embed, content["embeds"])) + _rows(content["components"])


def _embed(embed: dict[str, Any]) -> str:
    facts = "".join(
        f"<span><b>{_markdown(field['name'])}</b>{_markdown(field['value'])}</span>"
        for field in embed.get("fields", ())
    )
    return (
        f'<div class="embed" style="border-color:#{embed["color"]:06x}">'
        f'<div class="title">{_markdown(embed["title"])}</div>'
        f'<div class="section">{_markdown(embed.get("description", ""))}</div><div class="facts">{facts}</div>'
        f'<div class="small">{_markdown(embed.get("footer", {}).get("text", ""))}</div></div>'
    )


def _rows(rows: list[dict[str, Any]]) -> str:
    buttons = (button for row in rows for button in row["components"])
    drawn = (
        f'<span class="{"danger" if button["style"] == DANGER else ""}">{html.escape(button["label"])}</span>'
        for button in buttons
    )
    return f'<div class="actions">{"".join(drawn)}</div>'


def _markdown(text: str) -> str:
    """Discord's formatting as far as our own messages use it."""
    shown = re.sub(r"```\n?(.*?)\n?```", r"<pre>\1</pre>", html.escape(text), flags=re.DOTALL)
    shown = re.sub(r"(?<!\\)`([^`\n]+)`", r"<code>\1</code>", shown)
    shown = re.sub(r"(?<!\\)\*\*([^*\n]+)\*\*", r"<b>\1</b>", shown)
    shown = re.sub(r"^-# (.*)$", r'<span class="small">\1</span>', shown, flags=re.MULTILINE)
    return re.sub(r"\\([^\w\s])", r"\1", shown)


def _block(block: dict[str, Any]) -> str:
    if block["type"] == "section":
        return f'<div class="section">{_text(block["text"])}</div>'
    if block["type"] == "context":
        facts = "".join(f"<span>{_text(element)}</span>" for element in block["elements"])
        return f'<div class="context">{facts}</div>'
    buttons = (
        f'<span class="{element.get("style", "")}">{html.escape(element["text"]["text"])}</span>'
        for element in block["elements"]
    )
    return f'<div class="actions">{"".join(buttons)}</div>'


def _text(text: dict[str, Any]) -> str:
    """mrkdwn is escaped already; of its formatting only what our own messages use is shown."""
    if text["type"] == "plain_text":
        return str(text["text"])
    shown = re.sub(r"```\n?(.*?)\n?```", r"<pre>\1</pre>", text["text"], flags=re.DOTALL)
    shown = re.sub(r"<@(U\d+)>", r"<b>@\1</b>", shown)
    shown = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", shown)
    return re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", shown)


if __name__ == "__main__":
    main()
