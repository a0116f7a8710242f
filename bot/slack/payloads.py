"""What stands in Slack's payloads: who asks, where, and whether enough is there to tell. Pure.

https://docs.slack.dev/reference/interaction-payloads
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PRIVATE = re.compile(r"directmessage$|privategroup$|mpdm-")
"""The `channel_name` of a slash command that was not given in a public channel."""


@dataclass(frozen=True, slots=True)
class Who:
    """Slack's own ids of who asks and where (None: on no channel), and the interaction's key."""

    team: str
    user: str
    channel: str | None
    request_key: str
    enterprise: str | None = None
    private: bool = False
    """Whether it is known to be a conversation that takes members only: a private channel, a direct message."""

    @property
    def subject(self) -> str:
        """`slack:TEAM:USER`."""
        return f"slack:{self.team}:{self.user}"

    @property
    def place(self) -> str | None:
        """`slack:TEAM:CHANNEL`."""
        return f"slack:{self.team}:{self.channel}" if self.channel else None


def who_commands(command: Mapping[str, Any]) -> Who:
    """Of a slash command."""
    return Who(
        command["team_id"],
        command["user_id"],
        command["channel_id"],
        request_key(command),
        command.get("enterprise_id") or None,
        _PRIVATE.match(str(command.get("channel_name"))) is not None,
    )


def who_interacts(body: Mapping[str, Any]) -> Who:
    """Of a click, of a form that was sent, of a menu that wants choices; a form knows the channel it was opened in."""
    channel = (body.get("channel") or {}).get("id") or form_data(body.get("view") or {}).get("channel")
    enterprise = (body.get("enterprise") or {}).get("id")
    return Who(body["team"]["id"], body["user"]["id"], channel, request_key(body), enterprise)


def form_data(view: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was put into a view of ours when it was made."""
    try:
        found = json.loads(view.get("private_metadata") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def request_key(body: Mapping[str, Any]) -> str:
    """Slack's trigger id names the interaction; it is the same when Slack, or anyone, sends it again."""
    trigger = body.get("trigger_id") or hashlib.sha256(repr(sorted(body.items())).encode()).hexdigest()
    return f"slack:{trigger}"


def is_complete(body: Mapping[str, Any]) -> bool:
    """Whether a payload has what is needed to tell who asks for what, and where."""
    if "command" in body:
        return _has_texts(body, "command", "team_id", "user_id", "channel_id")
    kind = body.get("type")
    if kind == "event_callback":
        return _has_texts(body, "team_id") and _has_texts(body.get("event"), "type")
    if kind not in {"block_actions", "view_submission", "block_suggestion"}:
        return isinstance(kind, str)
    people = all(_has_texts(body.get(name), "id") for name in ("team", "user"))
    return people and _has_its_own(kind, body)


def _has_its_own(kind: str, body: Mapping[str, Any]) -> bool:
    in_view = isinstance(body.get("view"), Mapping)
    if kind == "block_suggestion":
        return _has_texts(body, "action_id", "value")
    if kind == "view_submission":
        return in_view
    actions = body.get("actions")
    clicks = isinstance(actions, list) and all(_has_texts(action, "action_id", "value") for action in actions)
    return clicks and bool(actions) and (in_view or _has_texts(body.get("channel"), "id"))


def _has_texts(value: object, *names: str) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in names)
