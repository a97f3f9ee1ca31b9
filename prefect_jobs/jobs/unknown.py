"""A stored job whose type is not installed here: it can be listed, read and deleted."""

from typing import Any

from prefect_jobs.errors import JobStateError
from prefect_jobs.jobs.base import Job


class UnknownJob(Job):
    """Stands for a job of a type that this process does not know."""

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Refused."""
        raise self._refusal("executed")

    def resubmit(self) -> None:
        """Refused."""
        raise self._refusal("resubmitted")

    def process_results(self) -> None:
        """Refused."""
        raise self._refusal("processed")

    def delete(self) -> None:
        """Removes job and flow run; what runs at its scheduler cannot be stopped from here."""
        if self.id is not None:
            self._backend.delete(self._record.id)

    def _check_known(self, action: str) -> None:
        raise self._refusal(f"made to {action}")

    def _refusal(self, what: str) -> JobStateError:
        return JobStateError(
            f"{self._title()} is of the type {self._record.type!r}, which is not installed here: it cannot be {what}. "
            "Install or register that job type (prefect_jobs.register_job_type)."
        )
