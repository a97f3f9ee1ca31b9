"""Watches the jobs of all apps: polls schedulers when no other process does."""

from prefect_jobs.monitor.monitor import Monitor

__all__ = ["Monitor"]
