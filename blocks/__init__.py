"""Scheduler connections as Prefect blocks, created and edited in the Prefect UI or by code.

Register them with ``prefect block register -m prefect_jobs.blocks`` or ``prefect-jobs deploy``.
"""

from prefect_jobs.blocks.condor_scheduler import CondorScheduler
from prefect_jobs.blocks.dask_scheduler import DaskScheduler
from prefect_jobs.blocks.schedulers import (
    aget_scheduler,
    alist_schedulers,
    create_condor_scheduler,
    create_dask_scheduler,
    create_scheduler,
    delete_scheduler,
    get_scheduler,
    list_schedulers,
    register_blocks,
)

__all__ = [
    "CondorScheduler",
    "DaskScheduler",
    "aget_scheduler",
    "alist_schedulers",
    "create_condor_scheduler",
    "create_dask_scheduler",
    "create_scheduler",
    "delete_scheduler",
    "get_scheduler",
    "list_schedulers",
    "register_blocks",
]
