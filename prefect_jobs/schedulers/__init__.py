"""Clients of the engines: HTCondor and Dask. They use no Prefect, no SQL and no jobs."""
