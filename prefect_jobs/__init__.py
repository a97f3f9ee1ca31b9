"""Long-running jobs on HTCondor and Dask through one small Python API, watched and steered in the Prefect UI.

Importing this package is fast, since the Prefect server imports registered collections: each name below is loaded
when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "App": "app",
    "SchedulerSetting": "app",
    "JobManager": "manager",
    "Schedule": "schedule",
    "Job": "jobs.base",
    "BasicJob": "jobs.basic",
    "CondorJob": "jobs.condor.job",
    "DaskJob": "jobs.dask.job",
    "CondorWorkflow": "jobs.workflow.job",
    "CondorWorkflowNode": "jobs.workflow.nodes",
    "CondorWorkflowJobNode": "jobs.workflow.nodes",
    "CondorWorkflowFinalNode": "jobs.workflow.nodes",
    "CondorWorkflowServiceNode": "jobs.workflow.nodes",
    "CondorWorkflowSubdagNode": "jobs.workflow.nodes",
    "CondorWorkflowSpliceNode": "jobs.workflow.nodes",
    "JobsTable": "web.table",
    "CustomJobAction": "web.custom",
    "register_job_type": "jobs.registry",
    "Submitted": "jobs.observation",
    "Observation": "jobs.observation",
    "OutputsNotFetched": "jobs.observation",
    "TransientSubmissionError": "jobs.observation",
    "CondorScheduler": "blocks",
    "DaskScheduler": "blocks",
    "create_condor_scheduler": "blocks",
    "create_dask_scheduler": "blocks",
    "create_scheduler": "blocks",
    "get_scheduler": "blocks",
    "list_schedulers": "blocks",
    "aget_scheduler": "blocks",
    "alist_schedulers": "blocks",
    "PrefectJobsError": "errors",
    "SubmissionError": "errors",
    "SchedulerConnectionError": "errors",
    "SchedulerSettingDoesNotExist": "errors",
    "SchedulerNotAssigned": "errors",
    "SchedulerEngineMismatch": "errors",
    "JobStateError": "errors",
    "ResultUnavailable": "errors",
}

if TYPE_CHECKING:
    from prefect_jobs.app import App as App
    from prefect_jobs.app import SchedulerSetting as SchedulerSetting
    from prefect_jobs.blocks import CondorScheduler as CondorScheduler
    from prefect_jobs.blocks import DaskScheduler as DaskScheduler
    from prefect_jobs.blocks import aget_scheduler as aget_scheduler
    from prefect_jobs.blocks import alist_schedulers as alist_schedulers
    from prefect_jobs.blocks import create_condor_scheduler as create_condor_scheduler
    from prefect_jobs.blocks import create_dask_scheduler as create_dask_scheduler
    from prefect_jobs.blocks import create_scheduler as create_scheduler
    from prefect_jobs.blocks import get_scheduler as get_scheduler
    from prefect_jobs.blocks import list_schedulers as list_schedulers
    from prefect_jobs.errors import JobStateError as JobStateError
    from prefect_jobs.errors import PrefectJobsError as PrefectJobsError
    from prefect_jobs.errors import ResultUnavailable as ResultUnavailable
    from prefect_jobs.errors import SchedulerConnectionError as SchedulerConnectionError
    from prefect_jobs.errors import SchedulerEngineMismatch as SchedulerEngineMismatch
    from prefect_jobs.errors import SchedulerNotAssigned as SchedulerNotAssigned
    from prefect_jobs.errors import SchedulerSettingDoesNotExist as SchedulerSettingDoesNotExist
    from prefect_jobs.errors import SubmissionError as SubmissionError
    from prefect_jobs.jobs.base import Job as Job
    from prefect_jobs.jobs.basic import BasicJob as BasicJob
    from prefect_jobs.jobs.condor.job import CondorJob as CondorJob
    from prefect_jobs.jobs.dask.job import DaskJob as DaskJob
    from prefect_jobs.jobs.observation import Observation as Observation
    from prefect_jobs.jobs.observation import OutputsNotFetched as OutputsNotFetched
    from prefect_jobs.jobs.observation import Submitted as Submitted
    from prefect_jobs.jobs.observation import TransientSubmissionError as TransientSubmissionError
    from prefect_jobs.jobs.registry import register_job_type as register_job_type
    from prefect_jobs.jobs.workflow.job import CondorWorkflow as CondorWorkflow
    from prefect_jobs.jobs.workflow.nodes import CondorWorkflowFinalNode as CondorWorkflowFinalNode
    from prefect_jobs.jobs.workflow.nodes import CondorWorkflowJobNode as CondorWorkflowJobNode
    from prefect_jobs.jobs.workflow.nodes import CondorWorkflowNode as CondorWorkflowNode
    from prefect_jobs.jobs.workflow.nodes import CondorWorkflowServiceNode as CondorWorkflowServiceNode
    from prefect_jobs.jobs.workflow.nodes import CondorWorkflowSpliceNode as CondorWorkflowSpliceNode
    from prefect_jobs.jobs.workflow.nodes import CondorWorkflowSubdagNode as CondorWorkflowSubdagNode
    from prefect_jobs.manager import JobManager as JobManager
    from prefect_jobs.schedule import Schedule as Schedule
    from prefect_jobs.web.custom import CustomJobAction as CustomJobAction
    from prefect_jobs.web.table import JobsTable as JobsTable

__all__ = [*_WHERE, "__version__"]  # noqa: PLE0604  (names, from the table above)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
