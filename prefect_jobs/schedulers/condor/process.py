"""The transport by token or local configuration: HTCondor's bindings in separate helper processes."""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError
from prefect_jobs.folders import TemporaryFolder
from prefect_jobs.schedulers.condor.access import (
    Access,
    Cluster,
    CondorError,
    CondorRefusal,
    Question,
    Submission,
)

#: Seconds in which a helper must start and import the bindings, on a busy machine.
START_TIMEOUT = 30.0
#: The folder from which the helper imports this package.
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])
#: Operations that may have succeeded even though they failed here.
_SUBMITTING = ("submit", "submit_all")
#: Questions that may take seconds.
_LONG: tuple[Question, ...] = ("tail", "analyze")


def error_of(access: Access, answer: Mapping[str, Any], *, begun: bool) -> PrefectJobsError:
    """The exception for a helper's answer.

    Args:
        access: the access point.
        answer: the helper's, with ``error`` and ``text``.
        begun: whether it is about a submission that may have succeeded.
    """
    text, kind = answer["text"], answer["error"]
    if kind == "unreachable":
        return SchedulerConnectionError(f"Cannot reach {access.title}: {text}.")
    if kind == "refused":
        return CondorRefusal(text)
    if not begun and ("connect" in text.lower() or "communication" in text.lower()):
        return SchedulerConnectionError(f"Cannot reach {access.title}: {text}")
    return CondorError(f"{access.title}: {text}")


class HelperTransport:
    """Helpers: one for requests, one for files, so that a large transfer does not block requests, and one, if it is
    needed, for what takes long beside them: the ends of logs, and why jobs wait."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.questions = HelperProcess(access)
        self.transfers = HelperProcess(access)
        #: What runs a program of HTCondor, or asks the collector, may take long, and blocks no other question.
        self._aside = HelperProcess(access)

    def ask(self, question: Question, args: Mapping[str, Any], timeout: float) -> Any:
        """See :meth:`prefect_jobs.schedulers.condor.access.Transport.ask`."""
        helper = self._aside if question in _LONG else self.questions
        return helper.call(question, args, timeout)

    def submit(self, submission: Submission, timeout: float) -> Cluster:
        """See :meth:`prefect_jobs.schedulers.condor.access.Transport.submit`."""
        return _submitted(self.transfers.call("submit", asdict(submission), timeout))

    def submit_all(self, submissions: Sequence[Submission], timeout: float) -> list[Cluster | PrefectJobsError]:
        """See :meth:`prefect_jobs.schedulers.condor.access.Transport.submit_all`."""
        args = {"submissions": [asdict(one) for one in submissions]}
        answers = self.transfers.call("submit_all", args, timeout)
        return [
            _submitted(answer["ok"]) if "ok" in answer else error_of(self._access, answer, begun=True)
            for answer in answers
        ]

    def retrieve(self, constraint: str, timeout: float) -> None:
        """See :meth:`prefect_jobs.schedulers.condor.access.Transport.retrieve`."""
        self.transfers.call("retrieve", {"constraint": constraint}, timeout)

    def close(self) -> None:
        """Ends the helpers."""
        for helper in (self.questions, self.transfers, self._aside):
            helper.close()


def _submitted(answer: Mapping[str, Any]) -> Cluster:
    return Cluster(answer["cluster"], answer["procs"], answer["schedd"])


class HelperProcess:
    """One helper, started at the first request, replaced when it hangs or dies. It serves one request at a time."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: TemporaryFolder | None = None
        self._owner = os.getpid()
        self._rest = b""

    def call(self, op: str, args: Mapping[str, Any], timeout: float) -> Any:
        """Has the helper carry out an operation of :class:`~prefect_jobs.schedulers.condor.helper.Session`.

        Raises:
            SchedulerConnectionError: not reached, refused, or no answer within ``timeout`` seconds.
            CondorRefusal, CondorError: the access point's answer.
        """
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise SchedulerConnectionError(
                f"{self._access.title} did not answer earlier requests within {timeout:g} s. Try again later."
            )
        try:
            self._start()
            return self._ask(op, args, max(0.5, deadline - time.monotonic()))
        finally:
            self._lock.release()

    def close(self) -> None:
        """Ends the helper and removes its folder with the token; a forked child drops its parent's helper."""
        process, self._process = self._process, None
        folder, self._folder = self._folder, None
        if process is not None:
            if os.getpid() == self._owner:
                process.kill()
                process.wait()
            else:
                process.returncode = 0  # for the parent to wait for
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if folder is not None:
            folder.remove()

    def _start(self) -> None:
        if os.getpid() != self._owner:
            self.close()
            self._owner = os.getpid()
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._rest = b""
        self._folder = TemporaryFolder("condor")
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            part for part in (_PACKAGE_ROOT, environment.get("PYTHONPATH")) if part
        )
        with (self._folder.path / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect_jobs.schedulers.condor.helper"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                env=environment,
                # Its own process group: Ctrl-C at a terminal goes to the program, which then ends its helper.
                process_group=0,
                # If the program is killed, its helper may still need the token to remove an incomplete submission.
                pass_fds=(self._folder.lock,),
            )
        os.set_blocking(cast(Any, self._process.stdin).fileno(), False)
        self._ask("configure", self._access.settings(str(self._folder.path)), START_TIMEOUT)

    def _ask(self, op: str, args: Mapping[str, Any], timeout: float) -> Any:
        process = cast("subprocess.Popen[bytes]", self._process)
        line = json.dumps({"op": op, "args": dict(args), "timeout": timeout}).encode() + b"\n"
        try:
            deadline = time.monotonic() + timeout
            self._send(line, deadline)
            answer = json.loads(self._line(deadline))
        except _SilentError:
            self.close()
            if op in _SUBMITTING:
                raise CondorError(
                    f"{self._access.title} did not answer within {timeout:.0f} s; whether it took the job is not known."
                ) from None
            raise SchedulerConnectionError(
                f"{self._access.title} did not answer within {timeout:.0f} s. "
                "Check that the address is an HTCondor collector or access point and that it is up."
            ) from None
        except (OSError, EOFError, ValueError) as error:
            code, tail = process.poll(), self._errors()
            self.close()
            raise CondorError(
                f"The helper process for {self._access.title} ended (exit code {code}). {tail}".strip()
            ) from error
        except BaseException:
            # Interrupted (Ctrl-C): the next request must not read this one's answer, and its submission must not come
            # later.
            self.close()
            raise
        if "error" not in answer:
            return answer["ok"]
        raise error_of(self._access, answer, begun=op in _SUBMITTING)

    def _send(self, line: bytes, deadline: float) -> None:
        """Sends a request to the helper; it may be larger than a pipe's buffer."""
        pipe = cast(Any, cast("subprocess.Popen[bytes]", self._process).stdin).fileno()
        left = memoryview(line)
        while left:
            _wait(pipe, select.POLLOUT, deadline)
            left = left[os.write(pipe, left) :]

    def _line(self, deadline: float) -> bytes:
        """A line from the helper."""
        pipe = cast(Any, cast("subprocess.Popen[bytes]", self._process).stdout).fileno()
        chunks = [self._rest]
        while b"\n" not in chunks[-1]:
            _wait(pipe, select.POLLIN, deadline)
            chunk = os.read(pipe, 1 << 20)
            if not chunk:
                raise EOFError
            chunks.append(chunk)
        line, _, self._rest = b"".join(chunks).partition(b"\n")
        return line

    def _errors(self) -> str:
        if self._folder is None:
            return ""
        try:
            text = (self._folder.path / "stderr").read_text(errors="replace")
        except OSError:
            return ""
        return " ".join(text.split())[-500:]


class _SilentError(Exception):
    """No answer in time."""


def _wait(pipe: int, event: int, deadline: float) -> None:
    # poll, since select() refuses a process that has more than 1,024 files open.
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise _SilentError
