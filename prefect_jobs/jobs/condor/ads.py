"""Which ads in a schedd's queue and history are a job's own."""

from prefect_jobs.records import JobRecord


def constraint(record: JobRecord) -> str:
    """Our cluster, and no other that has its number (the schedd of a pool that was made anew counts from 1)."""
    return f'ClusterId == {int(record.remote_id or 0)} && PrefectJobsToken == "{record.submission_token}"'


def of_token(token: str) -> str:
    """What was submitted under a token."""
    return f'PrefectJobsToken == "{token}"'
