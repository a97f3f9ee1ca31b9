"""The flow of a DASK job: a function on a Dask cluster. In an engine's run each call is a task run."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from prefect_jobs import statuses
from prefect_jobs.blocks import DaskScheduler
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.flows.form import RESULT, titled
from prefect_jobs.flows.results import JobResult
from prefect_jobs.flows.run_job import has_job, run_type
from prefect_jobs.jobs import polling, submission
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.dask.job import DaskJob
from prefect_jobs.schedulers.dask.calls import checked
from prefect_jobs.schedulers.dask.connection import DaskAccess, security_of


@flow(name="dask-job", flow_run_name="{name}", description="A function on a Dask cluster.", **RESULT)
def dask_job(  # plain types with empty defaults: for the form in the Prefect UI, which shows them as fields
    name: Annotated[str, titled("Name")],
    function: Annotated[str, titled("Function")] = "",
    arguments: Annotated[list[Any], titled("Arguments")] = [],  # noqa: B006  (Prefect copies parameters)
    keyword_arguments: Annotated[dict[str, Any], titled("Keyword arguments")] = {},  # noqa: B006
    map_over: Annotated[list[Any] | None, titled("Map over")] = None,
    scheduler: Annotated[DaskScheduler | str | None, titled("Scheduler")] = None,
    user: Annotated[str, titled("User")] = "prefect",
    description: Annotated[str, titled("Description")] = "",
    extended_properties: Annotated[dict[str, Any], titled("Extended properties")] = {},  # noqa: B006
    process_results_function: Annotated[str, titled("Results function")] = "",
    forget: Annotated[bool, titled("Forget the result")] = False,
    timeout: Annotated[float, titled("Timeout in seconds", ge=0)] = 0,
    app: Annotated[str, titled("App")] = "prefect-jobs",
) -> JobResult:
    """Calls a function on a Dask cluster, waits for it, and stores its return value as the result of the job.

    Read the result with job.result, in any process, at any time. A retry of the run waits for calls that still run; if
    the job is over, it calls the function again. In a run that the flow engine executes, each call is a task run.

    Args:
        name: Name of the job.
        function: The function, as module.function; the workers of the cluster import it.
        arguments: The positional arguments.
        keyword_arguments: The keyword arguments.
        map_over: If given, the function is called once for each item, which comes before the arguments; the result is
            a list.
        scheduler: A Dask Scheduler block, or its name. Empty: the one that is assigned to the app; if there
            is none, a cluster on the machine that submits the job.
        user: The user of the job.
        description: A description of the job.
        extended_properties: Values that are stored with the job.
        process_results_function: Dotted path of a function called with the result when the job is complete.
        forget: Pass the result to the results function only; do not store it.
        timeout: Seconds until the job is stopped; 0: no limit.
        app: Label of the app of the job.
    """
    parameters = dict(locals())
    own = function != "" or not has_job()
    if own:
        checked(function)
    if map_over is not None and not map_over:
        raise ValueError("map_over is an empty list: there is nothing to call the function with.")
    calls = [[item, *arguments] for item in map_over] if map_over else [list(arguments)]
    # The job of an app has its work already; the run's parameters do not contain it.
    submit = partial(_submit, function, calls, keyword_arguments, mapped=bool(map_over)) if own else None
    result: JobResult = run_type("DASK", parameters, submit)
    return result


def _submit(
    function: str, calls: list[list[Any]], keyword_arguments: dict[str, Any], job: Job, *, mapped: bool
) -> None:
    """Submits the calls to the cluster as task runs, and their return values to the job.

    The futures of the calls are states of task runs. The job gets futures of the values in these states, so it ends as
    other jobs do: with values, or with the exceptions of the function. The cluster keeps them for the job, without a
    client of this process.
    """
    from distributed import Client
    from prefect_dask.task_runners import DaskTaskRunner

    assert isinstance(job, DaskJob)  # noqa: S101  (run_job makes it)
    job.save()
    if job.cached_status == statuses.PENDING:
        polling.poll_once(job)  # finds calls that were submitted by a process that died
        if job.cached_status != statuses.PENDING:
            return
    try:
        client = job.client
    except SchedulerConnectionError as error:
        raise submission.refused(job, error) from error
    block = job.scheduler
    access = block.access() if block is not None else DaskAccess()
    security = security_of(access)
    more: dict[str, Any] = {} if security is None else {"security": security}
    runner = DaskTaskRunner(
        address=client.scheduler.address, client_kwargs={"timeout": access.seconds, "set_as_default": False, **more}
    )
    short = function.rpartition(".")[2]
    # The runner prefers the current client's cluster to the address.
    with Client.as_current(client), runner:
        results = []
        for number, arguments in enumerate(calls):
            called = call.with_options(name=short, task_run_name=f"{short} {number}" if mapped else short)
            parameters = {"function": function, "arguments": arguments, "keyword_arguments": keyword_arguments}
            future = runner.submit(called, parameters=parameters)
            key = f"{short}-{future.task_run_id}"
            results.append(runner.client.submit(_value_of, future.wrapped_future, key=key))  # type: ignore[no-untyped-call]
        submission.execute(job, (results if mapped else results[0],), {}, again=True)


@task(persist_result=False, cache_policy=NO_CACHE, log_prints=True)
def call(function: str, arguments: list[Any], keyword_arguments: dict[str, Any]) -> Any:
    """Calls a function by its import path."""
    module, _, name = function.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found(*arguments, **keyword_arguments)


def _value_of(state: State[Any]) -> Any:
    """The return value of a task run; raises its exception."""
    value: Any = state.result(_sync=True)  # type: ignore[call-overload]
    return value
