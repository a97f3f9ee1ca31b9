"""The transport for an access point. A transport over SSH belongs here."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.schedulers.condor.access import Access, Question, Submission, Transport
from prefect_jobs.schedulers.condor.process import HelperTransport


def transport_for(access: Access) -> Transport:
    """The transport of an access. It connects at the first request."""
    return NoTransport(access) if access.username else HelperTransport(access)


class NoTransport:
    """Refuses every request: this version does not reach access points by SSH."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def ask(self, question: Question, args: Mapping[str, Any], timeout: float) -> NoReturn:
        """Refuses."""
        raise self._refusal()

    def submit(self, submission: Submission, timeout: float) -> NoReturn:
        """Refuses."""
        raise self._refusal()

    def submit_all(self, submissions: Sequence[Submission], timeout: float) -> NoReturn:
        """Refuses."""
        raise self._refusal()

    def retrieve(self, constraint: str, timeout: float) -> NoReturn:
        """Refuses."""
        raise self._refusal()

    def close(self) -> None:
        """Does nothing."""

    def _refusal(self) -> SchedulerConnectionError:
        return SchedulerConnectionError(
            f"The access point {self._access.title} has a user name, which means SSH. This version reaches access "
            "points by token only. Give the block a token (condor_token_create on the access point)."
        )
