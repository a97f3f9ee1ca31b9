"""The arguments of ``create_job`` and ``schedule_job``: checked, and turned into a record or a flow's parameters."""

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from prefect_jobs import clock, folders
from prefect_jobs.errors import SchedulerEngineMismatch
from prefect_jobs.jobs import hooks, registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.job_type import filled
from prefect_jobs.people import group_names, user_name
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.store.values import dump_json

#: Keyword arguments of ``create_job`` that every type takes.
COMMON = ("description", "workspace", "extended_properties", "process_results_function")


def draft(
    runtime: Runtime,
    label: str,
    name: str,
    user: Any,
    groups: Any,
    type_name: str,
    cls: type[Job],
    kwargs: Mapping[str, Any],
) -> JobRecord:
    """The record of a new job.

    Raises:
        ValueError: a bad value.
        TypeError: an unknown keyword; the message names the valid ones.
    """
    own = dict(cls.spec_defaults)
    takes_scheduler = cls.scheduler_engine is not None
    valid = (*COMMON, *own, *(("scheduler",) if takes_scheduler else ()))
    unknown = sorted(set(kwargs) - set(valid))
    if unknown:
        raise TypeError(
            f"create_job() of {cls.__name__} takes no keyword {', '.join(map(repr, unknown))}. "
            f"Valid: {', '.join(valid)}."
        )
    owner = user_name(user)
    function = kwargs.get("process_results_function")
    scheduler = kwargs.get("scheduler")
    if ":" in type_name:
        registry.remember(cls)
    return JobRecord(
        id=0,
        version=0,
        label=label,
        type=type_name,
        class_name=cls.__name__,
        name=name,
        user=owner,
        creation_time=clock.now(),
        groups=group_names(groups),
        description=str(kwargs.get("description") or ""),
        workspace=_workspace(runtime, kwargs.get("workspace"), label, owner),
        extended_properties=dict(kwargs.get("extended_properties") or {}),
        process_results_function=None if function is None else hooks.dotted_path(function),
        spec=cls.check_spec({**own, **{key: kwargs[key] for key in own if key in kwargs}}),
        scheduler=None if scheduler is None else _scheduler_name(runtime, scheduler, cls.scheduler_engine),
    )


def flow_parameters(
    label: str, name: str, user: Any, type_name: str, cls: type[Job], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of the type's flow for jobs with these arguments, as JSON.

    Raises:
        ValueError, TypeError: as :func:`draft`.
    """
    runtime = get_runtime()
    own = {key: value for key, value in kwargs.items() if key in cls.flow_parameters}
    common = {key: value for key, value in kwargs.items() if key not in own}
    # Raises now what create_job would raise in the run.
    cls(runtime, draft(runtime, label, name, user, None, type_name, cls, common)).check_fields()
    owner = user_name(user)
    parameters = {"name": name, "user": owner, "app": label, **_serializable(common)}
    # Other processes, in other folders, execute the runs.
    if parameters.get("workspace"):
        parameters["workspace"] = _workspace(runtime, parameters["workspace"], label, owner)
    parameters = cls.portable(parameters)
    parameters.update(cls.check_flow_parameters(own))
    scheduler = parameters.get("scheduler")
    if scheduler is not None:
        parameters["scheduler"] = _scheduler_name(runtime, scheduler)
    try:
        found: dict[str, Any] = json.loads(dump_json(parameters))
    except ValueError as error:
        raise ValueError(f"The arguments of a schedule must be JSON values: {error}.") from error
    return found


def options_of_run(runtime: Runtime, label: str, cls: type[Job], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of ``create_job`` for the parameters of a run of the type's flow.

    Raises:
        ValueError: no scheduler is given, and several are assigned to the app.
        SchedulerConnectionError: Prefect, which has the assignments, cannot be reached.
    """
    options = filled(cls.options_of_run(parameters))
    engine = cls.scheduler_engine
    if engine is None or options.get("scheduler"):
        return options
    names = runtime.prefect.assigned(label, engine)
    if len(names) > 1:
        raise ValueError(f"scheduler: choose one of those that are assigned to {label}: {', '.join(map(repr, names))}.")
    return {**options, "scheduler": names[0]} if names else options


def _workspace(runtime: Runtime, given: str | os.PathLike[str] | None, label: str, user: str) -> str:
    return folders.absolute(given or "", partial(runtime.site.default_workspace, label, user))


def _scheduler_name(runtime: Runtime, scheduler: Any, engine: str | None = None) -> str:
    """The name by which other processes find the scheduler.

    Raises:
        ValueError: there is none of that name, or the block was never saved, so that only this process has it.
        SchedulerEngineMismatch: one of the other engine.
    """
    if isinstance(scheduler, str):
        if engine is not None:
            runtime.prefect.lookup.check(scheduler, engine)
        return scheduler
    name = getattr(scheduler, "name", None)
    if not name or not getattr(scheduler, "saved", False):
        raise ValueError(f"The scheduler {name or scheduler!r} must be saved first: call its save().")
    if engine is not None and scheduler.engine != engine:
        raise SchedulerEngineMismatch(f"The scheduler {name!r} is a {scheduler.engine} one; this job needs {engine}.")
    return str(name)


def _serializable(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in values.items() if value is not None}
    function = found.get("process_results_function")
    if function is not None:
        found["process_results_function"] = hooks.dotted_path(function)
    return found
