"""The schemes by which a hook's deliveries can be signed."""

from collections.abc import Mapping
from typing import Literal

from webhooks.signatures import forges, standard
from webhooks.signatures.delivered import Verify

SchemeName = Literal["standard", "github", "gitlab", "gitea"]

SCHEMES: Mapping[SchemeName, Verify] = {
    "standard": standard.verify,
    "github": forges.verify_github,
    "gitlab": forges.verify_gitlab,
    "gitea": forges.verify_gitea,
}
