"""The connections of this process to schedulers: one for each identity, shared by all jobs that use it."""

import atexit
import os
import threading
from typing import Any

from prefect_jobs.schedulers.condor.access import Access
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.dask.client import DaskClient
from prefect_jobs.schedulers.dask.connection import DaskAccess, DaskConnections


class Connections:
    """Owns every connection to a scheduler: opens it at the first use, closes it, and drops it after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._condor: dict[tuple[Access, str | None], CondorClient] = {}
        self._dask: dict[DaskAccess, DaskClient] = {}
        self._distributed = DaskConnections()

    def condor(self, access: Access) -> CondorClient:
        """The client of an access point."""
        # The machine's own configuration may have changed (a personal pool that was started).
        key = (access, os.environ.get("CONDOR_CONFIG") if access.local else None)
        with self._lock:
            if key not in self._condor:
                self._condor[key] = CondorClient(access)
            return self._condor[key]

    def dask(self, access: DaskAccess) -> DaskClient:
        """The client of a Dask scheduler, for jobs."""
        access = self._distributed.shared(access)
        with self._lock:
            if access not in self._dask:
                self._dask[access] = DaskClient(access, self._distributed)
            return self._dask[access]

    def distributed(self, access: DaskAccess) -> Any:
        """The ``distributed.Client`` of a Dask scheduler.

        Raises:
            SchedulerConnectionError: the scheduler was not reached in time.
        """
        return self._distributed.client(access)

    def forget_submission(self, token: str) -> None:
        """Drops what is kept in memory of a submission to Dask, at any scheduler."""
        with self._lock:
            clients = list(self._dask.values())
        for client in clients:
            client.forget(token)

    def close_dask(self, access: DaskAccess) -> None:
        """Closes the connection to a Dask scheduler; without a host, also the cluster on this machine."""
        self._distributed.close(access)

    def interrupt(self) -> None:
        """Ends pending requests and transfers to access points, and removes the tokens that they use, at once.

        The next use starts again.
        """
        with self._lock:
            clients = list(self._condor.values())
            self._condor.clear()
        for client in clients:
            client.close()

    def close(self) -> None:
        """Closes every connection, and the Dask cluster on this machine; the next use opens another."""
        self.interrupt()
        self._distributed.close_all()

    def forget(self) -> None:
        """In a forked child: drops the connections, which belong to the parent and stay open there."""
        self._lock = threading.Lock()  # a thread of the parent may have held the old one
        for client in self._condor.values():
            client.close()
        self._condor.clear()
        self._dask.clear()
        self._distributed.forget()


#: The connections of this process.
connections = Connections()
atexit.register(connections.close)
os.register_at_fork(after_in_child=connections.forget)


def client_for(access: Access) -> CondorClient:
    """The process' client of an access point."""
    return connections.condor(access)


def dask_client(access: DaskAccess) -> DaskClient:
    """The process' client of a Dask scheduler."""
    return connections.dask(access)


def forget_submission(token: str) -> None:
    """Drops what this process keeps of a submission to Dask."""
    connections.forget_submission(token)
