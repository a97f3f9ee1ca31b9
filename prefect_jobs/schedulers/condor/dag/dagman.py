"""The submit description of DAGMan, for an access point of which only the address is known.

``Submit.from_dag`` needs ``condor_dagman`` on the client's PATH and puts the client's environment into the job. This
module does what condor_submit_dag would do at the access point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_jobs.naming import slug
from prefect_jobs.schedulers.condor.client import Dagman
from prefect_jobs.schedulers.condor.dag.file import DAG_NAME, FOLDER
from prefect_jobs.schedulers.condor.dag.staging import INPUTS
from prefect_jobs.schedulers.condor.submit.description import incoming
from prefect_jobs.schedulers.condor.submit.input_files import literal
from prefect_jobs.schedulers.condor.submit.written import write_environment, write_value

#: The outputs: everything in the folder of the DAG.
EVERYTHING = f"{FOLDER}/"
_DAG = f"{FOLDER}/{DAG_NAME}"
#: Seconds between two of DAGMan's updates of its own ad. Its default, 300, is too long for polls.
_UPDATE = "5"


@dataclass(frozen=True)
class Existing:
    """What an existing DAG file asks of its DAGMan."""

    #: Its folder, in the folder that is sent.
    folder: str
    environment: Mapping[str, str]
    #: Attributes of DAGMan's job.
    attributes: Mapping[str, str]


def logs(directories: Sequence[str], files: Sequence[str] = ()) -> str:
    """The outputs to fetch for the logs alone: DAGMan's, those of nodes in these directories, and these files."""
    folders = (f"{FOLDER}/{name}/logs" for name in dict.fromkeys(directories))
    return ", ".join([f"{_DAG}.dagman.out", *folders, *(f"{FOLDER}/{name}" for name in files)])


def describe(
    program: Dagman,
    *,
    stage: Path,
    directory: Path,
    name: str,
    token: str,
    config: Mapping[str, str],
    rescue: bool,
    existing: Existing | None = None,
) -> str:
    """The submit description of DAGMan.

    Args:
        program: DAGMan at the access point.
        stage: the folder that is sent (see :mod:`~prefect_jobs.schedulers.condor.dag.staging`).
        directory: the job directory of the workflow.
        name: the workflow's name.
        token: the submission token.
        config: DAGMan's configuration.
        rescue: whether it continues from a rescue DAG.
        existing: what an existing DAG file asks for; none: the DAG is ours.
    """
    run, *words = _command(program, existing)
    environment = _environment(program, config)
    if existing:
        back = "../" * (0 if existing.folder == "." else existing.folder.count("/") + 1)
        environment |= {"_CONDOR_DAGMAN_LOG": f"{back}{DAG_NAME}.dagman.out", **existing.environment}
    commands = {
        "universe": "scheduler",
        "executable": run,
        "transfer_executable": "False",
        "copy_to_spool": "False",
        "arguments": write_value("arguments", words),
        "environment": write_environment(environment),
        "initialdir": f"{literal(incoming(directory))}/0",
        "transfer_input_files": f"{literal(stage / FOLDER)}, {literal(stage / INPUTS)}",
        "transfer_output_files": EVERYTHING,
        "log": "workflow.log",
        "output": "dagman.out",
        "error": "dagman.err",
        "batch_name": slug(name),
        # When it is removed, it writes a rescue DAG, and its nodes are removed, too.
        "remove_kill_sig": "SIGUSR1",
        "My.OtherJobRemoveRequirements": '"DAGManJobId =?= $(cluster)"',
        # If it ends for an outside reason (the machine went down, it was killed), it is started again and recovers.
        # It exits with 3 to be started again; any other exit code is its end, as are those of ABORT-DAG-ON.
        "on_exit_remove": "(ExitSignal =?= 11 || (ExitCode =!= undefined && ExitCode >= 0 && ExitCode =!= 3))",
        # Its outputs wait until they are fetched, also after a removal; then it is removed from the queue.
        "leave_in_queue": "JobStatus == 4 || (JobStatus == 3 && LastJobStatus =!= 4)",
        **{f"My.{attribute}": value for attribute, value in (existing.attributes if existing else {}).items()},
        "My.PrefectJobsToken": f'"{token}"',
        "My.PrefectJobsRescue": "True" if rescue else "False",
    }
    return "".join(f"{command} = {value}\n" for command, value in commands.items())


def _command(program: Dagman, existing: Existing | None) -> list[str]:
    """DAGMan's program and its arguments."""
    binary, dag = f"{program.folder}/condor_dagman", DAG_NAME if existing else _DAG
    version = program.version.replace("'", "").replace('"', "")
    found = [binary, "-p", "0", "-f", "-l", ".", "-Lockfile", f"{dag}.lock", "-AutoRescue", "1", "-DoRescueFrom", "0"]
    found += ["-Dag", dag, "-Suppress_notification", "-CsdVersion", version, "-Dagman", binary]
    if not existing:
        return found
    # Its relative paths are meant from its folder: DAGMan takes the place of a shell that goes there.
    return ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "dagman", f"{FOLDER}/{existing.folder}", *found]


def _environment(program: Dagman, config: Mapping[str, str]) -> dict[str, str]:
    """DAGMan's environment. It contains its configuration, since DAGMan reads no configuration file by a relative path;
    inner DAGs inherit it. PATH is for condor_submit_dag and condor_rm, which DAGMan calls, and for scripts."""
    return {
        "_CONDOR_DAGMAN_QUEUE_UPDATE_INTERVAL": _UPDATE,
        **{f"_CONDOR_{macro}": value for macro, value in config.items()},
        "_CONDOR_DAGMAN_LOG": f"{_DAG}.dagman.out",
        "_CONDOR_MAX_DAGMAN_LOG": "0",
        "PATH": f"{program.folder}:/usr/local/bin:/usr/bin:/bin",
    }
