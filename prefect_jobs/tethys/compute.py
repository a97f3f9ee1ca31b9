"""The functions of the peer for schedulers."""

from typing import Any

from prefect_jobs.blocks import (
    CondorScheduler,
    DaskScheduler,
    create_condor_scheduler,
    get_scheduler,
    list_schedulers,
)
from prefect_jobs.blocks import create_scheduler as _create_scheduler

__all__ = [
    "CondorScheduler",
    "DaskScheduler",
    "create_condor_scheduler",
    "create_dask_scheduler",
    "create_scheduler",
    "get_scheduler",
    "list_schedulers",
]


def create_scheduler(name: str, host: str, scheduler_type: str = "condor", **kwargs: Any) -> Any:
    """As :func:`prefect_jobs.create_scheduler`, with the ``heartbeat_interval`` of a Dask scheduler in milliseconds.

    Raises:
        ValueError: a bad name, type or argument.
    """
    given = kwargs.get("heartbeat_interval")
    return _create_scheduler(
        name, host, scheduler_type, **({**kwargs, "heartbeat_interval": given / 1000} if given is not None else kwargs)
    )


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
    given = {"timeout": timeout, "heartbeat_interval": heartbeat_interval, "dashboard": dashboard}
    return create_scheduler(name, host, "dask", **given)
