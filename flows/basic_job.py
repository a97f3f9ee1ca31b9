"""The flow of a BASIC job: work that people or programs do elsewhere, and whose status they set."""

from typing import Annotated, Any

from prefect import flow

from prefect_jobs.flows.form import RESULT, titled
from prefect_jobs.flows.results import JobResult
from prefect_jobs.flows.run_job import run_type


@flow(
    name="basic-job",
    flow_run_name="{name}",
    description="A job without a scheduler: people or programs set its status.",
    **RESULT,
)
def basic_job(
    name: Annotated[str, titled("Name")],
    user: Annotated[str, titled("User")] = "prefect",
    description: Annotated[str, titled("Description")] = "",
    extended_properties: Annotated[dict[str, Any], titled("Extended properties")] = {},  # noqa: B006  (Prefect copies parameters)
    process_results_function: Annotated[str, titled("Results function")] = "",
    workspace: Annotated[str, titled("Workspace")] = "",
    timeout: Annotated[float, titled("Timeout in seconds", ge=0)] = 0,
    app: Annotated[str, titled("App")] = "prefect-jobs",
) -> JobResult:
    """Creates a BASIC job and waits until its status is set to a terminal one.

    Args:
        name: Name of the job.
        user: The user of the job.
        description: A description of the job.
        extended_properties: Values that are stored with the job.
        process_results_function: Dotted path of a function called when the job is complete.
        workspace: Folder of the job; a relative one is in the default workspace.
        timeout: Seconds until the job is stopped; 0: no limit.
        app: Label of the app of the job.
    """
    result: JobResult = run_type("BASIC", locals())
    return result
