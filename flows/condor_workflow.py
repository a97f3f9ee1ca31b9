"""The flow of a CONDORWORKFLOW job: a DAG on an HTCondor pool."""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from prefect_jobs.flows.run_job import run_type


@flow(
    name="condor-workflow",
    flow_run_name="{name}",
    description="A DAG of programs on an HTCondor pool, each node a task run, outputs fetched.",
)
def condor_workflow(  # plain types with empty defaults: for the form in the Prefect UI, which shows them as fields
    name: str,
    nodes: list[dict[str, Any]] = [],  # noqa: B006  (Prefect copies parameters)
    max_jobs: dict[str, int] = {},  # noqa: B006
    config: dict[str, Any] = {},  # noqa: B006
    scheduler: str = "",
    user: str = "prefect",
    description: str = "",
    workspace: str = "",
    extended_properties: dict[str, Any] = {},  # noqa: B006
    process_results_function: str = "",
    timeout: Annotated[float, Field(ge=0)] = 0,
    app: str = "prefect-jobs",
) -> dict[str, Any]:
    """Submits a DAG to HTCondor's DAGMan, waits for it, and fetches what its nodes wrote. A retry of the run goes on
    from where it failed.

    Args:
        name: Name of the job, for people.
        nodes: The nodes, each with its name, its parents (names) and attributes (submit commands); more fields are
            pre_script, post_script, retry, category, … as in the documentation.
        max_jobs: How many nodes of a category may be at work at once, for example {"big": 2}.
        config: DAGMan's configuration, for example {"DAGMAN_MAX_JOBS_IDLE": 100}.
        scheduler: Name of an HTCondor Scheduler block; empty: the worker machine's own HTCondor.
        user: Whose job it is.
        description: What it is about.
        workspace: Folder under which the job's own directory is made; relative ones are in the default one.
        extended_properties: Anything to be kept with the job.
        process_results_function: Dotted path of a function called with the job when it is complete.
        timeout: Seconds to wait, after which the job is stopped; 0: for ever.
        app: Label of the app that the job belongs to.
    """
    return run_type("CONDORWORKFLOW", locals())
