"""The peer's names of errors: ours are the same classes."""

from prefect_jobs.errors import SchedulerConnectionError as DaskJobException
from prefect_jobs.errors import SchedulerNotAssigned as TethysAppSettingNotAssigned
from prefect_jobs.errors import SchedulerSettingDoesNotExist as TethysAppSettingDoesNotExist

__all__ = ["DaskJobException", "TethysAppSettingDoesNotExist", "TethysAppSettingNotAssigned"]
