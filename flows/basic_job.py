"""The flow of a BASIC job: something that people or programs do elsewhere, and whose end they tell."""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from prefect_jobs.flows.run_job import run_type


@flow(name="basic-job", flow_run_name="{name}", description="A job without a scheduler: its status is set by hand.")
def basic_job(
    name: str,
    user: str = "prefect",
    description: str = "",
    extended_properties: dict[str, Any] = {},  # noqa: B006  (Prefect copies parameters)
    process_results_function: str = "",
    workspace: str = "",
    timeout: Annotated[float, Field(ge=0)] = 0,
    app: str = "prefect-jobs",
) -> dict[str, Any]:
    """Makes a BASIC job and waits until somebody sets a final status.

    Args:
        name: Name of the job, for people.
        user: Whose job it is.
        description: What it is about.
        extended_properties: Anything to be kept with the job.
        process_results_function: Dotted path of a function called when the job is complete.
        workspace: Folder of the job; relative ones are in the default one.
        timeout: Seconds to wait, after which the job is stopped; 0: for ever.
        app: Label of the app that the job belongs to.
    """
    return run_type("BASIC", locals())
