"""The flow of a CONDORWORKFLOW job: a DAG on an HTCondor pool."""

from typing import Annotated, Any

from prefect import flow

from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.flows.form import RESULT, titled
from prefect_jobs.flows.results import WorkflowResult
from prefect_jobs.flows.run_job import run_type


@flow(
    name="condor-workflow",
    flow_run_name="{name}",
    description="A DAG of programs on an HTCondor pool, each node a task run, outputs fetched.",
    **RESULT,
)
def condor_workflow(  # plain types with empty defaults: for the form in the Prefect UI, which shows them as fields
    name: Annotated[str, titled("Name")],
    nodes: Annotated[list[dict[str, Any]], titled("Nodes")] = [],  # noqa: B006  (Prefect copies parameters)
    max_jobs: Annotated[dict[str, int], titled("Throttles")] = {},  # noqa: B006
    config: Annotated[dict[str, Any], titled("Configuration of DAGMan")] = {},  # noqa: B006
    dag_file: Annotated[str, titled("DAG file")] = "",
    remote_input_files: Annotated[list[str], titled("More files of the DAG file")] = [],  # noqa: B006
    scheduler: Annotated[CondorScheduler | str | None, titled("Scheduler")] = None,
    user: Annotated[str, titled("User")] = "prefect",
    description: Annotated[str, titled("Description")] = "",
    workspace: Annotated[str, titled("Workspace")] = "",
    extended_properties: Annotated[dict[str, Any], titled("Extended properties")] = {},  # noqa: B006
    process_results_function: Annotated[str, titled("Results function")] = "",
    timeout: Annotated[float, titled("Timeout in seconds", ge=0)] = 0,
    app: Annotated[str, titled("App")] = "prefect-jobs",
) -> WorkflowResult:
    """Submits a DAG to HTCondor's DAGMan, waits for it, and fetches the outputs of its nodes. A retry of the run
    continues where it failed.

    Args:
        name: Name of the job.
        nodes: The nodes, each with its name, its parents (names) and attributes (submit commands); more fields are
            pre_script, post_script, retry, category, … as in the documentation.
        max_jobs: The number of nodes of each category that may run at once, for example {"big": 2}.
        config: DAGMan's configuration, for example {"DAGMAN_MAX_JOBS_IDLE": 100}.
        dag_file: A DAG file on the machine that submits the job, instead of nodes.
        remote_input_files: Files and directories that the DAG file needs and that no command of it names.
        scheduler: An HTCondor Scheduler block, or its name. Empty: the one that is assigned to the app; if
            there is none, the local HTCondor of the machine that submits the job.
        user: The user of the job.
        description: A description of the job.
        workspace: Folder for the job directory; a relative one is in the default workspace.
        extended_properties: Values that are stored with the job.
        process_results_function: Dotted path of a function called with the job when it is complete.
        timeout: Seconds until the job is stopped; 0: no limit.
        app: Label of the app of the job.
    """
    result: WorkflowResult = run_type("CONDORWORKFLOW", locals())
    return result
