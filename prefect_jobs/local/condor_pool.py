"""A personal HTCondor pool on this machine: real daemons, on loopback, secured by tokens as a real pool is.

Daemons and jobs all run as one user of this machine. A token therefore tells owners of jobs apart. It does not protect
files and processes of a job, or of the pool, from another job.
"""

import json
import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local import condor_tools, processes
from prefect_jobs.local.condor_config import (
    PoolInfo,
    PoolLayout,
    client_config,
    daemon_config,
    dagman_wrapper,
)
from prefect_jobs.local.condor_packages import CondorInstallation, Report, find_condor
from prefect_jobs.local.files import locked, make_directory, replace_text, tail
from prefect_jobs.local.processes import LOOPBACK, ProcessRecord

__all__ = ["PersonalPool", "PoolInfo", "PoolStatus", "state_directory"]

_UP_TIMEOUT_SECONDS = 60
_DOWN_TIMEOUT_SECONDS = 15

# The address of a Unix socket has at most 108 characters (unix(7)). HTCondor adds up to 40 to the folder's path.
_LONGEST_SOCKET_DIRECTORY = 60

_JOB_STATUSES = {
    "1": "idle",
    "2": "running",
    "3": "removed",
    "4": "completed",
    "5": "held",
    "6": "transferring output",
    "7": "suspended",
}


@dataclass(frozen=True)
class PoolStatus:
    """The status of a personal pool."""

    up: bool
    info: PoolInfo | None = None
    """None if the pool has never been up."""
    answering: bool = False
    """Whether its access point and its central manager have answered."""
    daemons: tuple[str, ...] = ()
    """Names of the running daemons, such as `condor_schedd`, in alphabetical order."""
    slots: int = 0
    """The partitionable slot, and one slot for each running job."""
    jobs: Mapping[str, int] = field(default_factory=dict)
    """Number of jobs in the queue by status: `idle`, `running`, `held`, …; zeros are left out."""


def _unheard(text: str) -> None:
    """Drops a report."""


class PersonalPool:
    """A personal pool, by its name or its folder. Several can be up side by side."""

    def __init__(self, directory: Path | None = None, name: str = "default") -> None:
        """Name a pool, without reading or starting anything.

        Its folder is `directory`, else `pools/<name>` in `state_directory()`. Raises LocalPartError for a
        name that is not made of lower-case letters, digits and hyphens.
        """
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
            raise LocalPartError(
                f"{name!r} cannot name a personal pool: use up to 32 lower-case letters, digits and hyphens."
            )
        self.name = name
        self.layout = PoolLayout((directory or state_directory() / "pools" / name).absolute())

    def up(
        self,
        *,
        cpus: int | None = None,
        memory_mb: int | None = None,
        port: int | None = None,
        identities: Sequence[str] = (),
        report: Report = _unheard,
    ) -> PoolInfo:
        """Start the pool and wait until it accepts and runs jobs. A running pool stays unchanged and is reported.

        The pool has `cpus` cores (default: the machine's) and `memory_mb` MiB (default: the machine's) in one
        partitionable slot, and listens on `port` (default: the last one if it is free, else a free one). Each of
        `identities` gets a folder with a token, see `export_token`. Steps that take time are passed to `report`.
        Raises LocalPartError, with the ends of the daemons' logs, if the pool does not start; then nothing is left
        running.
        """
        try:
            with self._locked():
                info = self._running()
                if info is None:
                    info = self._start(find_condor(report), cpus, memory_mb, port, report)
                elif report is not _unheard:
                    self._report_running(info, {"cpus": cpus, "memory": memory_mb, "port": port}, report)
        except OSError as error:
            folder = self.layout.directory
            raise LocalPartError(f"The pool {self.name!r} cannot be created in {folder}: {error}.") from error
        for identity in identities:
            self.export_token(identity)
        return info

    def down(self, *, remove: bool = False) -> bool:
        """Stop all daemons and all processes of jobs; returns whether anything was running.

        The next `up` has the same queue, signing key and port, and starts running jobs again. `remove` removes the
        folder of the pool with all of these. Raises LocalPartError if a process cannot be stopped.
        """
        if not self.layout.record.exists():
            return False
        with self._locked():
            stopped = self._stop()
            if remove:
                shutil.rmtree(self.layout.directory)
        return stopped

    def status(self) -> PoolStatus:
        """The status of the pool, also if it is down or does not answer."""
        info = self._info()
        master = processes.read_record(self.layout.pid)
        if info is None or master is None or not processes.is_running(master):
            return PoolStatus(up=False, info=info)
        daemons = _names_of(master)
        try:
            statuses = condor_tools.ask(self.layout, "condor_q", "-allusers", "-af", "JobStatus")
            slots = condor_tools.ask(self.layout, "condor_status", "-af", "Name")
        except LocalPartError:
            return PoolStatus(up=True, info=info, daemons=daemons)
        jobs = Counter(_JOB_STATUSES.get(status, "other") for status in statuses)
        return PoolStatus(True, info, True, daemons, len(slots), dict(sorted(jobs.items())))

    def env(self) -> dict[str, str]:
        """The environment variables that a program needs to use the pool: CONDOR_CONFIG, and PATH with the tools.

        The program then has the identity `PoolInfo.identity`. It may steer all jobs, since the schedd runs as a user
        of that name. Raises LocalPartError if the pool is down.
        """
        self._require_up()
        path = os.environ.get("PATH", os.defpath)
        return {
            "CONDOR_CONFIG": str(self.layout.client_config),
            "PATH": f"{self.layout.bin}{os.pathsep}{path}",
        }

    def token(self, identity: str) -> str:
        """A new token for an identity, such as `alice`; it does not expire.

        Raises LocalPartError if the pool is down, or if the identity cannot own jobs.
        """
        return condor_tools.new_token(self.layout, self._require_up(), identity)

    def export_token(self, identity: str) -> Path:
        """A private folder with a new token for an identity, for use as SEC_TOKEN_DIRECTORY.

        Raises LocalPartError if the pool is down, or if the identity cannot own jobs.
        """
        folder = self.layout.identities / identity
        condor_tools.write_token(self.layout, self._require_up(), identity, folder)
        return folder

    # Starting and stopping

    def _locked(self) -> AbstractContextManager[None]:
        directory = self.layout.directory
        make_directory(directory.parent, _folder_mode())
        return locked(directory.with_name(f".{directory.name}.lock"))

    def _report_running(self, info: PoolInfo, wanted: Mapping[str, int | None], report: Report) -> None:
        """Reports the resources of a running pool, and how to change them if others are requested."""
        try:
            slots = condor_tools.ask(
                self.layout, "condor_status", "-af", "SlotType", "TotalSlotCpus", "TotalSlotMemory"
            )
        except LocalPartError:
            slots = []  # the pool does not answer; `status` reports it
        whole = next((words[1:] for words in map(str.split, slots) if words[0] == "Partitionable"), ["?", "?"])
        runs = {"cpus": whole[0], "memory": whole[1], "port": str(info.port)}
        text = f"The pool {self.name!r} is already up, with {runs['cpus']} CPUs and {runs['memory']} MB of memory"
        other = [f"--{key} {value}" for key, value in wanted.items() if value is not None and str(value) != runs[key]]
        if other:
            name = "" if self.name == "default" else f" --name {self.name}"
            text += (
                f", on port {info.port}. It stays unchanged. To change it: prefect-jobs condor down{name}, then "
                f"prefect-jobs condor up{name} {' '.join(other)}. Running jobs then start again"
            )
        report(f"{text}.")

    def _start(
        self,
        condor: CondorInstallation,
        cpus: int | None,
        memory_mb: int | None,
        port: int | None,
        report: Report,
    ) -> PoolInfo:
        self._stop()
        info = self._plan(condor, port)
        try:
            self._lay_out(condor, info, cpus or os.cpu_count() or 1, memory_mb)
            report(f"Starting HTCondor {condor.version}")
            master = processes.start_daemon(
                [str(condor.sbin / "condor_master"), "-f"],
                log=self.layout.output,
                env=condor_tools.environment(self.layout, self.layout.config),
                user=processes.unprivileged_user(),
                cwd=self.layout.directory,
            )
            processes.write_record(self.layout.pid, master)
            self._wait_until_ready(master)
        except BaseException:
            self._stop()
            shutil.rmtree(info.sockets, ignore_errors=True)
            raise
        report(f"The pool {self.name!r} is up at {info.host}:{info.port}")
        return info

    def _plan(self, condor: CondorInstallation, port: int | None) -> PoolInfo:
        directory = self.layout.directory
        before = self._info()
        if before is None and directory.exists() and any(directory.iterdir()):
            raise LocalPartError(
                f"{directory} is not empty and not the folder of a personal pool: choose another folder."
            )
        if port is None:
            again = before is not None and processes.port_is_free(before.port)
            port = before.port if before is not None and again else processes.free_port()
        elif not processes.port_is_free(port):
            raise LocalPartError(f"Port {port} is taken: the pool {self.name!r} cannot listen on it.")
        daemon_user = processes.unprivileged_user()
        user = daemon_user.name if daemon_user else processes.user_name()
        identity = re.sub(r"[^A-Za-z0-9_.-]", "_", user)
        sockets = directory / "sock"
        if len(str(sockets)) > _LONGEST_SOCKET_DIRECTORY:
            sockets = Path(tempfile.mkdtemp(prefix="condor-", dir="/tmp"))
        return PoolInfo(
            name=self.name,
            directory=directory,
            host=LOOPBACK,
            port=port,
            trust_domain=f"{self.name}.pool.localhost",
            version=condor.version,
            identity=identity if condor_tools.may_own_jobs(identity) else "submitter",
            user=user,
            sockets=sockets,
        )

    def _lay_out(self, condor: CondorInstallation, info: PoolInfo, cpus: int, memory_mb: int | None) -> None:
        layout = self.layout
        daemon_user = processes.unprivileged_user()
        make_directory(layout.directory, _folder_mode())
        replace_text(layout.record, json.dumps(asdict(info), default=str, indent=2) + "\n")
        make_directory(layout.client, 0o755)
        make_directory(layout.identities, 0o700)
        make_directory(layout.key_directory, 0o755)
        for folder, mode in (layout.of_daemons | {info.sockets: 0o755}).items():
            make_directory(folder, mode)
            if daemon_user:
                os.chown(folder, daemon_user.uid, daemon_user.gid)
        if daemon_user:
            for folder in (layout.directory, condor.sbin, condor.libexec):
                processes.require_entry(folder, daemon_user)
        if not layout.key.exists():
            # Text, since HTCondor reads a key up to the first zero byte.
            replace_text(layout.key, secrets.token_hex(32), 0o600)
        if daemon_user:
            os.chown(layout.key, daemon_user.uid, daemon_user.gid)
        replace_text(layout.config, daemon_config(layout, condor, info, cpus=cpus, memory_mb=memory_mb))
        replace_text(layout.client_config, client_config(layout, condor, info))
        self._link_tools(condor, info)
        condor_tools.write_token(layout, info, info.identity, layout.client_tokens)

    def _link_tools(self, condor: CondorInstallation, info: PoolInfo) -> None:
        folder = self.layout.bin
        shutil.rmtree(folder, ignore_errors=True)
        make_directory(folder, 0o755)
        tools = {tool.name: tool for place in (condor.sbin, condor.bin) for tool in place.glob("condor_*")}
        for name, tool in tools.items():
            if name != "condor_dagman":
                (folder / name).symlink_to(tool)
        replace_text(folder / "condor_dagman", dagman_wrapper(self.layout, condor, info), 0o755)

    def _wait_until_ready(self, master: ProcessRecord) -> None:
        deadline = time.monotonic() + _UP_TIMEOUT_SECONDS
        while True:
            if not processes.is_running(master):
                raise self._failed("its condor_master has exited")
            try:
                condor_tools.ask(self.layout, "condor_q", "-allusers", "-af", "ClusterId")
                if condor_tools.ask(self.layout, "condor_status", "-af", "Name"):
                    return
                problem = "there is no slot"
            except LocalPartError as error:
                problem = str(error)
            if time.monotonic() > deadline:
                raise self._failed(f"after {_UP_TIMEOUT_SECONDS} seconds, {problem}")
            time.sleep(0.1)

    def _stop(self) -> bool:
        """Stop all that the last `up` started, even if its master is gone."""
        master = processes.read_record(self.layout.pid)
        if master is None:
            return False
        # Each process of a pool, and of its jobs, has a variable with the master's pid in its name, and variables
        # with paths of the pool. SIGQUIT is HTCondor's fast shutdown: running jobs are killed and queued again.
        ancestor, folder = f"_CONDOR_ANCESTOR_{master.pid}", f"{self.layout.directory}{os.sep}"
        stopped = processes.stop(
            master,
            _DOWN_TIMEOUT_SECONDS,
            first=signal.SIGQUIT,
            belongs=lambda env: ancestor in env and any(folder in value for value in env.values()),
        )
        info = self._info()
        if info is not None:
            shutil.rmtree(info.sockets, ignore_errors=True)
        self.layout.pid.unlink()
        return stopped

    def _failed(self, what: str) -> LocalPartError:
        logs = [self.layout.output, *sorted(self.layout.log.glob("*Log"))]
        tails = "\n".join(f"--- {log.name}\n{tail(log)}" for log in logs)
        return LocalPartError(f"The personal HTCondor pool {self.name!r} did not start: {what}.\n{tails}")

    # Reading the record

    def _info(self) -> PoolInfo | None:
        try:
            known = json.loads(self.layout.record.read_text())
            return PoolInfo(**{**known, "directory": Path(known["directory"]), "sockets": Path(known["sockets"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _running(self) -> PoolInfo | None:
        master = processes.read_record(self.layout.pid)
        return self._info() if master is not None and processes.is_running(master) else None

    def _require_up(self) -> PoolInfo:
        info = self._running()
        if info is None:
            raise LocalPartError(
                f"The personal HTCondor pool {self.name!r} is not up. Start it with: prefect-jobs condor up"
            )
        return info


def state_directory() -> Path:
    """The folder for the state of local parts: PREFECT_JOBS_HOME, or the usual place."""
    if configured := os.environ.get("PREFECT_JOBS_HOME"):
        return Path(configured).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/prefect-jobs")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "prefect-jobs"


def _folder_mode() -> int:
    """The mode of the pool's folder. The daemons of root's pool run as another user, who must enter it."""
    return 0o755 if os.geteuid() == 0 else 0o700


def _names_of(master: ProcessRecord) -> tuple[str, ...]:
    try:
        process = psutil.Process(master.pid)
        return tuple(sorted(member.name() for member in (process, *process.children())))
    except psutil.Error:
        return ()
