"""Dask: connections, submissions, the scheduler's answers, results as bytes."""
