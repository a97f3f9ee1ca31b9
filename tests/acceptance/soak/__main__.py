"""``python -m tests.acceptance.soak SEED short|long FOLDER``: exit status 0 if all ended as it had to, 1 if not, and 77
if a part cannot be had on this machine. The environment has the settings of Prefect and of prefect-jobs."""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import httpx
import psutil

from prefect_jobs import JobManager, PrefectJobsError
from prefect_jobs.errors import LocalPartError
from prefect_jobs.jobs.base import Job
from prefect_jobs.local import processes
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.schedulers.connections import connections
from tests import forks
from tests.acceptance.conftest import TestApp
from tests.acceptance.soak import plan, verdict, work
from tests.acceptance.soak.parts import Parts, left_behind
from tests.acceptance.soak.people import People

MISSING = 77
_DOWN = 10.0


class Soak:
    """One soak."""

    def __init__(self, seed: int, form: str, folder: Path) -> None:
        self._size = plan.LONG if form == "long" else plan.SHORT
        self._seed, self._form, self._folder = seed, form, folder
        self._plans = plan.jobs(seed, self._size)
        self._api_url = os.environ["PREFECT_API_URL"]
        self._parts = Parts(folder, int(urlsplit(self._api_url).port or 0), self._say)
        self._manager: JobManager = TestApp.get_job_manager()
        self._began = time.monotonic()
        self._deadline = 0.0
        self._stop = threading.Event()
        #: Number of a plan → the first final status that its job was seen to have.
        self._seen: dict[int, str] = {}
        self._wrong: list[str] = []

    def run(self) -> list[str]:
        """Does it all; what disagrees in the end."""
        inputs = self._folder / "inputs"
        inputs.mkdir()
        for one in self._plans:
            (inputs / one.input_name).write_text(one.text)
        try:
            with ExitStack() as stack:
                stack.enter_context(self._parts.up())
                stack.callback(connections.interrupt)
                stack.callback(get_runtime().close)
                stack.callback(get_runtime().site.scheduler(work.DASK_BLOCK).close)
                self._say(f"all parts are up; {len(self._plans)} jobs, kills: {self._size.kills}")
                self._work(inputs)
                self._end()
                self._judge()
        finally:
            self._left_behind()
        self._wrong += [text for monitor in self._parts.monitors for text in monitor.wrong]
        for number, monitor in enumerate(self._parts.monitors if self._wrong else ()):
            self._say(f"the end of monitor {number + 1}'s log:\n{monitor.last()}")
        return self._wrong

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._began:6.1f} s  {text}\n")
        sys.stdout.flush()

    def _work(self, inputs: Path) -> None:
        """Jobs come, and parts are killed."""
        people = People(self._manager, inputs, (str(self._seed), self._form), self._say)
        threads = [threading.Thread(target=self._kill, args=(kind,), name=f"kills {kind}") for kind in plan.KINDS]
        threads.append(threading.Thread(target=self._watch, name="watches"))
        for thread in threads:
            thread.start()
        try:
            self._wrong += people.submit(self._plans)
        except BaseException:
            self._stop.set()
            raise
        finally:
            for thread in threads[:-1]:
                thread.join()
            self._stop.set()
            threads[-1].join()

    def _kill(self, kind: str) -> None:
        began = time.monotonic()
        draw = random.Random(f"{self._seed} {kind} how")  # noqa: S311
        try:
            for moment in plan.kills(self._seed, self._size, kind):
                if self._stop.wait(max(0.0, began + moment - time.monotonic())):
                    return
                self._parts.strike(kind, draw, self._stop.wait)
        except Exception as error:
            self._wrong.append(f"{kind} could not be killed and started again: {error!r}")

    def _watch(self) -> None:
        try:
            while not self._stop.wait(1):
                self._look()
        except Exception as error:
            self._wrong.append(f"the jobs could not be listed: {error!r}")

    def _look(self) -> dict[int, Job]:
        """The jobs by their plans' numbers; what was final must be so for ever."""
        jobs = {int(job.name.rpartition(" ")[2]): job for job in self._manager.list_jobs()}
        for number, job in jobs.items():
            if job.handle.record.final:
                first = self._seen.setdefault(number, job.cached_status)
                if first != job.cached_status:
                    self._wrong.append(f"{job.name} was {first!r} and then {job.cached_status!r}")
                    self._seen[number] = job.cached_status
        return jobs

    def _end(self) -> None:
        """Everything is started once more, and the jobs come to their ends."""
        self._say(f"all jobs are submitted, {len(self._seen)} are over; everything is killed once more")
        draw = random.Random(f"{self._seed} end")  # noqa: S311
        for monitor in self._parts.monitors:
            monitor.end(signal.SIGKILL)
        for kind in ("schedd", "prefect", "dask"):
            self._parts.strike(kind, draw, lambda _: None)
        for monitor in self._parts.monitors:
            monitor.start()
        self._deadline = time.monotonic() + self._size.patience
        self._until(lambda: len(self._look()) == len(self._seen) == len(self._plans), "all jobs are over")
        self._until(lambda: not get_runtime().store.backlog(), "Prefect shows all that is to be shown")
        jobs = self._look()
        self._until(lambda: not verdict.shown(jobs, self._plans, self._api_url), "no run disagrees")
        pool = get_runtime().site.scheduler(work.CONDOR_BLOCK)
        self._until(lambda: not pool.get_client().query("PrefectJobsToken =!= undefined"), "the queue is empty")

    def _until(self, there: Callable[[], bool], what: str) -> None:
        """Waits for it, once for everything; what is not so in the end is told by the verdict."""
        said = ""
        while True:
            try:
                if there():
                    self._say(what)
                    return
            except (PrefectJobsError, httpx.HTTPError) as error:  # what was killed is not quite back
                said = f" ({error})"
            if time.monotonic() > self._deadline:
                self._wrong.append(f"after {self._size.patience:g} s still not so: {what}{said}")
                return
            time.sleep(0.5)

    def _judge(self) -> None:
        jobs = self._look()
        for one in self._plans:
            job = jobs.get(one.number)
            told = [*verdict.outcome(one, job)] if job is not None else ["it is not there"]
            self._wrong += [f"{one.name}, {one.engine} {one.codes}, job {job and job.id}: {text}" for text in told]
            if told and job is not None:
                lines = [f"  {line.time} {line.text}" for line in get_runtime().jobs.messages(job.handle.record.id)]
                self._say("\n".join([f"what was said about {one.name}, {job.handle.record.native}:", *lines]))
        self._wrong += verdict.history(self._plans, jobs, get_runtime().site.scheduler(work.CONDOR_BLOCK))
        self._wrong += verdict.shown(jobs, self._plans, self._api_url)

    def _left_behind(self) -> None:
        """No process outlives what it worked for, and no token either."""
        forks.close()
        deadline = time.monotonic() + _DOWN
        while (left := left_behind(self._folder)) and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                command = " ".join(process.cmdline())
                process.kill()
                self._wrong.append(f"a process was left behind: {process.pid} {command}")
        self._wrong += [f"a token was left behind: {path}" for path in (self._folder / "tmp").glob("*/tokens.d/*")]


def main() -> int:
    """Runs one; the exit status."""
    seed, form, folder = sys.argv[1:]

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(number)

    signal.signal(signal.SIGTERM, end)
    if form == "short":
        processes.start_daemon = forks.start_daemon
    try:
        wrong = Soak(int(seed), form, Path(folder)).run()
    except LocalPartError as error:
        sys.stdout.write(f"{error}\n")
        return MISSING
    for text in wrong:
        sys.stdout.write(f"WRONG: {text}\n")
    sys.stdout.write(f"seed {seed}, {form}: {'all is as it must be' if not wrong else f'{len(wrong)} disagree'}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
