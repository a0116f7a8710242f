"""`locutus trigger`: the pipeline's one file (`cli/ci_trigger.py`) as a command."""

from pathlib import Path
from typing import Annotated

import typer

from cli import ci_trigger


def trigger(
    url: Annotated[str, typer.Argument(metavar="URL", help="The hook's address, https://…/hooks/NAME.")],
    *,
    secret_file: Annotated[Path, typer.Option(help="A file with the hook's whsec_….")],
    data: Annotated[str, typer.Option(metavar="JSON", help="For the hook's conditions and parameters.")] = "{}",
    delivery_id: Annotated[str, typer.Option("--id", help="Names this delivery: its repetition starts nothing.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 0 only if it completed.")] = False,
) -> None:
    """Start a job by a hook, with nothing but its secret."""
    named = ["--id", delivery_id] if delivery_id else []
    arguments = [url, "--secret-file", str(secret_file), "--data", data, *named, *(["--wait"] if wait else [])]
    raise typer.Exit(ci_trigger.main(arguments))
