"""A job for the parameters of a flow run."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, get_type_hints

from prefect_jobs import arguments
from prefect_jobs.app import App
from prefect_jobs.errors import DatabaseError, PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs.base import Job
from prefect_jobs.pickup import variables
from prefect_jobs.pickup.served import Served
from prefect_jobs.projection.deployments import load_flow
from prefect_jobs.projection.offers import Offer
from prefect_jobs.projection.prefect_api import PrefectApi, RunGone
from prefect_jobs.projection.run_faces import OFFERED
from prefect_jobs.records import ScheduleRecord
from prefect_jobs.runtime.wiring import Runtime

_MOST = 5


class BadRun(PrefectJobsError):
    """The parameters of a flow run are no job; the message says which of them, and why."""


@dataclass(frozen=True)
class Draft:
    """A job that is not saved yet, and how it is submitted."""

    offer: Offer
    job: Job
    #: The arguments of ``execute``.
    work: tuple[Any, ...]
    #: The lease under which the run is picked up.
    lease: str = ""

    def save(self) -> None:
        """Saves the job, with its nodes.

        Raises:
            BadRun: a value cannot be stored.
        """
        try:
            self.job.handle.save()
            self.job.engine.save_parts()
        except PrefectJobsError:
            raise
        except Exception as error:  # a type of a user may raise anything
            raise BadRun(f"It cannot become a job: {error or type(error).__name__}") from error

    def executed(self) -> Exception | None:
        """Submits the job; returns the error if there is one."""
        try:
            self.job.execute(*self.work)
        except DatabaseError:
            raise
        except Exception as error:  # a type of a user may raise anything
            return error
        return None


def draft(
    runtime: Runtime, offer: Offer, served: Served, schedule: ScheduleRecord | None, worker: str | None = None
) -> Draft:
    """The job of a run.

    Args:
        runtime: stores the job.
        offer: the run.
        served: its deployment.
        schedule: the schedule of the deployment.
        worker: the Prefect worker that picks it up.

    Raises:
        BadRun: a parameter is missing or has a bad value, or there is no such scheduler.
        SchedulerConnectionError: it cannot be checked now.
    """
    try:
        given = variables.applied({**served.variables, **offer.job_variables}, offer.parameters, _fields(served))
        values = parameters_of(served, _named_blocks(runtime, given))
        app: type[App] = type("FlowApp", (App,), {"name": "flow", "package": values.get("app")})
        label = app.check_package()
        options = arguments.options_of_run(runtime, label, served.cls, values)
        name, user = values["name"], values.get("user") or "prefect"
        record = arguments.draft(runtime, label, name, user, None, served.type_name, served.cls, options)
        work = served.cls.work_of_run(values)
        record = replace(
            record,
            flow_run_id=offer.run_id,
            flow_state_id=offer.state_id,
            # Prefect shows it already: nothing is to be written there before the run is claimed.
            face_done=1,
            face_shown={OFFERED: list(offer.tags), "state": ["PENDING", "Pending"]},
            schedule=schedule.name if schedule is not None and schedule.label == label else None,
            deployment_id=offer.deployment_id or None,
            timeout=_seconds(values.get("timeout")),
            concurrency_lease=offer.lease,
            worker=worker,
            retries=offer.retries,
            retry_delay=offer.retry_delay,
        )
        job = served.cls(runtime, record)
        job.check_fields()
    except (SchedulerConnectionError, DatabaseError, BadRun):
        raise
    except (PrefectJobsError, ValueError, TypeError) as error:
        raise BadRun(str(error)) from error
    except Exception as error:  # a type of a user may raise anything
        raise BadRun(f"It cannot become a job: {error or type(error).__name__}") from error
    return Draft(offer, job, work)


def _seconds(timeout: Any) -> float | None:
    """
    Raises:
        BadRun: it is not a number of seconds.
    """
    seconds = float(timeout or 0)
    if not 0 <= seconds < math.inf:
        raise BadRun(f"timeout is a number of seconds, 0 for none, not {timeout!r}.")
    return seconds or None


def _fields(served: Served) -> frozenset[str]:
    return frozenset(_model_of(served.entrypoint).model_fields)


def _named_blocks(runtime: Runtime, given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters in which blocks that were chosen in Prefect's form are named: a job keeps the name of its scheduler.

    Raises:
        BadRun: there is no such block.
    """
    found = dict(given)
    for name, value in given.items():
        reference = value.get("$ref") if isinstance(value, Mapping) and set(value) == {"$ref"} else None
        if isinstance(reference, Mapping):
            reference = reference.get("block_document_id")
        if reference is not None:
            try:
                found[name] = runtime.prefect.ask(partial(PrefectApi.block_name, block_id=str(reference)))
            except RunGone as error:
                raise BadRun(f"{name}: there is no block with the id {reference}.") from error
    return found


def parameters_of(served: Served, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a flow, checked by the types of its signature, with its defaults.

    Raises:
        BadRun: some are missing, unknown, or have a bad value.
    """
    from pydantic import ValidationError

    try:
        found = _model_of(served.entrypoint)(**given)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, each['loc'])) or 'the parameters'}: {each['msg']}" for each in error.errors()[:_MOST]
        ]
        raise BadRun(f"Its parameters cannot be used. {'; '.join(problems)}.") from error
    except TypeError as error:
        raise BadRun(f"Its parameters cannot be used: {error}.") from error
    return {name: getattr(found, name) for name in type(found).model_fields}


@cache
def _model_of(entrypoint: str) -> Any:
    from pydantic import ConfigDict, create_model

    function = load_flow(entrypoint).fn
    hints = get_type_hints(function, include_extras=True)
    takes = inspect.signature(function).parameters
    named = {
        name: (hints.get(name, Any), ... if each.default is each.empty else each.default)
        for name, each in takes.items()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }
    takes_more = any(each.kind is each.VAR_KEYWORD for each in takes.values())
    config = ConfigDict(extra="allow" if takes_more else "forbid", arbitrary_types_allowed=True)
    fields: dict[str, Any] = named
    return create_model("Parameters", __config__=config, **fields)
