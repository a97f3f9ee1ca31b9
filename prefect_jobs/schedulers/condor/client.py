"""The HTCondor client that jobs and blocks use: a few typed calls over a transport."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.access import (
    Access,
    Cluster,
    CondorError,
    CondorRefusal,
    Question,
    Submission,
    Transport,
)
from prefect_jobs.schedulers.condor.transport import transport_for

__all__ = ["Access", "Cluster", "CondorClient", "CondorError", "CondorRefusal", "Submission"]

#: Seconds within which an access point must answer a question.
TIMEOUT = 10.0
#: Seconds for moving files; that somebody answers at all is asked before, within :data:`TIMEOUT`.
TRANSFER_TIMEOUT = 6 * 3600.0
#: Seconds for which an access point that has answered need not be asked whether it does, before files are moved.
FRESH = 2.0
#: Submissions in one request to the helper: should it end in the middle, each of them is looked for by its token.
_CHUNK = 50

#: RemoveX takes a job that was removed, but is kept for its outputs, out of the queue.
Action = Literal["Hold", "Release", "Remove", "RemoveX"]


@dataclass(frozen=True)
class Dagman:
    """DAGMan at an access point."""

    #: The folder of HTCondor's programs there.
    folder: str
    #: HTCondor's version there, as its daemons write it.
    version: str


class CondorClient:
    """An access point under one identity."""

    def __init__(self, access: Access, timeout: float = TIMEOUT, transport: Transport | None = None) -> None:
        """
        Args:
            access: the access point.
            timeout: seconds within which it must answer a question.
            transport: what reaches it; none: the one for such an access.
        """
        self.access = access
        self.timeout = timeout
        self.transport = transport or transport_for(access)
        #: When it answered last (monotonic).
        self._answered = float("-inf")

    def submit(self, text: str, count: int, *, spool: bool) -> Cluster:
        """Submits ``count`` processes; with ``spool`` the inputs are at the access point on return. It
        notes that a moment later; one that ends in between holds the jobs until they are released.

        Raises:
            SchedulerConnectionError: not reached within ``timeout`` seconds: nothing was submitted.
            CondorRefusal: the description is refused.
            CondorError: it failed on the way; whether a cluster is in the queue must be asked by its token.
        """
        self._reach()
        timeout = TRANSFER_TIMEOUT if spool else max(self.timeout, 60.0)
        found = self.transport.submit(Submission(text, count, spool), timeout)
        self._answered = time.monotonic()
        return found

    def submit_all(self, submissions: Sequence[Submission]) -> list[Cluster | PrefectJobsError]:
        """As :meth:`submit`, of many through one connection; what fails with one of them keeps no other.

        Returns:
            For each what :meth:`submit` would give or raise.
        """
        found: list[Cluster | PrefectJobsError] = []
        for start in range(0, len(submissions), _CHUNK):
            chunk = submissions[start : start + _CHUNK]
            try:
                self._reach()
                found += self.transport.submit_all(chunk, TRANSFER_TIMEOUT)
            except (CondorError, SchedulerConnectionError) as error:
                found += [error] * len(chunk)
        return found

    def query(self, constraint: str, projection: Sequence[str] = observation.PROJECTION) -> list[dict[str, Any]]:
        """Job ads in the queue.

        Raises:
            SchedulerConnectionError: nobody can tell now: not reached within ``timeout`` seconds, or it failed on the
                way. So it is with all questions below.
        """
        found: list[dict[str, Any]] = self._ask("query", constraint=constraint, projection=list(projection))
        return found

    def history(
        self,
        constraint: str,
        projection: Sequence[str] = observation.PROJECTION,
        match: int = -1,
        since: str | None = None,
    ) -> list[dict[str, Any]]:
        """Job ads that have left the queue, newest first, at most ``match`` of them (-1: all).

        Args:
            since: an expression that is true of the newest record known: nothing older is looked at.
        """
        found: list[dict[str, Any]] = self._ask(
            "history", constraint=constraint, projection=list(projection), match=match, since=since
        )
        return found

    def edit(self, constraint: str, attribute: str, value: str) -> int:
        """Sets an attribute of jobs in the queue to an expression.

        Returns:
            Of how many jobs.

        Raises:
            CondorRefusal: the access point does not let us.
        """
        return int(self._ask("edit", constraint=constraint, attribute=attribute, value=value))

    def dagman(self) -> Dagman:
        """DAGMan at the access point."""
        answer = self._ask("dagman")
        return Dagman(answer["folder"], answer["version"])

    def act(self, action: Action, constraint: str, reason: str) -> int:
        """Holds, releases or removes jobs.

        Returns:
            To how many jobs it was done.

        Raises:
            CondorRefusal: they are another user's.
        """
        answer = self._ask("act", action=action, constraint=constraint, reason=reason)
        if answer.get("TotalPermissionDenied"):
            raise CondorRefusal(f"{self.access.title} does not let us {action.lower()} these jobs: they are another's.")
        return int(answer.get("TotalSuccess", 0))

    def retrieve(self, constraint: str) -> None:
        """Fetches what spooled jobs have written so far.

        Raises:
            SchedulerConnectionError: not reached within ``timeout`` seconds.
            CondorError: not everything could be fetched and written; it stays at the access point.
        """
        self._reach()
        self.transport.retrieve(constraint, TRANSFER_TIMEOUT)

    def check(self) -> dict[str, Any]:
        """Connects, authenticates, and tells what is there.

        Raises:
            SchedulerConnectionError: with what to mend.
        """
        found: dict[str, Any] = self._ask("check")
        return found

    def close(self) -> None:
        """Ends what was started for it; the next use starts it anew."""
        self.transport.close()

    def _reach(self) -> None:
        """Finds out whether the access point answers, if that is not known: a transfer may take long to tell."""
        if time.monotonic() - self._answered > FRESH:
            self.query("false", ("ClusterId",))

    def _ask(self, question: Question, **args: Any) -> Any:
        """
        Raises:
            SchedulerConnectionError: for any error but a refusal: asked again, it may well answer.
        """
        try:
            answer = self.transport.ask(question, args, self.timeout)
        except CondorRefusal:
            raise
        except CondorError as error:
            raise SchedulerConnectionError(str(error)) from error
        self._answered = time.monotonic()
        return answer
