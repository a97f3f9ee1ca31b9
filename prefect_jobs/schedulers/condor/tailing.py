"""The output of procs that run, by HTCondor's condor_tail: its bindings cannot read it. Runs in the helper."""

import shutil
import subprocess


def tail(schedd: str, collector: str | None, proc: str, stream: str, most: int, seconds: float) -> str | None:
    """The last bytes that a proc which runs has written.

    Args:
        schedd: the name of its access point.
        collector: the address of the pool; ``None``: as this machine is configured.
        proc: its cluster and number, such as ``12.0``.
        stream: ``stdout`` or ``stderr``.
        most: the number of bytes.
        seconds: how long it may take.

    Returns:
        The text; ``None``: condor_tail is not on the PATH, or does not get it.
    """
    tool = shutil.which("condor_tail")
    if tool is None:
        return None
    command = [tool, "-name", schedd, "-maxbytes", str(most)]
    command += ["-pool", collector] if collector else []
    command += ["-no-stdout", "-stderr"] if stream == "stderr" else []
    try:
        done = subprocess.run(
            [*command, proc], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
