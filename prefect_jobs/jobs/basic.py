"""BASIC: a job without a scheduler; the app does the work and tells the status."""

from typing import ClassVar

from prefect_jobs.jobs.base import Job


class BasicJob(Job):
    """A job whose status is set by hand (``job.status = …``), by the callback URL, or in the Prefect UI.

    ``execute`` makes it Submitted; ``stop``, ``pause`` and ``resume`` change its status and nothing else.
    """

    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.basic_job:basic_job"
    flow_parameters: ClassVar[tuple[str, ...]] = ("timeout",)

    def _stop(self) -> None:
        """Nothing runs anywhere: the status is all there is."""

    def _pause(self) -> None:
        """As :meth:`_stop`."""

    def _resume(self) -> None:
        """As :meth:`_stop`."""
