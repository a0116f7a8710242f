"""`package_install`: apt-get update and install of one Debian package on a host, by `deploy/install-package`.

Names: Debian Policy 5.6.1 (www.debian.org/doc/debian-policy). apt-get takes a minus at the end of a word for "remove":
such names are refused here, and the program looks the name up before apt may guess what it means.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from jobs.access import Role
from jobs.apt.outcome import InstallDiagnosis
from jobs.borg.events import Event, PercentProgress, ProgressMessage
from jobs.command_words import Positional, WordType
from jobs.errors import InvalidRequestError
from jobs.job_type import (
    Diagnosis,
    InstalledPackage,
    JobType,
    Parameters,
    Policy,
    Result,
    RetryPolicy,
    Routes,
    Run,
    Target,
    Words,
)
from jobs.view import Progress

WRITING = "dpkg is writing"
LANE_LENGTH = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]")


def _named(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("give the name of a Debian package, such as borgbackup, and nothing else")
    return text


PackageName = Annotated[str, StringConstraints(max_length=128), AfterValidator(_named)]


class PackageParameters(Parameters):
    """Which package."""

    package: PackageName = Field(description="The name of a Debian package")


class PackageInstall(JobType):
    """Works on a host; one at a time there, as dpkg does."""

    kind = "package_install"
    words = Words(noun="Installation", preposition="of", running="Installing")
    parameters = PackageParameters
    role = Role.ADMINISTER
    routes = Routes(start="/api/system/packages/install", status="/api/system/packages/jobs/{id}")
    command_word = "package install"
    positionals = (Positional("package", WordType.PACKAGE, "NAME", help="a Debian package"),)
    needs_repository = False
    program = "install-package"
    timeout_s = 2 * 3600.0
    terminate_patience_s = 3600.0
    too_late = f"too late, {WRITING}"
    # What failed once fails again until somebody looks: apt has waited for locks and tried the network by itself.
    retry = RetryPolicy(retries=0)

    def arguments(self, run: Run) -> tuple[str, ...]:
        """The name alone: the program takes nothing else."""
        return ("--", str(run.parameters["package"]))

    def diagnosis(self) -> Diagnosis:
        """As the program tells it."""
        return InstallDiagnosis()

    def subject(self, parameters: Mapping[str, Any]) -> str | None:
        """The package."""
        return str(parameters.get("package"))

    def check(self, parameters: Mapping[str, Any], target: Target, policy: Policy) -> None:
        """Refuse what is not on the list, where there is one."""
        package, allowed = parameters["package"], policy.package_allowlist
        if allowed and package not in allowed:
            reason = f"{package} is not among the packages that may be installed on {target.name}"
            raise InvalidRequestError("package", f"{reason} (setting package_allowlist): {', '.join(allowed)}.")

    def hourly_limit(self, policy: Policy) -> int:
        """As it is set."""
        return policy.package_installs_per_hour

    def destroys(self, parameters: Mapping[str, Any]) -> bool:
        """It changes the host for everybody there."""
        del parameters
        return True

    def plan(self, parameters: Mapping[str, Any], target: Target) -> tuple[str, ...]:
        """What apt will do, and what it will not."""
        return (
            f"Update the package lists of {target.name} and install {parameters['package']} with what it depends on.",
            "It is refused if it would remove or downgrade anything.",
        )

    def host_lane(self, host: str) -> str:
        """Dpkg's own; two hosts of very long names may share one, and then merely wait for each other."""
        return f"dpkg:{host}"[:LANE_LENGTH]

    def cancellable(self, progress: Progress) -> bool:
        """Until dpkg starts to write: killed in the middle it would leave a broken system."""
        return not (progress.progress_message or "").startswith(WRITING)

    def read_progress(self, event: Event, progress: Progress) -> Progress:
        """Lists, download, writing: the phase as a message, and the percentage once apt tells one."""
        match event:
            case ProgressMessage(message=str(message)):
                return progress.model_copy(update={"progress_message": message})
            case PercentProgress(current=int(current), total=int(total), msgid=msgid, message=message) if total:
                phase = WRITING if msgid == "package.write" else "downloading"
                percent = round(100 * current / total, 1)
                said = f"{phase}: {message}" if message else phase
                return progress.model_copy(update={"progress_percent": percent, "progress_message": said})
        return progress

    def read_result(self, run: Run, stdout: bytes, seen: Progress) -> Result:
        """What dpkg says is installed now."""
        del run, seen
        try:
            told = json.loads(stdout)
            package = InstalledPackage(str(told["package"]), str(told["version"]), str(told["status"]))
        except (TypeError, KeyError) as error:
            raise ValueError("install-package did not say what is installed") from error
        said = f"{package.name} {package.version} is {package.status}"
        return Result(Progress(progress_percent=100.0, progress_message=said), package=package)
