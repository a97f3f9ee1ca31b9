"""``python -m tests.acceptance.soak.child SEED FORM NUMBER INPUTS``: makes and executes a job, and is killed."""

import contextlib
import sys
from pathlib import Path

from prefect_jobs import PrefectJobsError
from tests.acceptance.conftest import TestApp
from tests.acceptance.soak import plan, work


def main() -> None:
    """Tells when it begins."""
    seed, form, number, inputs = sys.argv[1:]
    size = plan.LONG if form == "long" else plan.SHORT
    mine = plan.jobs(int(seed), size)[int(number)]
    manager = TestApp.get_job_manager()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    job = work.make(manager, mine, Path(inputs))
    with contextlib.suppress(PrefectJobsError):  # whoever started us finds out how far we came, and goes on
        work.execute(job, mine)


if __name__ == "__main__":
    main()
