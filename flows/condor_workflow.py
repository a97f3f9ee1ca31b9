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
    """Submits a DAG to HTCondor's DAGMan, waits for it, and fetches the outputs of its nodes. A retry of the run
    continues where it failed.

    Args:
        name: Name of the job.
        nodes: The nodes, each with its name, its parents (names) and attributes (submit commands); more fields are
            pre_script, post_script, retry, category, … as in the documentation.
        max_jobs: The number of nodes of each category that may run at once, for example {"big": 2}.
        config: DAGMan's configuration, for example {"DAGMAN_MAX_JOBS_IDLE": 100}.
        scheduler: Name of an HTCondor Scheduler block; empty: the local HTCondor of the worker's machine.
        user: The user of the job.
        description: A description of the job.
        workspace: Folder for the job directory; a relative one is in the default workspace.
        extended_properties: Values that are stored with the job.
        process_results_function: Dotted path of a function called with the job when it is complete.
        timeout: Seconds until the job is stopped; 0: no limit.
        app: Label of the app of the job.
    """
    return run_type("CONDORWORKFLOW", locals())
