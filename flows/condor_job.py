"""The flow of a CONDOR job: an executable on an HTCondor pool."""

from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import Field

from prefect_jobs.flows.run_job import run_job


@flow(name="condor-job", flow_run_name="{name}", description="A program on an HTCondor pool, outputs fetched.")
def condor_job(
    name: str,
    executable: str | None = None,
    arguments: str | list[str] | None = None,
    remote_input_files: list[str] | None = None,
    num_jobs: Annotated[int, Field(ge=1)] = 1,
    scheduler: str | None = None,
    attributes: dict[str, Any] | None = None,
    condorpy_template_name: (Literal["base", "vanilla_base", "vanilla_transfer_files", "vanilla_nfs"] | None) = None,
    user: str = "prefect",
    description: str | None = None,
    workspace: str | None = None,
    extended_properties: dict[str, Any] | None = None,
    process_results_function: str | None = None,
    timeout: Annotated[float | None, Field(gt=0)] = None,
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
        workspace: Folder under which the job's own directory is made.
        extended_properties: Anything to be kept with the job.
        process_results_function: Dotted path of a function called with the job when it is complete.
        timeout: Seconds to wait, after which the job is stopped; empty: for ever.
        app: Label of the app that the job belongs to.
    """
    commands = dict(attributes or {})
    if executable is not None:
        commands["executable"] = executable
    if arguments is not None:
        commands["arguments"] = arguments
    return run_job(
        "CONDOR",
        app=app,
        name=name,
        user=user,
        timeout=timeout,
        options={
            "attributes": commands,
            "condorpy_template_name": condorpy_template_name,
            "remote_input_files": remote_input_files,
            "num_jobs": num_jobs,
            "scheduler": scheduler,
            "description": description,
            "workspace": workspace,
            "extended_properties": extended_properties,
            "process_results_function": process_results_function,
        },
    )
