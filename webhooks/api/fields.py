"""Field types that several resources share."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from jobs.models import SUBJECT_LENGTH
from jobs.repository_fields import Channel, RepositoryName

SUBJECT = re.compile(
    r"slack:[A-Z0-9]+:(usergroup:)?[A-Z0-9]+|discord:[0-9]+:(role:)?[0-9]+|token:[a-z0-9][a-z0-9._-]{0,62}"
)

RoleName = Literal["view", "operate", "administer"]
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


Subject = Annotated[str, StringConstraints(max_length=SUBJECT_LENGTH), AfterValidator(_subject)]
