"""Runs HTCondor's tools for a personal pool, as its client or as its daemons."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local.condor_config import DAEMON_IDENTITY, PoolInfo, PoolLayout
from prefect_jobs.local.files import make_directory, replace_text
from prefect_jobs.local.processes import unprivileged_user

_TIMEOUT_SECONDS = 30


def environment(layout: PoolLayout, config: Path) -> dict[str, str]:
    """A small environment, without the caller's variables for another HTCondor."""
    return {
        "CONDOR_CONFIG": str(config),
        "PATH": f"{layout.bin}{os.pathsep}{os.defpath}",
        "HOME": str(layout.directory),
        "LANG": "C.UTF-8",
    }


def ask(layout: PoolLayout, tool: str, *arguments: str) -> list[str]:
    """Runs a tool as the pool's client; returns the lines that it prints. Raises LocalPartError if it fails."""
    return _run(layout, layout.client_config, [tool, *arguments]).splitlines()


def new_token(layout: PoolLayout, info: PoolInfo, identity: str) -> str:
    """Creates a token for an identity with the signing key, as the daemons' user.

    Raises LocalPartError if the identity cannot own jobs, or if the tool fails.
    """
    if not may_own_jobs(identity):
        raise LocalPartError(
            f"{identity!r} cannot own jobs in a personal pool: use letters, digits, '.', '_' and '-', and "
            f"neither root nor {DAEMON_IDENTITY}."
        )
    command = ["condor_token_create", "-identity", f"{identity}@{info.trust_domain}"]
    return _run(layout, layout.config, command, as_daemons=True).strip()


def write_token(layout: PoolLayout, info: PoolInfo, identity: str, folder: Path) -> None:
    """Writes a new token for an identity as the only file of a private folder."""
    token = new_token(layout, info, identity)
    make_directory(folder, 0o700)
    replace_text(folder / "token", token + "\n", 0o600)


def may_own_jobs(identity: str) -> bool:
    """Whether the schedd accepts jobs of an identity. It refuses root and the daemons."""
    named = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", identity)
    return named is not None and identity not in ("root", DAEMON_IDENTITY)


def _run(layout: PoolLayout, config: Path, command: Sequence[str], *, as_daemons: bool = False) -> str:
    tool = command[0]
    user = unprivileged_user() if as_daemons else None
    try:
        done = subprocess.run(
            [str(layout.bin / tool), *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(layout, config),
            cwd=layout.directory,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            text=True,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
    except subprocess.TimeoutExpired as error:
        raise LocalPartError(f"{tool} took longer than {_TIMEOUT_SECONDS} seconds.") from error
    except OSError as error:
        raise LocalPartError(f"{tool} cannot be run: {error}.") from error
    if done.returncode != 0:
        # Its standard output may be a token, which must not be in a message.
        raise LocalPartError(f"{tool} failed: {' '.join(done.stderr.split()) or f'status {done.returncode}'}")
    return done.stdout
