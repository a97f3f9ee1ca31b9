"""What a notebook shows of a job."""

from collections.abc import Callable

from prefect_jobs import Job, JobManager
from prefect_jobs.testing import FakeSchedulers
from tests.unit.test_lifecycle import schedulers
from tests.unit.test_web_access import make, manager

__all__ = ["make", "manager", "schedulers"]


def test_a_job_is_a_table(make: Callable[..., Job], manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = make("<img src=x onerror=alert(1)>")
    job.update_status("<b>Calibrating</b>", message="step 1 & 2")
    shown = job._repr_html_()
    assert shown.startswith("<table><tr><th>Job</th><td>1: &lt;img src=x onerror=alert(1)&gt;</td></tr>")
    assert "&lt;b&gt;Calibrating&lt;/b&gt;" in shown and "step 1 &amp; 2" in shown and "<img" not in shown
    assert "Run time" not in shown and "Prefect" not in shown  # it has none yet
    unsaved = manager.create_job("new", "alice", job_type="BASIC")
    assert "not saved: new" in unsaved._repr_html_()
