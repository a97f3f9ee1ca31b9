"""Constraints for the ads of a job in a schedd's queue and history."""

from prefect_jobs.records import JobRecord


def constraint(record: JobRecord) -> str:
    """Matches our cluster, but no other one with its number: the schedd of a new pool counts from 1 again."""
    return f'ClusterId == {int(record.remote_id or 0)} && PrefectJobsToken == "{record.submission_token}"'


def of_token(token: str) -> str:
    """Matches what was submitted under a token."""
    return f'PrefectJobsToken == "{token}"'
