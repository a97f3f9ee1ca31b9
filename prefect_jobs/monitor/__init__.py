"""Watches the jobs of all apps: the one place that asks schedulers when nobody else does."""

from prefect_jobs.monitor.monitor import Monitor

__all__ = ["Monitor"]
