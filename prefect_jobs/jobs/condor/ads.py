"""Which ads in a schedd's queue and history are a job's own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor.client import CondorError, CondorRefusal


def constraint(record: JobRecord) -> str:
    """Our cluster, and no other that has its number (the schedd of a pool that was made anew counts from 1)."""
    return f'ClusterId == {int(record.remote_id or 0)} && PrefectJobsToken == "{record.submission_token}"'


def of_token(token: str) -> str:
    """What was submitted under a token."""
    return f'PrefectJobsToken == "{token}"'


@contextmanager
def asking() -> Iterator[None]:
    """Turns "it failed on the way" into "the scheduler does not answer": asked again, it may well work.

    Raises:
        SchedulerConnectionError: for any :class:`CondorError` but a refusal.
    """
    try:
        yield
    except CondorRefusal:
        raise
    except CondorError as error:
        raise SchedulerConnectionError(str(error)) from error
