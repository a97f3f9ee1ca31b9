"""The flow of a CONDOR job: an executable on an HTCondor pool."""

from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import Field

from prefect_jobs.flows.run_job import run_type


@flow(name="condor-job", flow_run_name="{name}", description="A program on an HTCondor pool, outputs fetched.")
def condor_job(  # plain types with empty defaults: for the form in the Prefect UI, which shows them as fields
    name: str,
    executable: str = "",
    arguments: str | list[str] = [],  # noqa: B006  (Prefect copies parameters)
    remote_input_files: list[str] = [],  # noqa: B006
    num_jobs: Annotated[int, Field(ge=1)] = 1,
    scheduler: str = "",
    attributes: dict[str, Any] = {},  # noqa: B006
    condorpy_template_name: Literal[
        "vanilla_transfer_files", "vanilla_nfs", "vanilla_base", "base"
    ] = "vanilla_transfer_files",
    user: str = "prefect",
    description: str = "",
    workspace: str = "",
    extended_properties: dict[str, Any] = {},  # noqa: B006
    process_results_function: str = "",
    timeout: Annotated[float, Field(ge=0)] = 0,
    app: str = "prefect-jobs",
) -> dict[str, Any]:
    """Submits a program to HTCondor, waits for it, and fetches what it wrote.

    Args:
        name: Name of the job, for people.
        executable: The program, a file on the machine where the worker runs.
        arguments: What the program is called with; a list keeps spaces and quotes as they are.
        remote_input_files: Files that the program needs.
        num_jobs: Number of processes; each knows its number as $(Process) in the arguments.
        scheduler: Name of an HTCondor Scheduler block; empty: the worker machine's own HTCondor.
        attributes: More submit commands, for example {"request_memory": "2GB"}.
        condorpy_template_name: A set of submit commands to begin with.
        user: Whose job it is.
        description: What it is about.
        workspace: Folder under which the job's own directory is made; relative ones are in the default one.
        extended_properties: Anything to be kept with the job.
        process_results_function: Dotted path of a function called with the job when it is complete.
        timeout: Seconds to wait, after which the job is stopped; 0: for ever.
        app: Label of the app that the job belongs to.
    """
    return run_type("CONDOR", locals())
