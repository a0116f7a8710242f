"""Job types of other packages, found by the entry point group `locutus.job_types`: docs/add-a-job-type.md.

What can't be loaded is left out and said in the log: a package that broke must not keep the backups from running.
"""

from collections.abc import Collection, Iterator
from importlib.metadata import EntryPoint, entry_points

import structlog

from jobs.job_type import JobType

GROUP = "locutus.job_types"

_log = structlog.get_logger()


class UnusableTypeError(Exception):
    """An entry point that names no job type, or one of a kind that there is already."""


def third_party_types(taken: Collection[str]) -> Iterator[JobType]:
    """An instance of each type that other packages declare, but for the kinds that are `taken`."""
    kinds = set(taken)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            found = _loaded(point, kinds)
        except Exception as error:  # noqa: BLE001 - named edge: anything may happen in another package's module
            _log.error("job_type_left_out", entry_point=point.value, reason=str(error))
        else:
            kinds.add(found.kind)
            yield found


def _loaded(point: EntryPoint, kinds: Collection[str]) -> JobType:
    declared = point.load()
    if not (isinstance(declared, type) and issubclass(declared, JobType)):
        raise UnusableTypeError(f"{point.value} is not a class derived from jobs.job_type.JobType.")
    found = declared()
    if found.kind in kinds:
        raise UnusableTypeError(f"there is a job type {found.kind} already.")
    return found
