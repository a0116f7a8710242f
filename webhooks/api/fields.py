"""Field types that several resources share."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from jobs.field_errors import TIME
from jobs.models import SUBJECT_LENGTH
from jobs.rate import PATTERN
from jobs.repository_fields import Channel, RepositoryName

SUBJECT = re.compile(
    r"slack:[A-Z0-9]+:(usergroup:)?[A-Z0-9]+|discord:[0-9]+:(role:)?[0-9]+|token:[a-z0-9][a-z0-9._-]{0,62}"
)

RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)

RoleName = Literal["view", "operate", "administer"]
RateText = Annotated[str, StringConstraints(pattern=PATTERN), Field(description="So many in a time, as in 60/m")]
TokenName = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")]
RepositoryNames = Annotated[list[RepositoryName], Field(min_length=1, max_length=1000)]
Channels = Annotated[list[Channel], Field(min_length=1, max_length=1000)]


class Body(BaseModel):
    """A request body: what it does not know it refuses by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _subject(text: str) -> str:
    if not SUBJECT.fullmatch(text):
        raise ValueError(
            "write slack:TEAM:USER, slack:TEAM:usergroup:ID, discord:GUILD:USER, discord:GUILD:role:ID or token:NAME"
        )
    return text


def _written_out(given: object) -> object:
    # Pydantic takes numbers, too, as seconds or milliseconds since 1970.
    if not (isinstance(given, str) and RFC3339.fullmatch(given)):
        raise ValueError(TIME)
    return given


def _in_range(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(TIME) from error


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_range)]
Subject = Annotated[str, StringConstraints(max_length=SUBJECT_LENGTH), AfterValidator(_subject)]
