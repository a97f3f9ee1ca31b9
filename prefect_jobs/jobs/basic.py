"""BASIC: a job without a scheduler; the app does the work and sets the status."""

from typing import ClassVar

from prefect_jobs.jobs.base import Job


class BasicJob(Job):
    """A job whose status is set by code (``job.status = …``), by the callback URL, or in the Prefect UI.

    ``execute`` makes it Submitted; ``stop``, ``pause`` and ``resume`` only change its status.
    """

    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.basic_job:basic_job"
    flow_parameters: ClassVar[tuple[str, ...]] = ("timeout",)

    def stop(self) -> None:
        """Sets the status; no scheduler is involved."""

    def pause(self) -> None:
        """As :meth:`stop`."""

    def resume(self) -> None:
        """As :meth:`stop`."""
