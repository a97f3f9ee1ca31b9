"""The flow of a CONDOR job: an executable on an HTCondor pool."""

from typing import Annotated, Any, Literal

from prefect import flow

from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.flows.form import RESULT, titled
from prefect_jobs.flows.results import CondorResult
from prefect_jobs.flows.run_job import run_type


@flow(
    name="condor-job", flow_run_name="{name}", description="A program on an HTCondor pool, outputs fetched.", **RESULT
)
def condor_job(  # plain types with empty defaults: for the form in the Prefect UI, which shows them as fields
    name: Annotated[str, titled("Name")],
    executable: Annotated[str, titled("Program")] = "",
    arguments: Annotated[str | list[str], titled("Arguments")] = [],  # noqa: B006  (Prefect copies parameters)
    remote_input_files: Annotated[list[str], titled("Input files")] = [],  # noqa: B006
    num_jobs: Annotated[int, titled("Number of procs", ge=1)] = 1,
    scheduler: Annotated[CondorScheduler | str | None, titled("Scheduler")] = None,
    attributes: Annotated[dict[str, Any], titled("Submit commands")] = {},  # noqa: B006
    condorpy_template_name: Annotated[
        Literal["vanilla_transfer_files", "vanilla_nfs", "vanilla_base", "base"], titled("Template")
    ] = "vanilla_transfer_files",
    submit_file: Annotated[str, titled("Submit file")] = "",
    items: Annotated[list[dict[str, Any]], titled("Items")] = [],  # noqa: B006
    retry_with_memory: Annotated[list[str], titled("More memory")] = [],  # noqa: B006
    live_output: Annotated[bool, titled("Show its output live")] = False,
    user: Annotated[str, titled("User")] = "prefect",
    description: Annotated[str, titled("Description")] = "",
    workspace: Annotated[str, titled("Workspace")] = "",
    extended_properties: Annotated[dict[str, Any], titled("Extended properties")] = {},  # noqa: B006
    process_results_function: Annotated[str, titled("Results function")] = "",
    timeout: Annotated[float, titled("Timeout in seconds", ge=0)] = 0,
    app: Annotated[str, titled("App")] = "prefect-jobs",
) -> CondorResult:
    """Submits a program to HTCondor, waits for it, and fetches its outputs.

    Args:
        name: Name of the job.
        executable: The program, a file on the machine that submits the job.
        arguments: Arguments of the program; in a list, spaces and quotes stay unchanged.
        remote_input_files: Input files of the program.
        num_jobs: Number of procs; $(Process) in the arguments is the number of the proc.
        scheduler: An HTCondor Scheduler block, or its name. Empty: the one that is assigned to the app; if
            there is none, the local HTCondor of the machine that submits the job.
        attributes: More submit commands, for example {"request_memory": "2GB"}.
        condorpy_template_name: The submit commands to start from.
        submit_file: A submit description file on the machine that submits the job; the other fields win over it.
        items: Dicts with the same names, one for each proc, instead of a number; $(year) in any submit command is the
            value of "year" for that proc.
        retry_with_memory: Sizes such as "4GB": with the next larger one, a proc is released that HTCondor holds since
            it used more memory than requested.
        live_output: Whether its standard output and error are shown on the Logs tab once a minute while it runs.
        user: The user of the job.
        description: A description of the job.
        workspace: Folder for the job directory; a relative one is in the default workspace.
        extended_properties: Values that are stored with the job.
        process_results_function: Dotted path of a function called with the job when it is complete.
        timeout: Seconds until the job is stopped; 0: no limit.
        app: Label of the app of the job.
    """
    result: CondorResult = run_type("CONDOR", locals())
    return result
