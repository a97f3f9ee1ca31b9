"""Functions that run inside the Dask scheduler, sent by value: it need not have this package. Standard library only."""

from typing import Any

#: Number of tasks of a job that are checked for whether any has begun.
_LIMIT = 20_000


def look(prefix: str, dask_scheduler: Any = None) -> dict[str, Any]:
    """The states of all published futures with a name prefix, in one call.

    Args:
        prefix: of the names; each name has one future.
        dask_scheduler: passed by Dask.

    Returns:
        ``id`` of the scheduler, number of ``workers``, and ``jobs``: a leaf for each name.
    """
    found: dict[str, Any] = {}
    for name, known in dask_scheduler.extensions["publish"].datasets.items():
        if isinstance(name, str) and name.startswith(prefix):
            (key,) = known["keys"]
            found[name] = _leaf(dask_scheduler.tasks.get(key), key)
    return {"id": dask_scheduler.id, "workers": len(dask_scheduler.workers), "jobs": found}


def missing(names: list[str], dask_scheduler: Any = None) -> dict[str, Any]:
    """The names under which no task is published: the scheduler has refused the work.

    Args:
        names: the names; each has one future.
        dask_scheduler: passed by Dask.

    Returns:
        ``id`` of the scheduler, and ``names``.
    """
    published, tasks = dask_scheduler.extensions["publish"].datasets, dask_scheduler.tasks
    lacking = [name for name in names if name not in published or published[name]["keys"][0] not in tasks]
    return {"id": dask_scheduler.id, "names": lacking}


def unshared(names: list[str], ours: str, dask_scheduler: Any = None) -> list[Any]:
    """The keys of published futures that nothing else needs. The same work may belong to two jobs, be a part of another
    client's work, or be held by a client.

    Args:
        names: the names under which they are published.
        ours: prefix of the ids of our clients; empty: ignore which clients hold them.
        dask_scheduler: passed by Dask.
    """
    published = dask_scheduler.extensions["publish"].datasets
    keys = {key for name in names if name in published for key in published[name]["keys"]}
    for name, known in published.items():
        if name not in names:
            keys.difference_update(known["keys"])
    mine = {f"published-{name}" for name in names}

    def free(task: Any) -> bool:
        holders = {str(client.client_key) for client in task.who_wants or ()} - mine
        return not task.dependents and all(holder.startswith(ours) for holder in holders)

    tasks = dask_scheduler.tasks
    return [key for key in keys if key in tasks and free(tasks[key])]


def _leaf(task: Any, key: Any) -> dict[str, Any]:
    if task is None:
        return {"key": str(key), "state": "forgotten"}
    leaf: dict[str, Any] = {"key": str(key), "state": task.state}
    if task.state == "memory":
        leaf["bytes"] = task.nbytes
    elif task.state == "erred":
        blamed = task.exception_blame or task
        leaf["error"] = blamed.exception_text or _said(blamed.exception)
        leaf["traceback"] = blamed.traceback_text or ""
        leaf["blamed"] = str(blamed.key)
    elif task.state == "processing":
        leaf["begun"] = _executing(task)
        leaf["worker"] = task.processing_on.address if task.processing_on is not None else ""
    else:
        leaf["begun"] = _begun(task)
    return leaf


def _said(exception: Any) -> str:
    """The text of an error that the scheduler itself raised, such as KilledWorker: it stores no text for those."""
    import pickle

    if not isinstance(exception, bytes | bytearray):
        return "unknown"
    made = pickle.loads(exception)  # noqa: S301  (the scheduler's own)
    return f"{type(made).__name__}: {made}"


def _executing(task: Any) -> bool:
    """Whether a worker has begun a task that was sent to it: a worker may have more tasks than threads.

    A worker reports its running tasks with its heartbeats, every few seconds.
    """
    worker = task.processing_on
    return worker is None or len(worker.processing) <= worker.nthreads or task in worker.executing or _begun(task)


def _begun(task: Any) -> bool:
    """Whether any task among the dependencies of this one has begun."""
    waiting: list[Any] = list(task.dependencies)
    seen: set[Any] = set()
    while waiting and len(seen) < _LIMIT:
        other = waiting.pop()
        if other in seen:
            continue
        seen.add(other)
        computed = other.state == "memory" and other.run_spec is not None  # without it: data that a client sent
        if computed or other.state == "erred" or (other.state == "processing" and _executing(other)):
            return True
        waiting.extend(other.dependencies)
    return False
