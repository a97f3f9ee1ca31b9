"""The command line, ``prefect-jobs``."""

from prefect_jobs.cli.root import main

__all__ = ["main"]
