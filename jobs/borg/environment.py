"""The environment in which borg runs unattended: all that it needs, and nothing that the worker merely happens to have.

Source: borg's manual, "Environment Variables" (usage/general) of 1.2 and 1.4.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")


class Question(StrEnum):
    """What borg asks a person about a repository; who said yes to it is asked no more."""

    RELOCATED = "relocated"
    """It is at another place than borg remembers of it on this host."""
    UNENCRYPTED = "unencrypted"
    """It is not encrypted, and borg does not know it on this host."""


_ANSWERS = {
    Question.RELOCATED: "BORG_RELOCATED_REPO_ACCESS_IS_OK",
    Question.UNENCRYPTED: "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK",
}
UNATTENDED = {
    # 1.4 names its ending (107: a source is missing); 1.2 ignores this and knows 0, 1 and 2 only.
    "BORG_EXIT_CODES": "modern",
    # A traceback in the log is for whoever may read the job; kernel, host and user names are not.
    "BORG_SHOW_SYSINFO": "no",
    # borg prints local times without a zone: so they are UTC. What archives store is UTC in any case; the days and
    # weeks that `prune` counts become those of UTC.
    "TZ": "UTC",
    # File names are bytes; under an ASCII locale borg could neither name nor restore most of them.
    "LC_ALL": "C.UTF-8",
}


def inherited(variables: Mapping[str, str]) -> dict[str, str]:
    """What a program that is not borg gets of the worker's environment."""
    return {name: variables[name] for name in INHERITED if variables.get(name)}


def environment(
    variables: Mapping[str, str],
    *,
    base_dir: str | None,
    passphrase_given: bool,
    accepted: Collection[Question] = frozenset({Question.UNENCRYPTED}),
) -> dict[str, str]:
    """Build borg's whole environment from the worker's `variables`, of which only `INHERITED` is kept.

    No passphrase stands here: whoever starts borg adds `BORG_PASSPHRASE_FD` where there is one. Without one borg asks
    the terminal, then stdin: in a session of its own with stdin at `/dev/null` it gives up at once, as
    `NoPassphraseFailure`. An empty `BORG_PASSPHRASE` would be no better guard: `borg init` takes it for an answer.

    borg's questions are answered yes where a person has `accepted` them for the repository, and no everywhere else.

    `BORG_HOST_ID` is left to borg, which takes a lock for stale only where host and process say so.
    """
    # Who gave a passphrase expects encryption: a plain repository found in that place must not receive the data.
    yes = {*accepted} - ({Question.UNENCRYPTED} if passphrase_given else set())
    answers = {variable: "yes" if question in yes else "no" for question, variable in _ANSWERS.items()}
    base = {"BORG_BASE_DIR": base_dir} if base_dir else {}
    return inherited(variables) | UNATTENDED | answers | base
