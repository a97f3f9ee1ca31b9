"""The functions of the peer for schedulers."""

from typing import Any

from prefect_jobs.blocks import (
    CondorScheduler,
    DaskScheduler,
    create_condor_scheduler,
    create_scheduler,
    get_scheduler,
    list_schedulers,
)
from prefect_jobs.blocks import create_dask_scheduler as _create_dask_scheduler

__all__ = [
    "CondorScheduler",
    "DaskScheduler",
    "create_condor_scheduler",
    "create_dask_scheduler",
    "create_scheduler",
    "get_scheduler",
    "list_schedulers",
]


def create_dask_scheduler(
    name: str,
    host: str,
    timeout: float | None = None,
    heartbeat_interval: float | None = None,
    dashboard: str | None = None,
) -> Any:
    """An unsaved Dask block.

    Args:
        name: its name.
        host: the scheduler's address.
        timeout: seconds.
        heartbeat_interval: **milliseconds**, as the peer has them; the block has seconds.
        dashboard: the address of its dashboard.

    Raises:
        ValueError: a bad name or argument.
    """
    seconds = None if heartbeat_interval is None else heartbeat_interval / 1000
    return _create_dask_scheduler(name, host, timeout, seconds, dashboard)
