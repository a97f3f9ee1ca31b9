"""The job types by name: built in, registered by :func:`register_job_type`, or from an entry point."""

import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.group import Group

ENTRY_POINTS = "prefect_jobs.job_types"

#: Name → path of the class, which is loaded when it is first used.
_BUILT_IN = {
    "BASIC": "prefect_jobs.jobs.basic:BasicJob",
    "CONDOR": "prefect_jobs.jobs.condor.job:CondorJob",
    "DASK": "prefect_jobs.jobs.dask.job:DaskJob",
    "CONDORWORKFLOW": "prefect_jobs.jobs.workflow.job:CondorWorkflow",
}
#: Engine → path of the group that polls its jobs, loaded when first used. Other jobs are polled one by one.
_GROUPS = {
    "htcondor": "prefect_jobs.jobs.condor.group:CondorGroup",
    "dask": "prefect_jobs.jobs.dask.group:DaskGroup",
}
_ALIASES = {"CONDORJOB": "CONDOR", "BASICJOB": "BASIC", "DASKJOB": "DASK"}
_registered: dict[str, type[Job]] = {}


def register_job_type(name: str, cls: type[Job]) -> None:
    """Makes ``create_job(job_type=name)`` give jobs of ``cls`` in this process.

    Raises:
        ValueError: another class has the name, or it is not a name.
        TypeError: ``cls`` is not a subclass of Job.
    """
    if not (isinstance(cls, type) and issubclass(cls, Job)):
        raise TypeError(f"A job type is a subclass of prefect_jobs.Job, not {cls!r}.")
    key = name.strip().upper() if isinstance(name, str) else ""
    if not key:
        raise ValueError(f"{name!r} is not a name for a job type.")
    taken = _BUILT_IN.get(_ALIASES.get(key, key)) or _registered.get(key)
    if taken is not None and taken is not cls:
        raise ValueError(f"The job type {key!r} exists already. Choose another name.")
    _registered[key] = cls


def job_type_names() -> list[str]:
    """The valid names, aliases included."""
    return sorted({*_BUILT_IN, *_ALIASES, *_registered, *_plugged()})


@cache
def _plugged() -> dict[str, EntryPoint]:
    """Types of installed packages; read once, since reading them takes milliseconds."""
    return {point.name.upper(): point for point in entry_points(group=ENTRY_POINTS)}


@cache
def _built_in(key: str) -> type[Job]:
    found: type[Job] = pkgutil.resolve_name(_BUILT_IN[key])
    return found


def find(name: str) -> type[Job] | None:
    """The class with a registered name; ``None`` if this process does not know it."""
    key = name.strip().upper()
    key = _ALIASES.get(key, key)
    if key in _registered:
        return _registered[key]
    if key in _BUILT_IN:
        return _built_in(key)
    if key in _plugged():
        register_job_type(key, _plugged()[key].load())
        return _registered[key]
    return None


def known_types() -> list[type[Job]]:
    """Every class of which this process can create jobs."""
    found = (find(name) for name in job_type_names())
    return list(dict.fromkeys(cls for cls in found if cls is not None))


def job_class(job_type: str | type[Job] | None) -> tuple[str, type[Job]]:
    """The registered name and the class for ``job_type``.

    Raises:
        ValueError: unknown, or ``None``; the message lists the valid names.
    """
    if isinstance(job_type, type) and issubclass(job_type, Job):
        return name_of(job_type), job_type
    if isinstance(job_type, str):
        cls = find(job_type)
        if cls is not None:
            key = job_type.strip().upper()
            return _ALIASES.get(key, key), cls
    raise ValueError(
        f"There is no job type {job_type!r}. Valid: {', '.join(job_type_names())}, or a subclass of prefect_jobs.Job."
    )


def name_of(cls: type[Job]) -> str:
    """The name under which jobs of a class are stored; the path of a class that is not registered."""
    for name, known in _registered.items():
        if known is cls:
            return name
    for name, place in _BUILT_IN.items():
        if place == f"{cls.__module__}:{cls.__qualname__}":
            return name
    return f"{cls.__module__}:{cls.__qualname__}"


def group_type(engine: str | None) -> type[Group]:
    """The class that polls the jobs of an engine together."""
    if engine not in _GROUPS:
        return Group
    found: type[Group] = pkgutil.resolve_name(_GROUPS[engine])
    return found


def has_own_flow(cls: type[Job]) -> bool:
    """Whether the flow of the class runs jobs of this class, and not of the class that it inherits the flow from."""
    built_in = f"{cls.__module__}:{cls.__qualname__}" in _BUILT_IN.values()
    return built_in or "flow_entrypoint" in cls.__dict__


def load(name: str) -> type[Job] | None:
    """The class of a stored job; ``None`` if this process does not know the type."""
    if ":" not in name:
        return find(name)
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):  # a ValueError for a class in a function
        return _seen.get(name)
    return found if isinstance(found, type) else None


#: Classes used directly in this process that cannot be imported by path (defined in a function or a script).
_seen: dict[str, type[Job]] = {}


def remember(cls: type[Job]) -> None:
    """Keeps a class that was used directly, so that this process can load its jobs."""
    _seen[name_of(cls)] = cls
