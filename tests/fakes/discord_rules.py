"""What Discord takes as a message, a command or an answer, and what it refuses. Each rule names the page it stands on.

Pages are those of https://docs.discord.com/developers. Lengths are counted in UTF-16 units, the strictest way to count.
"""

import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

MESSAGES = {10003: "Unknown Channel", 10008: "Unknown Message", 10062: "Unknown interaction",
            40060: "Interaction has already been acknowledged.", 50001: "Missing Access",
            50005: "Cannot edit a message authored by another user", 50006: "Cannot send an empty message",
            50013: "Missing Permissions", 50024: "Cannot execute action on this channel type",
            50027: "Invalid Webhook Token", 50035: "Invalid Form Body", 50083: "Thread is archived",
            50109: "The request body contains invalid JSON.",
            160004: "A thread has already been created for this message"}  # fmt: skip
"""topics/opcodes-and-status-codes#json"""


class RefusedError(Exception):
    """An answer with an error status, and Discord's own code for it."""

    def __init__(self, status: int, code: int = 0, faults: list[str] | None = None) -> None:
        super().__init__(f"{code} {MESSAGES.get(code, status)} {faults or ''}")
        self.status = status
        self.answer: Json = {"message": MESSAGES.get(code, f"{status}: Unauthorized"), "code": code}
        if faults:
            self.answer["errors"] = {"_errors": [{"code": "INVALID", "message": fault} for fault in faults]}


def accepted_message(body: Any, *, new: bool = True) -> Json:
    """Content, embeds and components of a message, if Discord would take them (resources/message#create-message)."""
    faults = list(message_faults(body, new=new))
    if faults:
        raise RefusedError(400, 50035, faults)
    if new and not (body.get("content") or body.get("embeds") or body.get("components")):
        raise RefusedError(400, 50006)
    return {key: body[key] for key in ("content", "embeds", "components", "flags") if key in body}


def message_faults(body: Any, *, new: bool = True) -> Iterator[str]:
    """What Discord would find wrong with a message; nothing when it would take it."""
    if not isinstance(body, dict):
        yield "not an object"
        return
    yield from _text_faults("content", body.get("content", ""), 2000)
    embeds = body.get("embeds") or []
    if len(embeds) > 10:
        yield "embeds: 10 or fewer"
    for embed in embeds:
        yield from embed_faults(embed)
    if sum(_embed_size(embed) for embed in embeds) > 6000:  # resources/message#embed-object-embed-limits
        yield "embeds: their texts have more than 6000 characters"
    yield from component_faults(body.get("components") or [])
    # resources/message, the page's part on allowed mentions
    if not set((body.get("allowed_mentions") or {}).get("parse", ())) <= {"roles", "users", "everyone"}:
        yield "allowed_mentions.parse: unknown type"
    if new:
        yield from _nonce_faults(body)


def _nonce_faults(body: Json) -> Iterator[str]:
    """resources/message#create-message: a nonce of up to 25 characters; of the flags only these may be set."""
    if "nonce" in body and not (isinstance(body["nonce"], int | str) and 1 <= len(str(body["nonce"])) <= 25):
        yield "nonce: 1 to 25 characters"
    if body.get("enforce_nonce") and "nonce" not in body:
        yield "enforce_nonce: there is no nonce"
    if body.get("flags", 0) & ~((1 << 2) | (1 << 6) | (1 << 12)):
        yield "flags: unknown or not settable"


def embed_faults(embed: Any) -> Iterator[str]:
    """resources/message#embed-object-embed-limits"""
    if not isinstance(embed, dict) or not (embed.keys() & {"title", "description", "fields", "footer"}):
        yield "embed: empty"
        return
    for name, limit in (("title", 256), ("description", 4096)):
        if name in embed:
            yield from _text_faults(name, embed[name], limit, required=True)
    if "footer" in embed:
        yield from _text_faults("footer.text", embed["footer"].get("text"), 2048, required=True)
    if not 0 <= embed.get("color", 0) <= 0xFFFFFF:
        yield "color: not a colour"
    if len(embed.get("fields", ())) > 25:
        yield "fields: 25 or fewer"
    for field in embed.get("fields", ()):
        yield from _text_faults("field.name", field.get("name"), 256, required=True)
        yield from _text_faults("field.value", field.get("value"), 1024, required=True)


def _embed_size(embed: Json) -> int:
    texts = [embed.get("title", ""), embed.get("description", ""), embed.get("footer", {}).get("text", "")]
    texts += [text for field in embed.get("fields", ()) for text in (field["name"], field["value"])]
    return sum(width(text.strip()) for text in texts)


def component_faults(components: Any) -> Iterator[str]:
    """components/reference#action-row and #button: at most 5 rows of 1 to 5 buttons, no custom_id twice."""
    if not isinstance(components, list) or len(components) > 5:
        yield "components: at most 5 rows"
        return
    buttons = []
    for row in components:
        if row.get("type") != 1 or not 1 <= len(row.get("components", ())) <= 5:
            yield "components: a row has 1 to 5 buttons"
            continue
        buttons += row["components"]
    for button in buttons:
        yield from _button_faults(button)
    ids = [button.get("custom_id") for button in buttons]
    if len(set(ids)) < len(ids):
        yield "components: custom_id stands twice"


def _button_faults(button: Json) -> Iterator[str]:
    if button.get("type") != 2 or button.get("style") not in {1, 2, 3, 4}:
        yield "button: unknown type or style"
    yield from _text_faults("custom_id", button.get("custom_id"), 100, required=True)
    yield from _text_faults("label", button.get("label"), 80, required=True)


def response_faults(response: Any, interaction_type: int) -> Iterator[str]:
    """What Discord would find wrong with an answer, on the page interactions/receiving-and-responding."""
    kind, data = response.get("type"), response.get("data", {})
    allowed = {1: {1}, 2: {4, 5, 9}, 3: {4, 5, 6, 7, 9}, 4: {8}, 5: {4, 5, 6, 7}}[interaction_type]
    if kind not in allowed:
        yield f"type: {kind} is no answer to {interaction_type}"
    elif kind in {4, 7}:
        yield from message_faults(data)
        if not (data.get("content") or data.get("embeds")):
            yield "data: empty"
    elif kind == 8:
        yield from _choice_faults(data.get("choices"))
    elif kind == 9:
        yield from _modal_faults(data)


def _choice_faults(choices: Any) -> Iterator[str]:
    """…#interaction-response-object-autocomplete: at most 25 choices, names and texts of 1 to 100 characters."""
    if not isinstance(choices, list) or len(choices) > 25:
        yield "choices: at most 25"
        return
    for choice in choices:
        yield from _text_faults("choice.name", choice.get("name"), 100, required=True)
        if isinstance(choice.get("value"), str):
            yield from _text_faults("choice.value", choice["value"], 100, required=True)


def _modal_faults(data: Json) -> Iterator[str]:
    """…#interaction-response-object-modal and components/reference#label, #text-input."""
    yield from _text_faults("custom_id", data.get("custom_id"), 100, required=True)
    yield from _text_faults("title", data.get("title"), 45, required=True)
    if not 1 <= len(data.get("components", ())) <= 5:
        yield "components: 1 to 5"
    for label in data.get("components", ()):
        field = label.get("component", {})
        if label.get("type") != 18 or field.get("type") != 4 or field.get("style") not in {1, 2}:
            yield "components: a label holds a text input"
        yield from _text_faults("label", label.get("label"), 45, required=True)
        yield from _text_faults("description", label.get("description", ""), 100)
        yield from _text_faults("custom_id", field.get("custom_id"), 100, required=True)
        yield from _text_faults("value", field.get("value", ""), min(4000, field.get("max_length", 4000)))


OPTION_NAME = re.compile(r"^[-_'a-z0-9\w]{1,32}$")


def command_faults(command: Any) -> Iterator[str]:
    """What Discord would find wrong with a slash command (interactions/application-commands)."""
    yield from _named_faults(command)
    yield from _options_faults(command.get("options", []), deepest=2)
    if _command_size(command) > 8000:  # …#slash-commands: names, descriptions and values together
        yield "command: more than 8000 characters"


def _named_faults(one: Json) -> Iterator[str]:
    if not OPTION_NAME.match(str(one.get("name"))) or one["name"] != one["name"].lower():
        yield f"name: {one.get('name')!r}"
    yield from _text_faults("description", one.get("description"), 100, required=True)


def _options_faults(options: list[Json], deepest: int) -> Iterator[str]:
    if len(options) > 25:
        yield "options: 25 or fewer"
    required = [bool(option.get("required")) for option in options]
    if required != sorted(required, reverse=True):
        yield "options: required ones first"
    if len({option.get("name") for option in options}) < len(options):
        yield "options: a name stands twice"
    for option in options:
        yield from _option_faults(option, deepest)


def _option_faults(option: Json, deepest: int) -> Iterator[str]:
    yield from _named_faults(option)
    kind = option.get("type")
    if kind in {1, 2}:
        if kind == 2 and deepest < 2:
            yield "options: groups are not nested"
        yield from _options_faults(option.get("options", []), deepest - 1)
    elif kind not in {3, 4, 5, 10}:
        yield f"options: unknown type {kind}"
    if option.get("autocomplete") and option.get("choices"):
        yield "options: autocomplete or choices, not both"
    yield from _choice_faults(option.get("choices", []))


def _command_size(command: Json) -> int:
    own = len(command["name"]) + len(command["description"])
    values = sum(len(str(choice["name"])) + len(str(choice["value"])) for choice in command.get("choices", ()))
    return own + values + sum(_command_size(option) for option in command.get("options", ()))


def _text_faults(name: str, text: Any, limit: int, *, required: bool = False) -> Iterator[str]:
    """Texts are trimmed before they are counted (resources/message#embed-object-embed-limits)."""
    if not isinstance(text, str):
        yield f"{name}: not a text"
    elif width(text.strip()) > limit or (required and not text.strip()):
        yield f"{name}: must have {int(required)} to {limit} characters"


def width(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
