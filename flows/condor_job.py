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
    """Submits a program to HTCondor, waits for it, and fetches its outputs.

    Args:
        name: Name of the job.
        executable: The program, a file on the machine where the worker runs.
        arguments: Arguments of the program; in a list, spaces and quotes stay unchanged.
        remote_input_files: Input files of the program.
        num_jobs: Number of procs; $(Process) in the arguments is the number of the proc.
        scheduler: Name of an HTCondor Scheduler block; empty: the local HTCondor of the worker's machine.
        attributes: More submit commands, for example {"request_memory": "2GB"}.
        condorpy_template_name: The submit commands to start from.
        user: The user of the job.
        description: A description of the job.
        workspace: Folder for the job directory; a relative one is in the default workspace.
        extended_properties: Values that are stored with the job.
        process_results_function: Dotted path of a function called with the job when it is complete.
        timeout: Seconds until the job is stopped; 0: no limit.
        app: Label of the app of the job.
    """
    return run_type("CONDOR", locals())
