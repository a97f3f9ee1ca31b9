"""``python -m tests.acceptance.soak.child SEED FORM NUMBER INPUTS``: makes and executes a job, and is killed."""

import contextlib
import sys
from pathlib import Path

# What would otherwise be imported on the way, in seconds in which nothing happens that could be interrupted.
import prefect.client.orchestration
import prefect.context  # noqa: F401

from prefect_jobs import PrefectJobsError
from prefect_jobs.runtime.wiring import get_runtime
from tests.acceptance.conftest import TestApp
from tests.acceptance.soak import plan, work


def main() -> None:
    """Tells when it begins."""
    seed, form, number, inputs = sys.argv[1:]
    size = plan.LONG if form == "long" else plan.SHORT
    mine = plan.jobs(int(seed), size)[int(number)]
    job = work.make(TestApp.get_job_manager(), mine, Path(inputs))
    get_runtime().store.backlog()  # the database is ready, too
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with contextlib.suppress(PrefectJobsError):  # whoever started us finds out how far we came, and goes on
        work.execute(job, mine)


if __name__ == "__main__":
    main()
