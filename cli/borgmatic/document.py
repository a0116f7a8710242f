"""A borgmatic configuration file as one flat mapping, whichever version wrote it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

SECTIONS = ("location", "storage", "retention", "consistency", "output", "hooks")
"""Before borgmatic 1.8 the options stood in these."""
GREATEST_SIZE = 1_000_000


class ImportRefusedError(Exception):
    """What was given can't be read; a sentence says why, and what to do."""


def files_in(path: Path) -> list[Path]:
    """The file itself, or the configuration files of a directory, by name; raises `ImportRefusedError`."""
    found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
    if not found:
        raise ImportRefusedError(f"{path} has no .yaml file in it.")
    return found


def read(path: Path) -> dict[str, Any]:
    """The options of a file; raises `ImportRefusedError`."""
    try:
        if path.stat().st_size > GREATEST_SIZE:
            raise ImportRefusedError(f"{path} is too large for a borgmatic configuration.")
        text = path.read_text()
    except (OSError, UnicodeError) as error:
        raise ImportRefusedError(f"{path} can't be read ({error}).") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> dict[str, Any]:
    """The options of a document; raises `ImportRefusedError`. Pure."""
    if "!include" in text:
        raise ImportRefusedError(
            f"{name} includes other files, which is not followed here: write what "
            "`borgmatic config show` prints into one file, and import that."
        )
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ImportRefusedError(f"{name} is no YAML ({first}).") from error
    if not isinstance(document, Mapping):
        raise ImportRefusedError(f"{name} is no borgmatic configuration: it has no options.")
    if document.get("constants"):
        raise ImportRefusedError(
            f"{name} has constants, which are not filled in here: write what `borgmatic config show` prints "
            "into one file, without its `constants`, and import that."
        )
    return dict(_flat(document))


def _flat(document: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if name in SECTIONS and isinstance(value, Mapping):
            yield from ((str(inner), option) for inner, option in value.items())
        else:
            yield str(name), value
