"""The layout of a personal pool, and the configuration of its daemons, its clients and DAGMan as text."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect_jobs.local.condor_packages import CondorInstallation
from prefect_jobs.local.processes import LOOPBACK

DAEMON_IDENTITY = "condor"
"""The identity of the daemons among themselves. Only this identity may send commands of daemons."""

# Authorization levels (HTCondor manual, "Authorization") that clients do not need.
_DAEMONS_ONLY = (
    "DAEMON",
    "NEGOTIATOR",
    "ADMINISTRATOR",
    "CONFIG",
    "ADVERTISE_MASTER",
    "ADVERTISE_SCHEDD",
    "ADVERTISE_STARTD",
)

_TEMPORARY = Path("/tmp")  # noqa: S108 (nothing is written there)


@dataclass(frozen=True)
class PoolInfo:
    """A personal pool, in its present or last run."""

    name: str
    directory: Path
    host: str
    port: int
    """The port that collector, schedd and all other daemons share."""
    trust_domain: str
    version: str
    """HTCondor's version, such as `23.9.6`."""
    identity: str
    """The identity of the pool's own client, without the trust domain. It owns the client's jobs.

    It is the name of the calling user. HTCondor refuses jobs of root, so for root it is the user of the daemons.
    """
    user: str
    """The user of this machine who runs daemons and jobs."""
    sockets: Path
    """The folder of the daemons' Unix sockets."""


class PoolLayout:
    """The paths in the folder of a personal pool."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.record = directory / "pool.json"
        self.pid = directory / "master.pid"
        self.config = directory / "condor_config"
        # Only the tools: on a PATH, other programs here would hide those of the machine.
        self.bin = directory / "bin"
        self.log = directory / "log"
        # Root writes the master's output and the key, so they are in folders where daemons cannot replace them by
        # links.
        self.output = directory / "condor_master.out"
        self.spool = directory / "spool"
        self.execute = directory / "execute"
        self.lock = directory / "lock"
        self.run = directory / "run"
        self.key_directory = directory / "key"
        self.key = self.key_directory / "POOL"
        # Tokens for DAGMan, in one folder for each owner of a DAG.
        self.dagman = directory / "dagman"
        # For clients of this machine, not for the daemons.
        self.client = directory / "client"
        self.client_config = self.client / "condor_config"
        self.client_tokens = self.client / "tokens.d"
        self.identities = directory / "identities"

    @property
    def of_daemons(self) -> dict[Path, int]:
        """The folders where only daemons write, with their modes."""
        shared = (self.log, self.spool, self.execute, self.lock, self.run)
        return dict.fromkeys(shared, 0o755) | {self.dagman: 0o700}


def daemon_config(
    layout: PoolLayout, condor: CondorInstallation, info: PoolInfo, *, cpus: int, memory_mb: int | None
) -> str:
    """The configuration of the daemons: one machine is central manager, access point and execution point."""
    settings = {
        **_common(layout, condor, info),
        "LOG": layout.log,
        "EXECUTE": layout.execute,
        "DAEMON_LIST": "MASTER, SHARED_PORT, COLLECTOR, NEGOTIATOR, SCHEDD, STARTD",
        "NETWORK_INTERFACE": LOOPBACK,
        "BIND_ALL_INTERFACES": False,
        # Otherwise HTCondor sends root a mail about each restart, if the machine can send mail.
        "MAIL": "",
        # Jobs run whenever there is room, until they end.
        "START": True,
        "SUSPEND": False,
        "PREEMPT": False,
        "KILL": False,
        "WANT_SUSPEND": False,
        "WANT_VACATE": False,
        "MOUNT_UNDER_SCRATCH": "",
        # An execution point cannot be stopped while it runs benchmarks.
        "RUNBENCHMARKS": False,
        # One slot with all resources. Each job gets the part that it requests.
        "NUM_CPUS": cpus,
        **({"MEMORY": memory_mb} if memory_mb is not None else {}),
        "NUM_SLOTS": 1,
        "NUM_SLOTS_TYPE_1": 1,
        "SLOT_TYPE_1": "100%",
        "SLOT_TYPE_1_PARTITIONABLE": True,
        # Short intervals, since a person watches.
        "NEGOTIATOR_INTERVAL": 1,
        "NEGOTIATOR_MIN_INTERVAL": 1,
        "NEGOTIATOR_CYCLE_DELAY": 1,
        "SCHEDD_INTERVAL": 1,
        "SCHEDD_MIN_INTERVAL": 1,
        "JOB_START_DELAY": 0,
        "UPDATE_INTERVAL": 5,
        # A query of a small queue takes a millisecond, less than a process of its own. The negotiator asks each second.
        **dict.fromkeys(("COLLECTOR_QUERY_WORKERS", "SCHEDD_QUERY_WORKERS"), 0),
        # A daemon that died is started again after 2 s, then 4 s, …; HTCondor's own figures begin at 11 s.
        "MASTER_BACKOFF_CONSTANT": 0,
        "MASTER_BACKOFF_CEILING": 30,
        "SHUTDOWN_FAST_TIMEOUT": 10,
        "SHUTDOWN_GRACEFUL_TIMEOUT": 10,
        "COLLECTOR_BOOTSTRAP_SSL_CERTIFICATE": False,
        # Security as in a real pool: all clients need a token, and only daemons may send commands of daemons.
        "SEC_PASSWORD_DIRECTORY": layout.key_directory,
        "SEC_TOKEN_POOL_SIGNING_KEY_FILE": layout.key,
        "SEC_TOKEN_DIRECTORY": layout.run / "tokens.d",
        "SEC_DEFAULT_AUTHENTICATION": "REQUIRED",
        "SEC_DEFAULT_AUTHENTICATION_METHODS": "IDTOKENS",
        "SEC_DEFAULT_ENCRYPTION": "REQUIRED",
        "SEC_DEFAULT_INTEGRITY": "REQUIRED",
        "SEC_ENABLE_REMOTE_ADMINISTRATION": False,
        "ALLOW_READ": "*@$(TRUST_DOMAIN)",
        "ALLOW_WRITE": "*@$(TRUST_DOMAIN)",
        **{f"ALLOW_{level}": f"{DAEMON_IDENTITY}@$(TRUST_DOMAIN)" for level in _DAEMONS_ONLY},
    }
    return _text(settings)


def client_config(layout: PoolLayout, condor: CondorInstallation, info: PoolInfo) -> str:
    """The configuration of a client of this machine: its own tokens, and no access to the signing key."""
    settings = {
        **_common(layout, condor, info),
        # In the daemons' log folder, root's clients would create files that the daemons cannot write.
        "LOG": layout.client,
        "SEC_CLIENT_AUTHENTICATION_METHODS": "IDTOKENS",
        "SEC_TOKEN_DIRECTORY": layout.client_tokens,
        # A client that can read the key creates a token with the daemons' identity.
        "SEC_PASSWORD_DIRECTORY": layout.client / "no-keys",
        "SEC_TOKEN_POOL_SIGNING_KEY_FILE": "",
        "DAGMAN_USER_LOG_SCAN_INTERVAL": 1,
        # By default, condor_q shows the caller's jobs only. Here the jobs of one person have several owners.
        "CONDOR_Q_ONLY_MY_JOBS": False,
    }
    if layout.directory.is_relative_to(_TEMPORARY):
        # In strict mode, DAGMan refuses a log of its nodes in /tmp.
        settings["DAGMAN_USE_STRICT"] = 0
    return _text(settings)


def dagman_wrapper(layout: PoolLayout, condor: CondorInstallation, info: PoolInfo) -> str:
    """The script that the pool installs as `condor_dagman`.

    At an access point with its configuration in /etc, a DAGMan job finds it by itself, and the schedd identifies
    its owner by the user who runs it. Here the script sets both: the configuration of clients, and a token of the
    owner in the job's ad.
    """
    create = f"CONDOR_CONFIG={_word(layout.config)} {_word(condor.bin / 'condor_token_create')}"
    return f"""#!/bin/sh
set -eu
if [ -n "${{_CONDOR_JOB_AD:-}}" ]; then
    owner=$(sed -n 's/^Owner = "\\([A-Za-z0-9_.-]*\\)"$/\\1/p' "$_CONDOR_JOB_AD")
    tokens={_word(layout.dagman)}/$owner
    (
        umask 077
        mkdir -p "$tokens"
        {create} -identity "$owner@{info.trust_domain}" > "$tokens/.$$"
        mv "$tokens/.$$" "$tokens/owner"
    )
    export CONDOR_CONFIG={_word(layout.client_config)}
    export _CONDOR_SEC_TOKEN_DIRECTORY="$tokens"
fi
exec {_word(condor.bin / "condor_dagman")} "$@"
"""


def _common(layout: PoolLayout, condor: CondorInstallation, info: PoolInfo) -> dict[str, object]:
    return {
        "RELEASE_DIR": condor.release_dir,
        "BIN": layout.bin,
        "SBIN": condor.sbin,
        "LIBEXEC": condor.libexec,
        "LIB": condor.lib,
        "SHARE": condor.share,
        "LOCAL_DIR": layout.directory,
        # No configuration of another HTCondor on this machine.
        "LOCAL_CONFIG_FILE": "",
        "LOCAL_CONFIG_DIR": "",
        "REQUIRE_LOCAL_CONFIG_FILE": False,
        "SPOOL": layout.spool,
        "LOCK": layout.lock,
        "RUN": layout.run,
        "SCHEDD_ADDRESS_FILE": layout.run / "schedd_address",
        # Otherwise root's clients contact the daemons by a port of their own.
        "SCHEDD_SUPER_ADDRESS_FILE": "",
        "COLLECTOR_SUPER_ADDRESS_FILE": "",
        "CONDOR_HOST": LOOPBACK,
        "COLLECTOR_HOST": f"{LOOPBACK}:{info.port}",
        "COLLECTOR_PORT": info.port,
        "SHARED_PORT_PORT": info.port,
        "USE_SHARED_PORT": True,
        "DAEMON_SOCKET_DIR": info.sockets,
        "ENABLE_IPV6": False,
        "TRUST_DOMAIN": info.trust_domain,
        "UID_DOMAIN": info.trust_domain,
    }


def _text(settings: Mapping[str, object]) -> str:
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def _word(path: Path) -> str:
    """A path, quoted for the shell."""
    return shlex.quote(str(path))
