"""Dask: connections, what is submitted, what the scheduler says of it, results as bytes."""
