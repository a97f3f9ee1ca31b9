"""The app class of the peer."""

from typing import Any

from prefect_jobs.app import App
from prefect_jobs.errors import SchedulerNotAssigned
from prefect_jobs.tethys.managers import JobManager


class TethysAppBase(App):
    """Subclass it with a ``name`` and a ``package``; its other attributes are for the portal and have no effect."""

    @classmethod
    def get_job_manager(cls) -> JobManager:
        """The app's jobs."""
        return JobManager(cls)

    @classmethod
    def get_scheduler(cls, name: str) -> Any:
        """The scheduler block that is assigned to a setting.

        Raises:
            TethysAppSettingDoesNotExist: the app has no such setting.
            TethysAppSettingNotAssigned: there is no scheduler, whether the setting is required or not.
            SchedulerConnectionError: Prefect, which keeps assignments and blocks, cannot be reached.
        """
        found = super().get_scheduler(name)
        if found is None:
            raise SchedulerNotAssigned(f"The setting {name!r} of {cls.package} has no scheduler. Assign one.")
        return found
