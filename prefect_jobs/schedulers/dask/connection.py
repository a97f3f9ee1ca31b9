"""Connections to Dask schedulers: one client for each, closed cleanly. ``distributed`` is imported at first use."""

import asyncio
import errno
import multiprocessing.process
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError

DEFAULT_TIMEOUT = 10.0
_NAME = "prefect-jobs"
#: Seconds between two messages of a client. Dask's 10 ms are a third of a submission, which waits for two messages.
_PAUSE = 0.001
#: Prefix of the ids of our clients, in all processes.
CLIENT_IDS = f"CleanClient-{_NAME}-"
LOOPBACK = "127.0.0.1"


class DaskError(PrefectJobsError):
    """The scheduler refuses the request; trying again does not help."""


@dataclass(frozen=True)
class DaskAccess:
    """The address and credentials of a scheduler. Without a host: the cluster of this process, on this machine."""

    host: str = ""
    #: Seconds; 0: :data:`DEFAULT_TIMEOUT`.
    timeout: float = 0
    #: Seconds; 0: Dask's own.
    heartbeat_interval: float = 0
    #: Files for :class:`distributed.Security` (or their contents).
    tls_ca_file: str | None = None
    tls_client_cert: str | None = None
    tls_client_key: str | None = None

    def __repr__(self) -> str:
        return f"DaskAccess({self.title})"

    @property
    def title(self) -> str:
        """The scheduler's name in messages."""
        return self.host or "on this machine"

    @property
    def seconds(self) -> float:
        """The seconds in which it must answer."""
        return self.timeout or DEFAULT_TIMEOUT


def security_of(access: DaskAccess) -> Any:
    """The ``security`` argument of Dask's clients; ``None``: no TLS."""
    if not (access.tls_ca_file or access.tls_client_cert):
        return None
    from distributed.security import Security

    return Security(  # type: ignore[no-untyped-call]
        require_encryption=True,
        tls_ca_file=access.tls_ca_file,
        tls_client_cert=access.tls_client_cert,
        tls_client_key=access.tls_client_key,
    )


@cache
def _client_class() -> Any:
    from distributed import Client

    class CleanClient(Client):
        """A client that leaves nothing behind if it cannot connect.

        Dask's own client leaves the thread of its loop. If it is not closed, it closes itself when it is garbage
        collected, which hangs for ever if another client starts its loop at that moment.
        """

        def start(self, **kwargs: Any) -> None:
            try:
                super().start(**kwargs)  # type: ignore[no-untyped-call]
            except BaseException:
                with suppress(OSError, TimeoutError, RuntimeError):
                    self.close(timeout=2)  # type: ignore[no-untyped-call]
                self.status = "closed"
                self._loop_runner.stop()  # type: ignore[no-untyped-call]
                raise

    return CleanClient


class DaskConnections:
    """The ``distributed.Client`` of each scheduler, and the cluster on this machine, of one process."""

    def __init__(self) -> None:
        self._clients: dict[DaskAccess, Any] = {}
        self._cluster: Any = None
        #: For the two above; never held while a thread waits for a scheduler.
        self._lock = threading.Lock()
        #: Held while the cluster on this machine starts.
        self._starting = threading.Lock()
        #: One for each scheduler, so that one that cannot be reached does not block the others.
        self._connecting: dict[DaskAccess, threading.Lock] = {}

    def client(self, access: DaskAccess) -> Any:
        """The client of a scheduler.

        Raises:
            SchedulerConnectionError: the scheduler was not reached in time.
        """
        with self._connecting_to(access):
            with self._lock:
                client = self._clients.get(access)
            if client is not None and client.status == "running":
                return client
            if client is not None:
                _close(client)
            client = self._connected(access)
            with self._lock:
                self._clients[access] = client
            return client

    def shared(self, access: DaskAccess) -> DaskAccess:
        """The access under which this process has a client for the scheduler: its own cluster has one already."""
        cluster = self._cluster
        ours = cluster is not None and cluster.status.name == "running" and access.host == cluster.scheduler_address
        return DaskAccess() if ours else access

    def close(self, access: DaskAccess) -> None:
        """Closes the client of a scheduler, if there is one; without a host, also the cluster on this machine."""
        with self._connecting_to(access):
            with self._lock:
                client = self._clients.pop(access, None)
            if client is not None:
                _close(client)
            if not access.host and self._cluster is not None:
                cluster, self._cluster = self._cluster, None
                cluster.close()

    def close_all(self) -> None:
        """Closes every client, and the cluster on this machine."""
        with self._lock:
            known = {*self._clients, *([DaskAccess()] if self._cluster is not None else [])}
        # First the clients of the cluster on this machine, then the cluster.
        for access in sorted(known, key=lambda access: not access.host):
            self.close(access)

    def forget(self) -> None:
        """In a forked child: drops clients, threads and the cluster, which belong to the parent."""
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._connecting.clear()
        self._clients.clear()
        if self._cluster is not None:
            self._cluster = None
            # Otherwise Dask and multiprocessing end and join the parent's workers when this process ends.
            multiprocessing.process._children.clear()  # type: ignore[attr-defined]
            from distributed.deploy.spec import SpecCluster

            SpecCluster._instances.clear()

    def _connecting_to(self, access: DaskAccess) -> threading.Lock:
        with self._lock:
            return self._connecting.setdefault(access, threading.Lock())

    def _connected(self, access: DaskAccess) -> Any:
        more: dict[str, Any] = {}
        if access.heartbeat_interval:
            more["heartbeat_interval"] = int(access.heartbeat_interval * 1000)
        security = security_of(access)
        if security is not None:
            more["security"] = security
        try:
            # Never the default client of the process: that one belongs to the user.
            address = access.host or self._local_cluster().scheduler_address
            client = _client_class()(address, timeout=access.seconds, set_as_default=False, name=_NAME, **more)
        except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as error:
            why = str(error) or type(error).__name__
            hint = "Check the address and that 'dask scheduler' runs there." if access.host else ""
            if access.host.startswith("tls:") or security is not None:
                hint += " With TLS, the address begins with tls:// and the certificates must be those of the cluster."
            elif "reset" in why or "closed" in why:
                hint += (
                    " If it accepts TLS only, use an address that begins with tls://, and a block with certificates."
                )
            raise SchedulerConnectionError(
                f"Cannot reach the Dask scheduler {access.title} within {access.seconds:g} s: {why}. {hint}".rstrip()
            ) from error
        client.scheduler_comm.interval = _PAUSE
        return client

    def _local_cluster(self) -> Any:
        """The cluster on this machine: worker processes, so that work does not block the program."""
        with self._starting:
            if self._cluster is None or self._cluster.status.name != "running":
                from distributed import LocalCluster

                self._cluster = LocalCluster(host=LOOPBACK, dashboard_address=f"{LOOPBACK}:0", silence_logs=30)  # type: ignore[no-untyped-call]
            return self._cluster


def _close(client: Any) -> None:
    try:
        client.close(timeout=2)
    except (OSError, TimeoutError, RuntimeError):
        return  # its scheduler has ended and needs no message


def gone(address: str) -> bool:
    """Whether no process listens at an address of this machine any more: the process with the cluster has ended."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, int(port))) == errno.ECONNREFUSED


def call_in_loop(client: Any, seconds: float, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Calls a client's method, in the client's loop if it is a coroutine, and waits for it.

    Raises:
        TimeoutError: it took longer than ``seconds``.
    """

    async def call() -> Any:
        return await function(*args, **options)

    calling = asyncio.run_coroutine_threadsafe(call(), client.loop.asyncio_loop)
    try:
        return calling.result(seconds)
    finally:
        calling.cancel()


@contextmanager
def asking(access: DaskAccess) -> Iterator[None]:
    """Turns errors of a request without an answer into SchedulerConnectionError.

    Raises:
        SchedulerConnectionError: the connection broke, or there was no answer in time.
    """
    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CommClosedError, TimeoutError, OSError) as error:
        raise SchedulerConnectionError(
            f"The Dask scheduler {access.title} does not answer: {str(error) or type(error).__name__}"
        ) from error
    except RuntimeError as error:
        if "closed" not in str(error).lower():
            raise
        raise SchedulerConnectionError(f"The connection to the Dask scheduler {access.title} is closed.") from error


def describe(access: DaskAccess, client: Any) -> dict[str, Any]:
    """A description of a scheduler: address, versions, workers, threads, memory (bytes), dashboard, and versions that
    differ from ours.

    Raises:
        SchedulerConnectionError: the scheduler does not answer in time.
    """
    with asking(access):
        info = call_in_loop(client, access.seconds, client.scheduler.identity, n_workers=-1)
        found = call_in_loop(client, access.seconds, client.get_versions, check=False)
    workers = info.get("workers", {}).values()
    versions = found.get("scheduler") or {}
    return {
        "id": info.get("id"),
        "address": info.get("address"),
        "version": versions.get("packages", {}).get("distributed"),
        "python": versions.get("host", {}).get("python"),
        "client_version": version("distributed"),
        "workers": len(workers),
        "threads": sum(worker.get("nthreads", 0) for worker in workers),
        "memory": sum(worker.get("memory_limit", 0) or 0 for worker in workers),
        "dashboard": client.dashboard_link,
        "differences": _differences(found),
    }


def mismatches(client: Any, seconds: float = DEFAULT_TIMEOUT) -> list[str]:
    """The versions of a cluster that differ from ours, for people.

    Raises:
        SchedulerConnectionError: the scheduler does not answer in time.
    """
    with asking(DaskAccess(str(client.scheduler.address))):
        return _differences(call_in_loop(client, seconds, client.get_versions, check=False))


def _differences(versions: dict[str, Any]) -> list[str]:
    ours = _what(versions.get("client") or {})
    others = {"the scheduler": versions.get("scheduler") or {}, **(versions.get("workers") or {})}
    found: dict[str, list[str]] = {}
    for who, said in others.items():
        for name, theirs in _what(said).items():
            if theirs and ours.get(name) and theirs != ours[name]:
                found.setdefault(f"{name} {theirs} (here {ours[name]})", []).append(
                    who if who == "the scheduler" else f"worker {who}"
                )
    return [
        f"{text} on {', '.join(where[:3])}" + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        for text, where in sorted(found.items())
    ]


def _what(said: dict[str, Any]) -> dict[str, str]:
    """The versions that must be equal on both sides."""
    python = ".".join(str(said.get("host", {}).get("python", "")).split(".")[:2])
    packages = said.get("packages", {})
    return {"python": python, **{name: packages.get(name) for name in ("dask", "distributed", "cloudpickle")}}
