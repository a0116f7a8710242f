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
    faults += _id_faults("block_id", blocks)
    return faults + [fault for block in blocks for fault in _id_faults("action_id", _inside(block))]


def _inside(block: Any) -> list[Json]:
    """The elements of a block; an action's id need only differ from the others of its block."""
    if not isinstance(block, dict):
        return []
    return [part for part in (*block.get("elements", ()), block.get("accessory"), block.get("element")) if part]


def _id_faults(key: str, parts: list[Any]) -> list[str]:
    ids = [part[key] for part in parts if isinstance(part, dict) and key in part]
    faults = [f"{key} is longer than 255" for one in ids if not 1 <= len(one) <= 255]
    return faults + ([f"{key} stands twice"] if len(set(ids)) < len(ids) else [])


def view_faults(view: Any, kind: str) -> list[str]:
    """What Slack would find wrong with a modal or a home: https://docs.slack.dev/reference/views"""
    if not isinstance(view, dict) or view.get("type") != kind:
        return [f"the view must be a {kind}"]
    blocks = view.get("blocks")
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 100:
        return ["a view has 1 to 100 blocks"]
    faults = [fault for block in blocks for fault in _block_faults(block, view=True)]
    faults += [fault for block in blocks for fault in _id_faults("action_id", _inside(block))]
    faults += ["private_metadata is too long"] if len(view.get("private_metadata", "")) > 3000 else []
    for name in ("title", "submit", "close") if kind == "modal" else ():
        faults += _text_faults(view[name], 24, ("plain_text",)) if name in view else []
    inputs = any(block.get("type") == "input" for block in blocks)
    faults += ["a modal with inputs needs submit"] if inputs and "submit" not in view else []
    return faults + (["a modal needs a title"] if kind == "modal" and "title" not in view else [])


def _block_faults(block: Any, *, view: bool = False) -> list[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "header":
        return _text_faults(block.get("text"), 150, ("plain_text",))
    if kind == "section":
        return _section_faults(block)
    if kind in {"context", "actions"}:
        return _element_faults(block, 10 if kind == "context" else 25)
    if kind == "input" and view:
        return _input_faults(block)
    return [] if kind == "divider" else [f"unknown type {kind!r}"]


def _input_faults(block: Json) -> list[str]:
    element = block.get("element")
    if not isinstance(element, dict) or element.get("type") not in _INPUTS:
        return ["an input needs an element"]
    faults = _text_faults(block.get("label"), 2000, ("plain_text",))
    for option in (*element.get("options", ()), *filter(None, [element.get("initial_option")])):
        faults += option_faults(option)
    faults += ["initial_value is too long"] if len(element.get("initial_value", "")) > 3000 else []
    return faults + [f"unknown key {key}" for key in element.keys() - _INPUTS[element["type"]]]


def option_faults(option: Json) -> list[str]:
    """Of a menu's option: https://docs.slack.dev/reference/block-kit/composition-objects/option-object"""
    faults = _text_faults(option.get("text"), 75, ("plain_text",))
    return faults + ([] if 1 <= len(option.get("value", "")) <= 150 else ["value must have 1 to 150 characters"])


_INPUTS = {
    "plain_text_input": {"type", "action_id", "multiline", "initial_value", "placeholder"},
    "external_select": {"type", "action_id", "min_query_length", "initial_option", "placeholder"},
    "static_select": {"type", "action_id", "options", "initial_option", "placeholder"},
    "checkboxes": {"type", "action_id", "options", "initial_options"},
}


def _section_faults(block: Json) -> list[str]:
    fields = block.get("fields", [])
    if "text" not in block and not fields:
        return ["a section needs text or fields"]
    faults = _text_faults(block["text"], 3000) if "text" in block else []
    faults += ["more than 10 fields"] if len(fields) > 10 else []
    faults += _button_faults(block["accessory"]) if "accessory" in block else []
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
