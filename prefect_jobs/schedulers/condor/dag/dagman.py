"""The submit description of DAGMan, for an access point of which only the address is known.

``Submit.from_dag`` needs ``condor_dagman`` on the client's PATH and puts the client's environment into the job. This
module does what condor_submit_dag would do at the access point.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect_jobs.naming import slug
from prefect_jobs.schedulers.condor.client import Dagman
from prefect_jobs.schedulers.condor.dag.file import DAG_NAME, FOLDER
from prefect_jobs.schedulers.condor.dag.staging import INPUTS
from prefect_jobs.schedulers.condor.submit.description import incoming
from prefect_jobs.schedulers.condor.submit.input_files import literal
from prefect_jobs.schedulers.condor.submit.written import write_environment

#: The outputs: everything in the folder of the DAG.
EVERYTHING = f"{FOLDER}/"
_DAG = f"{FOLDER}/{DAG_NAME}"
#: Seconds between two of DAGMan's updates of its own ad. Its default, 300, is too long for polls.
_UPDATE = "5"


def logs(directories: Sequence[str]) -> str:
    """The outputs to fetch for the logs alone: DAGMan's, and those of nodes in these directories."""
    return ", ".join([f"{_DAG}.dagman.out", *(f"{FOLDER}/{name}/logs" for name in dict.fromkeys(directories))])


def describe(
    program: Dagman,
    *,
    stage: Path,
    directory: Path,
    name: str,
    token: str,
    config: Mapping[str, str],
    rescue: bool,
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
    """
    binary = f"{program.folder}/condor_dagman"
    version = program.version.replace("'", "").replace('"', "")
    arguments = (
        f"-p 0 -f -l . -Lockfile {_DAG}.lock -AutoRescue 1 -DoRescueFrom 0 -Dag {_DAG} -Suppress_notification "
        f"-CsdVersion '{version}' -Dagman {binary}"
    )
    commands = {
        "universe": "scheduler",
        "executable": binary,
        "transfer_executable": "False",
        "copy_to_spool": "False",
        "arguments": f'"{arguments}"',
        "environment": write_environment(_environment(program, config)),
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
        "My.PrefectJobsToken": f'"{token}"',
        "My.PrefectJobsRescue": "True" if rescue else "False",
    }
    return "".join(f"{command} = {value}\n" for command, value in commands.items())


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
