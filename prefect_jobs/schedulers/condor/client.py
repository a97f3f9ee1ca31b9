"""The HTCondor client that jobs and blocks use: a few typed calls over a transport."""

import atexit
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.access import Access, CondorError, CondorRefusal, Transport, refuse_ssh
from prefect_jobs.schedulers.condor.process import HelperProcess, error_of

__all__ = ["Access", "CondorClient", "CondorError", "CondorRefusal", "Submission", "Submitted", "client_for"]

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
class Submission:
    """What an access point is asked to take: a description, of how many processes, with inputs to be sent or not."""

    text: str
    count: int
    spool: bool


@dataclass(frozen=True)
class Submitted:
    """A cluster that an access point has taken."""

    cluster_id: int
    num_procs: int
    schedd: str | None


@dataclass(frozen=True)
class Dagman:
    """DAGMan at an access point."""

    #: The folder of HTCondor's programs there.
    folder: str
    #: HTCondor's version there, as its daemons write it.
    version: str


class CondorClient:
    """An access point under one identity. Questions and file transfers use a helper process each, so that a
    large transfer holds no poll up."""

    def __init__(self, access: Access, timeout: float = TIMEOUT) -> None:
        self.access = access
        self.timeout = timeout
        self._control: Transport = HelperProcess(access)
        self._transfer: Transport = HelperProcess(access)
        #: When it answered last (monotonic).
        self._answered = float("-inf")

    def submit(self, text: str, count: int, *, spool: bool) -> Submitted:
        """Submits ``count`` processes; with ``spool`` the inputs are at the access point on return. It
        notes that a moment later; one that ends in between must be told (:func:`condor_watch.let_go_on`).

        Raises:
            SchedulerConnectionError: not reached within ``timeout`` seconds: nothing was submitted.
            CondorRefusal: the description is refused.
            CondorError: it failed on the way; whether a cluster is in the queue must be asked by its token.
        """
        self._reach()
        args = {"text": text, "count": count, "spool": spool}
        answer = self._transfer.call("submit", args, TRANSFER_TIMEOUT if spool else max(self.timeout, 60.0))
        self._answered = time.monotonic()
        return Submitted(answer["cluster"], answer["procs"], answer["schedd"])

    def submit_all(self, submissions: Sequence[Submission]) -> list[Submitted | PrefectJobsError]:
        """As :meth:`submit`, of many through one connection; what fails with one of them keeps no other.

        Returns:
            For each what :meth:`submit` would give or raise.
        """
        found: list[Submitted | PrefectJobsError] = []
        for start in range(0, len(submissions), _CHUNK):
            chunk = submissions[start : start + _CHUNK]
            try:
                self._reach()
                args = {"submissions": [asdict(one) for one in chunk]}
                answers = self._transfer.call("submit_all", args, TRANSFER_TIMEOUT)
            except (CondorError, SchedulerConnectionError) as error:
                found += [error] * len(chunk)
            else:
                found += [self._answer(answer) for answer in answers]
        return found

    def _answer(self, answer: dict[str, Any]) -> Submitted | PrefectJobsError:
        if "ok" in answer:
            return Submitted(answer["ok"]["cluster"], answer["ok"]["procs"], answer["ok"]["schedd"])
        return error_of(self.access, answer, begun=True)

    def query(self, constraint: str, projection: Sequence[str] = observation.PROJECTION) -> list[dict[str, Any]]:
        """Job ads in the queue.

        Raises:
            SchedulerConnectionError: not reached within ``timeout`` seconds.
        """
        refuse_ssh(self.access)
        return self._list("query", constraint, projection)

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
        refuse_ssh(self.access)
        return self._list("history", constraint, projection, match=match, since=since)

    def edit(self, constraint: str, attribute: str, value: str) -> int:
        """Sets an attribute of jobs in the queue to an expression.

        Returns:
            Of how many jobs.
        """
        refuse_ssh(self.access)
        args = {"constraint": constraint, "attribute": attribute, "value": value}
        return int(self._control.call("edit", args, self.timeout))

    def dagman(self) -> Dagman:
        """DAGMan at the access point."""
        refuse_ssh(self.access)
        answer = self._control.call("dagman", {}, self.timeout)
        return Dagman(answer["folder"], answer["version"])

    def act(self, action: Action, constraint: str, reason: str) -> int:
        """Holds, releases or removes jobs.

        Returns:
            To how many jobs it was done.
        """
        refuse_ssh(self.access)
        args = {"action": action, "constraint": constraint, "reason": reason}
        answer = self._control.call("act", args, self.timeout)
        if answer.get("TotalPermissionDenied"):
            raise CondorRefusal(f"{self.access.title} does not let us {action.lower()} these jobs: they are another's.")
        return int(answer.get("TotalSuccess", 0))

    def retrieve(self, constraint: str) -> None:
        """Fetches what spooled jobs have written so far.

        Raises:
            CondorError: not everything could be fetched and written; it stays at the access point.
        """
        self._reach()
        self._transfer.call("retrieve", {"constraint": constraint}, TRANSFER_TIMEOUT)

    def check(self) -> dict[str, Any]:
        """Connects, authenticates, and tells what is there.

        Raises:
            SchedulerConnectionError: with what to mend.
        """
        refuse_ssh(self.access)
        found: dict[str, Any] = self._control.call("check", {}, self.timeout)
        return found

    def close(self) -> None:
        """Ends the helper processes."""
        self._control.close()
        self._transfer.close()

    def _reach(self) -> None:
        refuse_ssh(self.access)
        if time.monotonic() - self._answered > FRESH:
            self._list("query", "false", ("ClusterId",))

    def _list(self, op: str, constraint: str, projection: Sequence[str], **more: Any) -> list[dict[str, Any]]:
        args = {"constraint": constraint, "projection": list(projection), **more}
        found: list[dict[str, Any]] = self._control.call(op, args, self.timeout)
        self._answered = time.monotonic()
        return found


_clients: dict[tuple[Access, str | None], CondorClient] = {}
_clients_lock = threading.Lock()


def client_for(access: Access) -> CondorClient:
    """The process' client for an identity: one, however many jobs use it."""
    # The machine's own configuration may be another one from now on (a personal pool that was started).
    key = (access, os.environ.get("CONDOR_CONFIG") if access.local else None)
    with _clients_lock:
        client = _clients.get(key)
        if client is None:
            client = _clients[key] = CondorClient(access)
        return client


def close_clients() -> None:
    """Ends every helper of this process; the next use starts new ones."""
    with _clients_lock:
        clients = list(_clients.values())
        _clients.clear()
    for client in clients:
        client.close()


atexit.register(close_clients)
