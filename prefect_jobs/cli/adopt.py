"""The command that takes over what is in a queue of HTCondor already."""

import getpass
from typing import Annotated

import typer

from prefect_jobs.cli.output import JsonOption, command, print_data, say
from prefect_jobs.cli.submit import DEFAULT, PackageOption, jobs_of
from prefect_jobs.jobs.summary import summary


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(adopt)


@command
def adopt(
    scheduler: Annotated[
        str, typer.Argument(metavar="SCHEDULER", help="The HTCondor Scheduler block; local: this machine's HTCondor.")
    ],
    remote_id: Annotated[str, typer.Argument(metavar="REMOTE_ID", help="The cluster, such as 123 or 123.0.")],
    name: Annotated[str, typer.Option(help="The name of the job; none: that of its batch or program.")] = "",
    app: PackageOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Take over a cluster or a running DAG as a job: it is followed, shown in Prefect, and can be stopped."""
    place = None if scheduler == "local" else scheduler
    job = jobs_of(app).adopt_job(name, getpass.getuser(), place, remote_id)
    # (a monitor may have changed its message already)
    say(f"job {job.id}: cluster {job.remote_id} is taken over; it is {job.cached_status}")
    print_data(summary(job) if as_json else job.id, as_json=as_json)
