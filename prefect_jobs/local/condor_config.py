"""What a personal pool is, and the configuration of its daemons, its clients and DAGMan as text."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect_jobs.local.condor_packages import CondorInstallation
from prefect_jobs.local.processes import LOOPBACK

DAEMON_IDENTITY = "condor"
"""Whom the daemons authenticate as among themselves: nobody else may do what daemons do."""

# Levels of authorization (HTCondor manual, "Authorization") of which clients need none.
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
    """A personal pool that is up, or was the last time."""

    name: str
    directory: Path
    host: str
    port: int
    """Where everything listens: collector, schedd and the rest share it."""
    trust_domain: str
    version: str
    """HTCondor's version, such as `23.9.6`."""
    identity: str
    """Whom the pool's own client authenticates as, without the trust domain: the owner of its jobs.

    The name of the user who calls; for root, whose jobs HTCondor refuses, of the one that daemons run as.
    """
    user: str
    """The user of this machine that daemons and jobs run as."""
    sockets: Path
    """Where the daemons' Unix sockets lie."""


class PoolLayout:
    """Where things lie in a personal pool's folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.record = directory / "pool.json"
        self.pid = directory / "master.pid"
        self.config = directory / "condor_config"
        # The tools, and nothing else that would come before the machine's own programs on a PATH.
        self.bin = directory / "bin"
        self.log = directory / "log"
        # What the master prints, and the key, lie where daemons cannot put a link in their place: root writes
        # them.
        self.output = directory / "condor_master.out"
        self.spool = directory / "spool"
        self.execute = directory / "execute"
        self.lock = directory / "lock"
        self.run = directory / "run"
        self.key_directory = directory / "key"
        self.key = self.key_directory / "POOL"
        # Tokens for DAGMan, a folder for each owner of a DAG.
        self.dagman = directory / "dagman"
        # What clients of this machine use: theirs, not the daemons'.
        self.client = directory / "client"
        self.client_config = self.client / "condor_config"
        self.client_tokens = self.client / "tokens.d"
        self.identities = directory / "identities"

    @property
    def of_daemons(self) -> dict[Path, int]:
        """The folders in which daemons write, and nobody else, with their modes."""
        shared = (self.log, self.spool, self.execute, self.lock, self.run)
        return dict.fromkeys(shared, 0o755) | {self.dagman: 0o700}


def daemon_config(
    layout: PoolLayout, condor: CondorInstallation, info: PoolInfo, *, cpus: int, memory_mb: int | None
) -> str:
    """The daemons' configuration: one machine is central manager, access point and execution point."""
    settings = {
        **_common(layout, condor, info),
        "LOG": layout.log,
        "EXECUTE": layout.execute,
        "DAEMON_LIST": "MASTER, SHARED_PORT, COLLECTOR, NEGOTIATOR, SCHEDD, STARTD",
        "NETWORK_INTERFACE": LOOPBACK,
        "BIND_ALL_INTERFACES": False,
        # A machine that can send mail would otherwise tell root about every restart.
        "MAIL": "",
        # Jobs run whenever there is room, until they end.
        "START": True,
        "SUSPEND": False,
        "PREEMPT": False,
        "KILL": False,
        "WANT_SUSPEND": False,
        "WANT_VACATE": False,
        "MOUNT_UNDER_SCRATCH": "",
        # An execution point that measures itself does not let itself be stopped meanwhile.
        "RUNBENCHMARKS": False,
        # One slot with everything in it, from which each job gets what it asks for.
        "NUM_CPUS": cpus,
        **({"MEMORY": memory_mb} if memory_mb is not None else {}),
        "NUM_SLOTS": 1,
        "NUM_SLOTS_TYPE_1": 1,
        "SLOT_TYPE_1": "100%",
        "SLOT_TYPE_1_PARTITIONABLE": True,
        # Everything at the pace of somebody who watches.
        "NEGOTIATOR_INTERVAL": 1,
        "NEGOTIATOR_MIN_INTERVAL": 1,
        "NEGOTIATOR_CYCLE_DELAY": 1,
        "SCHEDD_INTERVAL": 1,
        "SCHEDD_MIN_INTERVAL": 1,
        "JOB_START_DELAY": 0,
        "UPDATE_INTERVAL": 5,
        "SHUTDOWN_FAST_TIMEOUT": 10,
        "SHUTDOWN_GRACEFUL_TIMEOUT": 10,
        "COLLECTOR_BOOTSTRAP_SSL_CERTIFICATE": False,
        # Security as in a real pool: a token for everyone, and the daemons' commands for daemons alone.
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
    """The configuration of a client of this machine: its own tokens, and no sight of the signing key."""
    settings = {
        **_common(layout, condor, info),
        # Among the daemons' logs, root's clients would make files that the daemons cannot write.
        "LOG": layout.client,
        "SEC_CLIENT_AUTHENTICATION_METHODS": "IDTOKENS",
        "SEC_TOKEN_DIRECTORY": layout.client_tokens,
        # A client that could read the key would make itself a token of the daemons' identity.
        "SEC_PASSWORD_DIRECTORY": layout.client / "no-keys",
        "SEC_TOKEN_POOL_SIGNING_KEY_FILE": "",
        "DAGMAN_USER_LOG_SCAN_INTERVAL": 1,
        # condor_q shows the jobs of who asks alone; here one person's jobs are owned by several identities.
        "CONDOR_Q_ONLY_MY_JOBS": False,
    }
    if layout.directory.is_relative_to(_TEMPORARY):
        # DAGMan refuses to keep its nodes' log in there, unless it is told not to be strict.
        settings["DAGMAN_USE_STRICT"] = 0
    return _text(settings)


def dagman_wrapper(layout: PoolLayout, condor: CondorInstallation, info: PoolInfo) -> str:
    """The program that the pool offers as `condor_dagman`.

    Where an access point has its configuration in /etc, a DAGMan job finds it by itself, and the schedd knows
    it for its owner's by the user that it runs as. Here it is told both: the clients' configuration, and a
    token of the owner that the job's ad names.
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
        # Nothing of an HTCondor that this machine has otherwise.
        "LOCAL_CONFIG_FILE": "",
        "LOCAL_CONFIG_DIR": "",
        "REQUIRE_LOCAL_CONFIG_FILE": False,
        "SPOOL": layout.spool,
        "LOCK": layout.lock,
        "RUN": layout.run,
        "SCHEDD_ADDRESS_FILE": layout.run / "schedd_address",
        # Root's clients would take a way of their own to the daemons, past the port that all others use.
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
    """A path as one word of the shell's."""
    return shlex.quote(str(path))
