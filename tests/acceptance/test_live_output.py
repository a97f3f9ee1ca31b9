"""What a job writes, shown while it runs."""

from pathlib import Path

import pytest

from prefect_jobs import CondorJob
from prefect_jobs.jobs.polling import poll_once
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.monitor import Monitor
from prefect_jobs.schedulers.connections import connections
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.acceptance.test_monitor import monitor
from tests.support import eventually

__all__ = ["monitor"]

LIMIT = 60


def test_live_output_is_shown_while_the_job_runs(
    shell_job: ShellJob, monitor: Monitor, prefect_view: PrefectView, monkeypatch: pytest.MonkeyPatch, flag: Path
) -> None:
    monkeypatch.setattr("prefect_jobs.monitor.live.EVERY", 1.0)
    # given a job that writes more than is shown at once, and later more than is shown in all
    waits = f"while [ ! -e '{flag}' ]; do sleep 0.1; done"
    line = f"seq 30; echo trouble >&2; printf half; {waits}; echo ' a line'; sleep 6; while sleep 1; do seq 100; done"
    job = shell_job(line, num_jobs=2, live_output=True)
    job.execute()
    first = "Standard output of process 0:\n…\n" + "\n".join(map(str, range(11, 31)))

    def said() -> list[str]:
        return [message.text for message in job.handle.backend.jobs.messages(job.id or 0)]

    # then the newest whole lines are there, each once, and they are on the Logs tab
    eventually(lambda: first in said() and "Standard error of process 1:\ntrouble" in said(), "it is shown", LIMIT)
    eventually(lambda: any(first in text for text in prefect_view.logs(job)), "it is on the Logs tab", LIMIT)
    assert job.get_logs()["Process 0"]["error"] == "trouble\n"
    flag.touch()
    eventually(lambda: any("half a line" in text for text in said()), "it goes on", LIMIT)
    # and at most 200 lines
    eventually(lambda: "No more of its output is shown here" in said()[-1], "it is enough", LIMIT)
    assert said().count(first) == 1
    shown = sum(text.count("\n") for text in said() if text.startswith("Standard "))
    assert shown == 200
    job.stop()
    assert job.status == "Aborted"


def test_live_output_is_true_or_false_and_what_the_job_says_wins(shell_job: ShellJob) -> None:
    with pytest.raises(ValueError, match="live_output is True or False, not 'yes'"):
        shell_job("true", live_output="yes")
    job = shell_job("true", live_output=True, attributes={"StreamOut": False})
    assert job.get_attribute("StreamOut") is False and job.get_attribute("stream_output") is None
    assert job.get_attribute("stream_error") is True


def test_output_that_is_not_streamed_is_read_by_condor_tail(
    shell_job: ShellJob, condor_pool: PersonalPool, monkeypatch: pytest.MonkeyPatch, flag: Path
) -> None:
    waits = f"while [ ! -e '{flag}' ]; do sleep 0.1; done"
    job = shell_job(f"echo begun; echo trouble >&2; {waits}; echo over", num_jobs=2)
    # given no such program, there is nothing
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    connections.interrupt()
    job.execute()
    eventually(lambda: polled(job) == "Running", "it runs", LIMIT)
    assert {log["output"] for log in job.get_logs().values()} == {""}
    # and with it, the output so far
    monkeypatch.setenv("PATH", f"{condor_pool.layout.directory / 'bin'}:/usr/bin:/bin")
    connections.interrupt()
    found = eventually(lambda: logs_with(job, "begun\n"), "the output is there", LIMIT)
    assert [log["error"] for log in found] == ["trouble\n"] * 2
    flag.touch()
    assert job.wait(LIMIT) == "Complete"
    assert [log["output"] for log in job.get_logs().values()] == ["begun\nover\n"] * 2


def polled(job: CondorJob) -> str:
    """Its status, asked for now."""
    poll_once(job)
    return job.cached_status


def logs_with(job: CondorJob, output: str) -> list[dict[str, str]]:
    """The logs of its processes, if all have written this."""
    found = list(job.get_logs().values())
    return found if all(log["output"] == output for log in found) else []
