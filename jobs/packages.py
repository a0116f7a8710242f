"""What was installed on which host."""

from jobs.clock import now
from jobs.job_type import InstalledPackage
from jobs.models import Job, Package


async def record(job: Job, package: InstalledPackage) -> None:
    """Inside a unit: keep what dpkg said at the end of the job."""
    columns = {"version": package.version, "status": package.status, "job_id": job.id, "updated_at": now()}
    await Package.update_or_create(host=job.host, name=package.name, defaults=columns)
