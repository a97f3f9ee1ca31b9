"""Makes .venv with exactly what is locked, and this project in it; does nothing if it is there already.

    python3 scripts/set_up.py [dev | lowest]

`dev` adds what tests and checks need. `lowest` makes .venv-lowest, which has that in the lowest versions that
pyproject.toml declares. uv installs, as it takes seconds; it is told what pip is configured with on this machine, and
where it fails all the same, pip does it.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / (".venv-lowest" if sys.argv[1:] == ["lowest"] else ".venv")
PYTHON = VENV / "bin" / "python"

SETUP = ROOT / "requirements-setup.txt"
RUNTIME = ROOT / "requirements.txt"
DEV = ROOT / "requirements-dev.txt"  # has all of RUNTIME
LOWEST = ROOT / "requirements-lowest.txt"
PROJECT = ROOT / "pyproject.toml"

# pip's options (the names of its configuration file and, in capitals, of its variables) as uv's variables.
UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


def main() -> None:
    wanted = {(): RUNTIME, ("dev",): DEV, ("lowest",): LOWEST}[tuple(sys.argv[1:])]
    began = time.monotonic()
    if not has(SETUP, wanted) and not has(SETUP, DEV):
        print(f"Making {VENV.name} with Python {sys.version.split()[0]} and {wanted.name} …", flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        venv.create(VENV, with_pip=True)
        pip("--require-hashes", "--requirement", str(SETUP))
        install("--require-hashes", "--requirement", str(wanted))
        note(SETUP, wanted)
    elif has(PROJECT):
        return
    install("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    note(PROJECT)
    print(f"{VENV.name} is ready after {time.monotonic() - began:.0f} s", flush=True)


def install(*arguments: str) -> None:
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON)]
    if sys.argv[1:] != ["dev"]:
        # Compiled once, here: where PYTHONDONTWRITEBYTECODE is set, every process would do it again, for seconds.
        # scripts/check.sh has only that compiled which tests import, in half the time.
        uv.append("--compile-bytecode")
    uv += arguments
    if subprocess.run(uv, env=uv_environment(), check=False).returncode != 0:
        print("uv did not manage it, so pip shall.", flush=True)
        pip(*arguments)


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        sys.exit(f"pip install {' '.join(arguments)} failed with status {status}: see above.")


def uv_environment() -> dict[str, str]:
    """The environment, and what pip is configured with wherever nothing else is said to uv itself."""
    listed = subprocess.run([str(PYTHON), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    options = [
        (section, name, str(ast.literal_eval(value)))
        for section, name, value in re.findall(r"^(\S+)\.([a-z-]+)=(.*)$", listed.stdout, re.MULTILINE)
    ]
    configured = {}
    for wanted in ("global", "install", ":env:"):  # each weighs more than the one before
        for section, name, value in options:
            if section == wanted and name in UV_VARIABLES:
                configured[UV_VARIABLES[name]] = value
    return configured | os.environ


def has(*files: Path) -> bool:
    """Whether what these files ask for is installed, in an environment that runs."""
    stamp = stamp_of(files)
    if not stamp.exists() or stamp.read_text() != fingerprint(files):
        return False
    return subprocess.run([str(PYTHON), "-c", ""], check=False, capture_output=True).returncode == 0


def note(*files: Path) -> None:
    stamp_of(files).write_text(fingerprint(files))


def stamp_of(files: Iterable[Path]) -> Path:
    return VENV / ("installed-" + "-".join(file.stem for file in files))


def fingerprint(files: Iterable[Path]) -> str:
    """Also of where the checkout is: an environment cannot be moved."""
    content = b"\0".join([bytes(ROOT), *(file.read_bytes() for file in files)])
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
