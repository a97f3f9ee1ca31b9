"""What goes wrong with a request, as an answer: problem+json (RFC 9457), or a page."""

from http import HTTPStatus
from typing import Any

from prefect_jobs.errors import (
    DatabaseError,
    JobStateError,
    PrefectJobsError,
    SchedulerConnectionError,
    SubmissionError,
)


class Problem(Exception):
    """A request that cannot be answered as wanted."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more

    @property
    def title(self) -> str:
        """The phrase of the status code."""
        return HTTPStatus(self.status).phrase

    def as_json(self) -> dict[str, Any]:
        """The members of problem+json."""
        return {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail, **self.more}


def no_job(text: object) -> Problem:
    """There is no such job, or none that this visitor may see: the same answer for both."""
    return Problem(404, f"There is no job {text}.")


def of_error(error: PrefectJobsError, **more: Any) -> Problem:
    """The answer for an error of an action."""
    if isinstance(error, JobStateError):
        return Problem(409, str(error), **more)
    away = isinstance(error, SchedulerConnectionError) or isinstance(error.__cause__, SchedulerConnectionError)
    if away:
        return Problem(502, str(error), **more)
    if isinstance(error, DatabaseError):  # its message names the database
        return Problem(503, "The database cannot be used at this moment. Try again.", **more)
    return Problem(409 if isinstance(error, SubmissionError) else 500, str(error), **more)
