"""Work on a Dask cluster."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Rows of earlier versions name this class by its former path.
    if name == "DaskJob":
        from prefect_jobs.jobs.dask.job import DaskJob

        return DaskJob
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
