"""The command that submits what an HTCondor user has: a submit file or a DAG file."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from prefect_jobs.app import App
from prefect_jobs.cli.jobs import wait_for
from prefect_jobs.cli.output import JsonOption, command, print_data, say
from prefect_jobs.jobs.summary import summary
from prefect_jobs.jobs.workflow.job import CondorWorkflow
from prefect_jobs.manager import JobManager

#: The app of jobs that belong to none.
DEFAULT = "default"


PackageOption = Annotated[str, typer.Option("--app", help="The package of the app that has the job.")]


def jobs_of(package: str) -> JobManager:
    """The jobs of an app of which only the package is known."""
    return JobManager(type("Submitted", (App,), {"name": package, "package": package}))


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(submit)


@command
def submit(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A submit file, or a DAG file: its name ends with .dag.")
    ],
    scheduler: Annotated[
        str | None, typer.Option(help="The name of an HTCondor Scheduler block; none: the HTCondor of this machine.")
    ] = None,
    name: Annotated[str, typer.Option(help="The name of the job; none: that of the file.")] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="COMMAND=VALUE",
            help="A submit command that wins over the file, or DAGMan's configuration; repeatable.",
        ),
    ] = None,
    app: PackageOption = DEFAULT,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job is over, as `prefect-jobs wait`.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a submit file as condor_submit would in its folder, or a DAG file as condor_submit_dag would."""
    wanted = _commands(set_ or [])
    is_dag = file.suffix.lower() == ".dag"
    what = {"dag_file": file, "config": wanted} if is_dag else {"submit_file": file, "attributes": wanted}
    job = jobs_of(app).create_job(
        name or file.stem,
        getpass.getuser(),
        job_type="CONDORWORKFLOW" if is_dag else "CONDOR",
        scheduler=scheduler,
        **what,
    )
    job.execute()
    count = len(job.nodes) if isinstance(job, CondorWorkflow) else getattr(job, "num_jobs", 1)
    one, many = ("node", "nodes") if is_dag else ("process", "processes")
    say(f"job {job.id}: {count} {one if count == 1 else many} in cluster {job.handle.record.remote_id}")
    if wait:
        wait_for(job, as_json=as_json)
        return
    print_data(summary(job) if as_json else job.id, as_json=as_json)


def _commands(given: list[str]) -> dict[str, str]:
    """
    Raises:
        ValueError: not COMMAND=VALUE.
    """
    found = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise ValueError(f"--set takes COMMAND=VALUE, such as request_memory=2GB, not {text!r}.")
        found[name.strip()] = value.strip()
    return found
