"""What Slack takes as a message and what it refuses.

Rules: https://docs.slack.dev/reference/block-kit/blocks, …/reference/methods/chat.postMessage and
…/messaging/message-metadata.
"""

import json
import re
from typing import Any

Json = dict[str, Any]


class RefusedError(Exception):
    """An answer with `ok: false`."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.answer = {"ok": False, "error": code, **more}


def accepted_content(arguments: Json) -> Json:
    """Text, blocks and metadata of a post or an edit, if Slack would take them."""
    text, blocks, metadata = (arguments.get(key) for key in ("text", "blocks", "metadata"))
    if not text and not blocks:
        raise RefusedError("no_text")
    if len(str(text or "")) > 40_000:
        raise RefusedError("msg_too_long")
    if faults := block_faults(blocks or []):
        raise RefusedError("invalid_blocks", errors=faults)
    content = {"text": text or "", "blocks": blocks or []}
    if metadata is None:
        return content
    if not _is_metadata(metadata):
        raise RefusedError("invalid_metadata_format")
    return {**content, "metadata": metadata}


def _is_metadata(metadata: Any) -> bool:
    return (
        isinstance(metadata, dict)
        and metadata.keys() == {"event_type", "event_payload"}
        and isinstance(metadata["event_type"], str)
        and re.fullmatch("[A-Za-z0-9_]{1,255}", metadata["event_type"]) is not None
        and isinstance(metadata["event_payload"], dict)
        and len(json.dumps(metadata)) <= 16_000
    )


def block_faults(blocks: Any) -> list[str]:
    """What Slack would find wrong with these blocks; empty when nothing."""
    if not isinstance(blocks, list) or len(blocks) > 50:
        return ["blocks must be a list of at most 50"]
    faults = [f"{number}: {fault}" for number, block in enumerate(blocks) for fault in _block_faults(block)]
    for key, limit in (("block_id", 255), ("action_id", 255)):
        ids = [part[key] for part in _parts(blocks) if key in part]
        faults += [f"{key} is longer than {limit}" for one in ids if not 1 <= len(one) <= limit]
        faults += [f"{key} stands twice"] if len(set(ids)) < len(ids) else []
    return faults


def _parts(blocks: list[Json]) -> list[Json]:
    return [part for block in blocks for part in (block, *block.get("elements", ())) if isinstance(part, dict)]


def _block_faults(block: Any) -> list[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "header":
        return _text_faults(block.get("text"), 150, ("plain_text",))
    if kind == "section":
        return _section_faults(block)
    if kind in {"context", "actions"}:
        return _element_faults(block, 10 if kind == "context" else 25)
    return [] if kind == "divider" else [f"unknown type {kind!r}"]


def _section_faults(block: Json) -> list[str]:
    fields = block.get("fields", [])
    if "text" not in block and not fields:
        return ["a section needs text or fields"]
    faults = _text_faults(block["text"], 3000) if "text" in block else []
    faults += ["more than 10 fields"] if len(fields) > 10 else []
    return faults + [fault for one in fields for fault in _text_faults(one, 2000)]


def _element_faults(block: Json, at_most: int) -> list[str]:
    elements = block.get("elements")
    if not isinstance(elements, list) or not 1 <= len(elements) <= at_most:
        return [f"elements must be 1 to {at_most}"]
    check = _button_faults if block["type"] == "actions" else _text_faults
    return [fault for element in elements for fault in check(element)]


def _button_faults(button: Any) -> list[str]:
    if not isinstance(button, dict) or button.get("type") != "button":
        return ["not a button"]
    faults = _text_faults(button.get("text"), 75, ("plain_text",))
    faults += ["value is longer than 2000"] if len(button.get("value", "")) > 2000 else []
    faults += ["unknown style"] if button.get("style", "primary") not in {"primary", "danger"} else []
    extra = button.keys() - {"type", "text", "value", "style", "action_id", "url", "confirm", "accessibility_label"}
    return faults + [f"unknown key {key}" for key in extra]


def _text_faults(text: Any, limit: int = 3000, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")) -> list[str]:
    if not isinstance(text, dict) or text.get("type") not in kinds:
        return [f"text must be an object of type {' or '.join(kinds)}"]
    allowed = {"type", "text", "emoji" if text["type"] == "plain_text" else "verbatim"}
    faults = [f"unknown key {key}" for key in text.keys() - allowed]
    if not isinstance(text.get("text"), str) or not 1 <= len(text["text"]) <= limit:
        faults.append(f"text must have 1 to {limit} characters")
    return faults
