"""Dask clients: one for each scheduler and process, closed cleanly. ``distributed`` is imported at first use."""

import threading
from importlib.metadata import version
from typing import Any

from prefect_jobs.errors import SchedulerConnectionError

DEFAULT_TIMEOUT = 10.0
_clients: dict[tuple[str, float, float], Any] = {}
_lock = threading.Lock()


def client_for(host: str, timeout: float = 0, heartbeat_interval: float = 0) -> Any:
    """The process' client of a scheduler.

    Args:
        host: ``host:port`` or ``tcp://host:port``.
        timeout: seconds; 0: 10.
        heartbeat_interval: seconds; 0: Dask's own.

    Raises:
        SchedulerConnectionError: not reached in time.
    """
    from distributed import Client

    key = (host, timeout, heartbeat_interval)
    with _lock:
        client = _clients.get(key)
        if client is not None and client.status == "running":
            return client
        if client is not None:
            client.close(timeout=1)
        seconds = timeout or DEFAULT_TIMEOUT
        options = {"heartbeat_interval": int(heartbeat_interval * 1000)} if heartbeat_interval else {}
        try:
            # Never the default client of the process: that one is the user's own.
            client = Client(host, timeout=seconds, set_as_default=False, **options)  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError, ValueError) as error:
            raise SchedulerConnectionError(
                f"Cannot reach the Dask scheduler {host} within {seconds:g} s: {error or type(error).__name__}. "
                "Check the address and that 'dask scheduler' runs there."
            ) from error
        _clients[key] = client
        return client


def close(host: str, timeout: float = 0, heartbeat_interval: float = 0) -> None:
    """Closes the client of a scheduler, if there is one."""
    with _lock:
        client = _clients.pop((host, timeout, heartbeat_interval), None)
    if client is not None:
        client.close()


def describe(client: Any) -> dict[str, Any]:
    """What a scheduler says of itself: address, versions, workers, threads, memory (bytes), dashboard."""
    try:
        info = client.scheduler_info(n_workers=-1)
    except TypeError:  # before 2025.4 it took no argument
        info = client.scheduler_info()
    workers = info.get("workers", {}).values()
    versions = client.get_versions(check=False).get("scheduler") or {}
    return {
        "address": info.get("address"),
        "version": versions.get("packages", {}).get("distributed"),
        "client_version": version("distributed"),
        "workers": len(workers),
        "threads": sum(worker.get("nthreads", 0) for worker in workers),
        "memory": sum(worker.get("memory_limit", 0) or 0 for worker in workers),
        "dashboard": client.dashboard_link,
    }
