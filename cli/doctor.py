"""`locutus doctor`: looks at everything that Locutus stands on, and says of each how to mend it."""

import dataclasses
from collections.abc import Sequence

import typer
from rich.text import Text

from cli.checks import LOCAL, REMOTE
from cli.finding import FAIL, Finding, Standing
from cli.output import FAILED, AsJson, command, safe, say_json, stdout
from jobs.settings import load_settings

STYLES = {Standing.OK: "green", Standing.WARN: "yellow", Standing.FAIL: "red"}


@command
async def doctor(*, as_json: AsJson = False) -> None:
    """Look at all that Locutus needs, and how to mend it.

    Exit status 1 when something keeps Locutus from working.
    """
    settings = load_settings()
    found: list[Finding] = []
    for check in REMOTE if settings.url else LOCAL:
        found += await check(settings)
    if as_json:
        say_json({"items": [dataclasses.asdict(finding) for finding in found]})
    else:
        _print(found)
    if any(finding.standing is FAIL for finding in found):
        raise typer.Exit(FAILED)


def _print(found: Sequence[Finding]) -> None:
    width = max(len(finding.name) for finding in found)
    for finding in found:
        mend = f". {finding.mend}" if finding.mend else ""
        standing = Text(finding.standing.ljust(5), style=STYLES[finding.standing])
        line = Text.assemble(standing, f"{finding.name.ljust(width)}  {safe(finding.seen)}{mend}")
        stdout.print(line, soft_wrap=True)
