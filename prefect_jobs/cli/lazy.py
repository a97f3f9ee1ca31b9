"""A group of commands that imports the module of the command that is called, and no other: the modules of commands
import Prefect, the web app and clients of schedulers, which takes seconds."""

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

#: Command → its module in ``prefect_jobs.cli``, and what the list of commands says of it. The order is that of the
#: list, and the text that of the command itself.
COMMANDS = {
    "list": ("jobs", "List jobs, as last known."),
    "show": ("jobs", "Show all that is known about a job."),
    "wait": (
        "jobs",
        "Wait until a job is over, and print each change of its status; exit status 0 only if it ended as Complete.",
    ),
    "logs": ("jobs", "Print the messages of a job, then its logs (standard output and error, HTCondor's log)."),
    "stop": ("jobs", "Stop the work of jobs."),
    "pause": ("jobs", "Hold the work of jobs."),
    "resume": ("jobs", "Resume paused or held jobs."),
    "resubmit": ("jobs", "Submit jobs again after they are over; a workflow continues from where it failed."),
    "delete": ("jobs", "Delete jobs: stop them if they are active, remove them and their flow runs."),
    "check": ("schedulers", "Connect to a scheduler and report what is there."),
    "assign": ("schedulers", "Assign a saved scheduler block to a setting of an app."),
    "deploy": ("deploy", "Register in Prefect the blocks, and a deployment for each app and job type."),
    "monitor": (
        "monitor",
        "Watch all jobs of all apps, fetch outputs, and do what people ask for in Prefect, until SIGTERM or Ctrl-C.",
    ),
    "serve": ("serve", "Serve the web app and run the monitor, until Ctrl-C or SIGTERM."),
    "submit": (
        "submit",
        "Submit a submit file as condor_submit would in its folder, or a DAG file as condor_submit_dag would.",
    ),
    "adopt": (
        "adopt",
        "Take over a cluster or a running DAG as a job: it is followed, shown in Prefect, and can be stopped.",
    ),
    "watch": (
        "watch",
        "Show the jobs in a live table. Keys filter it, stop, pause and resume a job, and open its logs.",
    ),
    "demo": ("demo", "Run real jobs of each type on services of its own, with a live table; ends by itself."),
    "condor": ("condor", "A personal HTCondor pool on this machine: real daemons, no root needed."),
    "db": ("database", "The database of jobs."),
    "schedules": ("schedules", "List schedules, and start, pause or delete them."),
    "schedulers": ("schedulers", "List the saved scheduler blocks, add and remove them."),
}


class LazyGroup(TyperGroup):
    """Lists all commands, and loads one when it is called."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, (_, text) in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=text)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, with its own options."""
        if args and args[0] in COMMANDS:
            self.commands[args[0]] = load(args[0])
        return super().resolve_command(ctx, args)


def load(name: str) -> Any:
    """The command of that name, or the group of commands."""
    app = typer.Typer()
    importlib.import_module(f"prefect_jobs.cli.{COMMANDS[name][0]}").register(app)
    return typer.main.get_group(app).commands[name]
