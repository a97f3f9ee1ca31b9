"""The HTCondor client of jobs and blocks: a few typed calls over a transport."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError
from prefect_jobs.schedulers.condor import matching, observation
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

#: Seconds in which an access point must answer a request.
TIMEOUT = 10.0
#: Seconds for transferring files. Before a transfer, the access point must answer within :data:`TIMEOUT`.
TRANSFER_TIMEOUT = 6 * 3600.0
#: Seconds for which an answer counts, so that a transfer needs no request before it.
FRESH = 2.0
#: Bytes of a log of a proc that runs.
TAIL = 262_144
#: Submissions in one request to the helper. If the helper ends in the middle, each is searched by its token.
_CHUNK = 50

#: RemoveX removes a job from the queue that was removed, but is kept for its outputs.
Action = Literal["Hold", "Release", "Remove", "RemoveX"]


@dataclass(frozen=True)
class Dagman:
    """DAGMan at an access point."""

    #: The folder of HTCondor's programs at the access point.
    folder: str
    #: HTCondor's version at the access point, as its daemons write it.
    version: str


class CondorClient:
    """An access point under one identity."""

    def __init__(self, access: Access, timeout: float = TIMEOUT, transport: Transport | None = None) -> None:
        """
        Args:
            access: the access point.
            timeout: seconds in which it must answer a request.
            transport: the transport to it; none: the default one for the access.
        """
        self.access = access
        self.timeout = timeout
        self.transport = transport or transport_for(access)
        #: Time of the last answer (monotonic).
        self._answered = float("-inf")

    def submit(self, text: str, count: int, *, spool: bool, items: Sequence[Mapping[str, str]] = ()) -> Cluster:
        """Submits ``count`` procs, or one for each item; with ``spool`` the inputs are at the access point on return.
        The schedd notes that a moment later; a schedd that ends in between holds the jobs until they are released.

        Raises:
            SchedulerConnectionError: not reached within ``timeout`` seconds: nothing was submitted.
            CondorRefusal: the description is refused.
            CondorError: the submission failed; search for a cluster in the queue by its token.
        """
        self._reach()
        timeout = TRANSFER_TIMEOUT if spool else max(self.timeout, 60.0)
        found = self.transport.submit(Submission(text, count, spool, items), timeout)
        self._answered = time.monotonic()
        return found

    def submit_all(self, submissions: Sequence[Submission]) -> list[Cluster | PrefectJobsError]:
        """As :meth:`submit`, for many through one connection; a failure of one does not affect the others.

        Returns:
            For each the return value or the exception of :meth:`submit`.
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

    def query(
        self, constraint: str, projection: Sequence[str] = observation.PROJECTION, *, clusters: bool = False
    ) -> list[dict[str, Any]]:
        """Job ads in the queue.

        Args:
            constraint: which ones.
            projection: their attributes.
            clusters: also ads of clusters of which HTCondor has not made all procs; they have no ProcId.

        Raises:
            SchedulerConnectionError: not reached within ``timeout`` seconds, or the request failed, as for all other
            requests below.
        """
        found: list[dict[str, Any]] = self._ask(
            "query", constraint=constraint, projection=list(projection), **({"clusters": True} if clusters else {})
        )
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
            since: an expression that is true of the newest known record: nothing older is read.
        """
        found: list[dict[str, Any]] = self._ask(
            "history", constraint=constraint, projection=list(projection), match=match, since=since
        )
        return found

    def why_idle(self, constraints: Sequence[str]) -> list[str | None]:
        """For each constraint why its idle procs wait, for people; empty: none is idle; ``None``: there was no time.

        Raises:
            SchedulerConnectionError: the access point or the pool's collector does not answer.
        """
        answers: list[dict[str, Any] | None]
        answers = self._ask("analyze", constraints=list(constraints), seconds=self.timeout / 4)
        return [None if answer is None else matching.explain(answer) for answer in answers]

    def edit(self, constraint: str, attribute: str, value: str) -> int:
        """Sets an attribute of jobs in the queue to an expression.

        Returns:
            The number of jobs.

        Raises:
            CondorRefusal: the access point does not allow it.
        """
        return int(self._ask("edit", constraint=constraint, attribute=attribute, value=value))

    def dagman(self) -> Dagman:
        """DAGMan at the access point."""
        answer = self._ask("dagman")
        return Dagman(answer["folder"], answer["version"])

    def act(self, action: Action, constraint: str, reason: str) -> int:
        """Holds, releases or removes jobs.

        Returns:
            The number of jobs.

        Raises:
            CondorRefusal: the jobs are another user's.
        """
        answer = self._ask("act", action=action, constraint=constraint, reason=reason)
        if answer.get("TotalPermissionDenied"):
            raise CondorRefusal(
                f"{self.access.title} does not let us {action.lower()} these jobs: another user owns them."
            )
        return int(answer.get("TotalSuccess", 0))

    def tail(self, proc: str, stream: Literal["stdout", "stderr"]) -> str | None:
        """The end of what a proc that runs has written; ``None``: condor_tail is not installed on this machine, or does
        not reach the machine that runs it.

        Args:
            proc: its cluster and number, such as ``"12.0"``.
            stream: which of its streams.
        """
        found: str | None = self._ask("tail", proc=proc, stream=stream, most=TAIL, seconds=self.timeout / 2)
        return found

    def retrieve(self, constraint: str) -> None:
        """Fetches what spooled jobs have written so far.

        Raises:
            SchedulerConnectionError: not reached within ``timeout`` seconds.
            CondorError: not everything could be fetched and written; the rest stays at the access point.
        """
        self._reach()
        self.transport.retrieve(constraint, TRANSFER_TIMEOUT)

    def check(self) -> dict[str, Any]:
        """Connects, authenticates, and returns a description of the access point.

        Raises:
            SchedulerConnectionError: with advice.
        """
        found: dict[str, Any] = self._ask("check")
        return found

    def close(self) -> None:
        """Ends the processes that were started; the next use starts them again."""
        self.transport.close()

    def _reach(self) -> None:
        """Checks that the access point answers, unless that is known: a failing transfer may take long."""
        if time.monotonic() - self._answered > FRESH:
            self.query("false", ("ClusterId",))

    def _ask(self, question: Question, **args: Any) -> Any:
        """
        Raises:
            SchedulerConnectionError: any error but a refusal: trying again may help.
        """
        try:
            answer = self.transport.ask(question, args, self.timeout)
        except CondorRefusal:
            raise
        except CondorError as error:
            raise SchedulerConnectionError(str(error)) from error
        self._answered = time.monotonic()
        return answer
