"""Draw docs/images/thread.svg: a real backup, its thread as `locutus chat` shows it, at three moments.

.venv/bin/python docs/images/record.py SOURCE_DIRECTORY
"""

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bot.card import Message
from bot.console.content import restored
from bot.console.terminal import thread
from cli.embedded_redis import embedded_redis
from jobs.access import Role, everywhere
from jobs.database.connection import migrate
from jobs.models import ConsoleMessage
from jobs.submit import JobRequest, submit
from tests.fakes.instance import instance, settings_for

PICTURE = Path(__file__).with_name("thread.svg")
ANNA = everywhere("cli:anna", Role.OPERATE)


async def main(source: Path) -> None:
    directory = Path(tempfile.mkdtemp())
    (directory / "data").mkdir()
    async with embedded_redis(directory / "data") as redis_url:
        database_url = f"sqlite://{directory}/data/locutus.db"
        await migrate(database_url)
        settings = settings_for(directory, database_url, redis_url, host="nas-1")
        async with instance(settings) as running:
            await running.add_repository("photos", directory / "photos", [source])
            moments = await _backup()
    _draw([moments[len(moments) // 2], moments[-1]])


async def _backup() -> list[list[Message]]:
    accepted = await submit(JobRequest("backup", ANNA, "console", "photos"))
    moments: list[list[Message]] = []
    while not moments or not all(message.status.final for message in moments[-1]):
        shown = await _thread(accepted.job.id)
        if shown and (not moments or shown != moments[-1]):
            moments.append(shown)
        await asyncio.sleep(0.05)
    return moments


async def _thread(job_id: int) -> list[Message]:
    rows: list[Any] = await ConsoleMessage.filter(job_id=job_id).order_by("id")
    return [restored(row.content) for row in rows] if len(rows) > 1 else []


def _draw(moments: list[list[Message]]) -> None:
    console = Console(record=True, width=88, force_terminal=True, color_system="truecolor", file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(Text("> /backup run photos", style="bold"))
    console.print(Text("Job #2 is queued: backup of photos on nas-1.", style="dim"))
    for moment, label in zip(moments, ("while it runs", "when it has ended"), strict=True):
        console.print(Text(f"\n── {label} " + "─" * (84 - len(label)), style="dim"))
        console.print(thread(moment))
    picture = console.export_svg(title="locutus chat")
    # A picture in a README fetches nothing: the reader's own fixed-width font will do.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\n", "", picture, flags=re.DOTALL))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
