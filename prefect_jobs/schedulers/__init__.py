"""Clients of the engines: HTCondor and Dask. They know nothing of Prefect, SQL or jobs."""
