"""A stored job whose type is not installed here: it can be listed, read and deleted."""

from typing import Any

from prefect_jobs.errors import JobStateError
from prefect_jobs.jobs.base import Job


class UnknownJob(Job):
    """Represents a job of a type that this process does not know."""

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Refused."""
        self.check_known("executed")

    def resubmit(self) -> None:
        """Refused."""
        self.check_known("resubmitted")

    def process_results(self) -> None:
        """Refused."""
        self.check_known("processed")

    def delete(self) -> None:
        """Deletes the job and its flow run. Work at its scheduler cannot be stopped here and continues."""
        if self.id is not None:
            self.handle.backend.jobs.delete(self.id)

    def check_known(self, what: str) -> None:
        """Refused."""
        raise JobStateError(
            f"{self.handle.title} is of the type {self.handle.record.type!r}, which is not installed here: it cannot "
            f"be {what}. Install or register that job type (prefect_jobs.register_job_type)."
        )
