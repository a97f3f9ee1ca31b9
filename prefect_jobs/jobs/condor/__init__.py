"""Jobs of one executable at an HTCondor access point."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Rows of earlier versions name this class by its former path.
    if name == "CondorJob":
        from prefect_jobs.jobs.condor.job import CondorJob

        return CondorJob
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
