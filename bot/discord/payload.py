"""What Discord tells of an interaction, as far as it matters here. Pure.

https://docs.discord.com/developers/interactions/receiving-and-responding#interaction-object
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

PRIVATE_THREAD = 12
THREADS = frozenset({10, 11, PRIVATE_THREAD})
"""Channel types of threads: https://docs.discord.com/developers/resources/channel#channel-object-channel-types"""
TEXT_INPUT = 4
EPHEMERAL = 1 << 6
"""https://docs.discord.com/developers/resources/message#message-object-message-flags"""

Snowflake = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]


class InvalidInteractionError(Exception):
    """What came in is no interaction that Discord would send."""


class InteractionType(IntEnum):
    """What somebody did."""

    PING = 1
    COMMAND = 2
    COMPONENT = 3
    AUTOCOMPLETE = 4
    MODAL_SUBMIT = 5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class User(_Part):
    """Somebody, by id."""

    id: Snowflake


class Member(_Part):
    """Somebody in a server, and the roles held there."""

    user: User
    roles: tuple[Snowflake, ...] = ()


class Channel(_Part):
    """Where it happened; `parent_id` of a thread is its channel."""

    id: Snowflake
    type: int = 0
    parent_id: Snowflake | None = None


class Option(_Part):
    """A sub-command with its options, or the value of one; `focused` is the one that is being typed."""

    name: str
    value: bool | int | float | str | None = None
    focused: bool = False
    options: tuple["Option", ...] = ()


class Component(_Part):
    """A row, a label or an input of a modal."""

    type: int = 0
    custom_id: str = ""
    value: str = ""
    components: tuple["Component", ...] = ()
    component: "Component | None" = None

    def inputs(self) -> Iterator["Component"]:
        """The text inputs in it."""
        if self.type == TEXT_INPUT:
            yield self
        for inner in (*self.components, *((self.component,) if self.component else ())):
            yield from inner.inputs()


class Data(_Part):
    """What was typed, clicked or filled in."""

    name: str = ""
    options: tuple[Option, ...] = ()
    custom_id: str = ""
    components: tuple[Component, ...] = ()


class ClickedMessage(_Part):
    """The message that a clicked button stands under; its flags say whether its asker alone sees it."""

    flags: int = EPHEMERAL


class Interaction(_Part):
    """One thing that somebody did."""

    id: Snowflake
    type: InteractionType
    token: str = Field("", repr=False)
    application_id: Snowflake = "0"
    guild_id: Snowflake | None = None
    channel_id: Snowflake | None = None
    channel: Channel | None = None
    member: Member | None = None
    user: User | None = None
    data: Data = Data()
    message: ClickedMessage = ClickedMessage()

    @property
    def place(self) -> str | None:
        """`discord:GUILD:CHANNEL`, of a thread its channel; None outside of a server."""
        if self.guild_id is None or self.channel_id is None:
            return None
        parent = self.channel.parent_id if self.channel and self.channel.type in THREADS else None
        return f"discord:{self.guild_id}:{parent or self.channel_id}"

    @property
    def in_private_thread(self) -> bool:
        """Whether fewer see where it happened than see `place`."""
        return self.channel is not None and self.channel.type == PRIVATE_THREAD

    @property
    def subjects(self) -> tuple[str, ...]:
        """Who did it and their roles, as rights are bound: `discord:GUILD:USER`, `discord:GUILD:role:ID`."""
        if self.member is None or self.guild_id is None:
            return ()
        prefix = f"discord:{self.guild_id}"
        return (f"{prefix}:{self.member.user.id}", *(f"{prefix}:role:{role}" for role in self.member.roles))


def parsed(payload: Any) -> Interaction:
    """The interaction; raises `InvalidInteractionError`."""
    try:
        return Interaction.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInteractionError(f"{where}: {first['msg']}.") from error


def focused(options: tuple[Option, ...]) -> Option | None:
    """The option that is being typed."""
    return next((option for option in options if option.focused), None)


def filled_in(data: Data) -> Mapping[str, str]:
    """What a modal's inputs hold, by their ids."""
    return {field.custom_id: field.value for component in data.components for field in component.inputs()}
