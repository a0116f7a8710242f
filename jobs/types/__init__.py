"""Every job type: one file each, and one line here; those of other packages come by their entry points."""

from jobs.errors import InvalidRequestError
from jobs.job_type import JobType
from jobs.types.backup import Backup
from jobs.types.check import Check
from jobs.types.compact import Compact
from jobs.types.list_archives import ListArchives
from jobs.types.package_install import PackageInstall
from jobs.types.prune import Prune
from jobs.types.repository_init import RepositoryInit
from jobs.types.restore import Restore
from jobs.types.third_party import third_party_types
from jobs.types.unlock import Unlock

_OWN: tuple[JobType, ...] = (
    Backup(),
    Restore(),
    Check(),
    Prune(),
    Compact(),
    ListArchives(),
    RepositoryInit(),
    PackageInstall(),
    Unlock(),
)
JOB_TYPES: dict[str, JobType] = {kind.kind: kind for kind in _OWN}
JOB_TYPES |= {kind.kind: kind for kind in third_party_types(JOB_TYPES)}


def job_type(kind: str) -> JobType:
    """The type called `kind`; raises `InvalidRequestError` for an unknown one."""
    try:
        return JOB_TYPES[kind]
    except KeyError:
        known = ", ".join(sorted(JOB_TYPES))
        raise InvalidRequestError("kind", f"there is no job type {kind!r}; the types are {known}.") from None
