"""The answer to whoever makes a resource."""

from typing import Any

from pydantic import BaseModel

from webhooks.route import Answer, Call


def made(call: Call[Any, Any], path: str, body: BaseModel) -> Answer:
    """The new resource, with `path`, where it is from now on, as its `Location`."""
    return Answer(body, headers={"Location": f"{call.context.settings.base_url}{path}"})
