"""Who submits the jobs of a soak, through the public API, whatever is away just then."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prefect_jobs import JobManager, JobStateError, SubmissionError, statuses
from prefect_jobs.jobs.base import Job
from tests.acceptance.soak import work
from tests.acceptance.soak.plan import JobPlan
from tests.forks import Program

#: How many submit at once.
_HANDS = 8
#: Seconds after which a job that was not submitted is tried again.
_AGAIN = 2.0


class People:
    """They submit all jobs of a plan, each once it has arrived, and again until its scheduler has it."""

    def __init__(
        self, manager: JobManager, inputs: Path, child_arguments: tuple[str, str], say: Callable[[str], None]
    ) -> None:
        self._manager = manager
        self._inputs = inputs
        self._child_arguments = child_arguments
        self._say = say
        self._stop = threading.Event()
        self._began = time.monotonic()

    def submit(self, plans: list[JobPlan]) -> list[str]:
        """Submits all; what went wrong."""
        self._began = time.monotonic()
        with ThreadPoolExecutor(_HANDS, "people") as hands:
            done = [hands.submit(self._carry, plan) for plan in sorted(plans, key=lambda plan: plan.arrival)]
            try:
                return [f"{one.exception()!r} was raised" for one in done if one.exception() is not None]
            except BaseException:
                self._stop.set()
                raise

    def find(self, plan: JobPlan) -> Job | None:
        """The job of a plan, as SQL has it."""
        found = self._manager.list_jobs(filters={"name": plan.name})
        if len(found) > 1:
            raise AssertionError(f"{plan.name} is there more than once: {[job.id for job in found]}")
        return found[0] if found else None

    def _carry(self, plan: JobPlan) -> None:
        self._stop.wait(max(0.0, self._began + plan.arrival - time.monotonic()))
        if plan.interrupted is not None and not self._stop.is_set():
            self._interrupt(plan)
        said = ""
        while not self._stop.is_set():
            job = self.find(plan) or work.make(self._manager, plan, self._inputs)
            if job.cached_status != statuses.PENDING:
                return
            try:
                work.execute(job, plan)
            except (SubmissionError, JobStateError) as error:
                if said != (said := str(error)):
                    self._say(f"{plan.name}: {error}")
                self._stop.wait(_AGAIN)
            else:
                return

    def _interrupt(self, plan: JobPlan) -> None:
        child = Program(
            [
                sys.executable,
                "-m",
                "tests.acceptance.soak.child",
                *self._child_arguments,
                str(plan.number),
                str(self._inputs),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            self._stop.wait(plan.interrupted)
            ended = child.poll()
            child.kill()
        job = self.find(plan)
        how = "killed" if ended is None else f"had ended ({ended})"
        there = "not there" if job is None else f"{job.cached_status}, {job.remote_id or 'not known to be submitted'}"
        self._say(f"{plan.name}: the process that submitted it was {how}; it is {there}")
