"""Jobs of one executable at an HTCondor access point."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Rows name classes by their path, and this one was here once.
    if name == "CondorJob":
        from prefect_jobs.jobs.condor.job import CondorJob

        return CondorJob
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
