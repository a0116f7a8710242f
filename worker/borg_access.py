"""How borg is called for a repository: every call of the worker, for a job or beside one, is made from this."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.borg.environment import Question, environment
from jobs.models import Repository
from jobs.repository_fields import PASSPHRASE_SOURCES
from jobs.settings import Settings
from jobs.ssh import ssh_place
from worker.ssh_files import shell_of


@dataclass(frozen=True, slots=True)
class BorgAccess:
    """The program with the options of the repository, before a command's own, and the whole environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


def _accepted(repository: Repository) -> set[Question]:
    """What people have answered of borg's questions; a move only to the place where the repository was then."""
    relocated = {Question.RELOCATED} if repository.accepted_location == repository.location else set()
    return relocated | ({Question.UNENCRYPTED} if repository.accepts_unencrypted else set())


def borg_access(settings: Settings, repository: Repository) -> BorgAccess:
    """The way to a repository, but for its passphrase."""
    given = any(getattr(repository, source) for source in PASSPHRASE_SOURCES)
    variables = environment(os.environ, base_dir=None, passphrase_given=given, accepted=_accepted(repository))
    if ssh_place(repository.location) is None:
        return BorgAccess((settings.borg,), variables)
    variables["BORG_RSH"] = shell_of(settings, repository)
    if repository.remote_path:
        variables["BORG_REMOTE_PATH"] = repository.remote_path
    limit = repository.upload_ratelimit
    options = ("--upload-ratelimit", str(limit)) if limit else ()
    return BorgAccess((settings.borg, *options), variables)
