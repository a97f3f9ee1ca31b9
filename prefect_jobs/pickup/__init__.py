"""Runs that Prefect starts become jobs, without a flow engine: used by the monitor and by the worker."""
