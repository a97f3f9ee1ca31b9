"""For apps of the Tethys Platform: its names for jobs, schedulers and apps. Change the imports of an app to this
module, and it runs on prefect-jobs; ``python -m prefect_jobs.tethys check`` says what does not."""

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "TethysAppBase": "tethys.apps",
    "SchedulerSetting": "app",
    "TethysJob": "tethys.jobs",
    "BasicJob": "tethys.jobs",
    "CondorJob": "tethys.jobs",
    "CondorWorkflow": "tethys.jobs",
    "CondorWorkflowJobNode": "tethys.nodes",
    "CondorWorkflowNode": "tethys.nodes",
    "DaskJob": "tethys.jobs",
    "JobManager": "tethys.managers",
    "JOB_TYPES": "tethys.managers",
    "CondorScheduler": "tethys.compute",
    "DaskScheduler": "tethys.compute",
    "create_condor_scheduler": "tethys.compute",
    "create_dask_scheduler": "tethys.compute",
    "create_scheduler": "tethys.compute",
    "get_scheduler": "tethys.compute",
    "list_schedulers": "tethys.compute",
    "JobsTable": "tethys.gizmos",
    "CustomJobAction": "web.custom",
    "DaskJobException": "tethys.exceptions",
    "TethysAppSettingDoesNotExist": "tethys.exceptions",
    "TethysAppSettingNotAssigned": "tethys.exceptions",
}

if TYPE_CHECKING:
    from prefect_jobs.app import SchedulerSetting as SchedulerSetting
    from prefect_jobs.tethys.apps import TethysAppBase as TethysAppBase
    from prefect_jobs.tethys.compute import CondorScheduler as CondorScheduler
    from prefect_jobs.tethys.compute import DaskScheduler as DaskScheduler
    from prefect_jobs.tethys.compute import create_condor_scheduler as create_condor_scheduler
    from prefect_jobs.tethys.compute import create_dask_scheduler as create_dask_scheduler
    from prefect_jobs.tethys.compute import create_scheduler as create_scheduler
    from prefect_jobs.tethys.compute import get_scheduler as get_scheduler
    from prefect_jobs.tethys.compute import list_schedulers as list_schedulers
    from prefect_jobs.tethys.exceptions import DaskJobException as DaskJobException
    from prefect_jobs.tethys.exceptions import TethysAppSettingDoesNotExist as TethysAppSettingDoesNotExist
    from prefect_jobs.tethys.exceptions import TethysAppSettingNotAssigned as TethysAppSettingNotAssigned
    from prefect_jobs.tethys.gizmos import JobsTable as JobsTable
    from prefect_jobs.tethys.jobs import BasicJob as BasicJob
    from prefect_jobs.tethys.jobs import CondorJob as CondorJob
    from prefect_jobs.tethys.jobs import CondorWorkflow as CondorWorkflow
    from prefect_jobs.tethys.jobs import DaskJob as DaskJob
    from prefect_jobs.tethys.jobs import TethysJob as TethysJob
    from prefect_jobs.tethys.managers import JOB_TYPES as JOB_TYPES
    from prefect_jobs.tethys.managers import JobManager as JobManager
    from prefect_jobs.tethys.nodes import CondorWorkflowJobNode as CondorWorkflowJobNode
    from prefect_jobs.tethys.nodes import CondorWorkflowNode as CondorWorkflowNode
    from prefect_jobs.web.custom import CustomJobAction as CustomJobAction

__all__ = [*_WHERE]  # noqa: PLE0604  (names, from the table above)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'prefect_jobs.tethys' has no name {name!r}")
    return getattr(importlib.import_module(f"prefect_jobs.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
