"""The Debian packages that were installed on hosts; jobs of `package_install` are started by their own route."""

from datetime import datetime

from pydantic import BaseModel

from jobs.access import Role
from jobs.models import Package
from webhooks.resource import Resource


class PackageAnswer(BaseModel):
    """A package on a host as dpkg told of it when the job `job_id` ended."""

    id: int
    host: str
    name: str
    version: str
    status: str
    job_id: int
    updated_at: datetime


def present(row: Package) -> PackageAnswer:
    """The row as it is answered."""
    return PackageAnswer.model_validate(row, from_attributes=True)


PACKAGES = Resource("/api/system/packages", "package", Package, PackageAnswer, present, needs=Role.VIEW)

ROUTES = (PACKAGES.listing(),)
