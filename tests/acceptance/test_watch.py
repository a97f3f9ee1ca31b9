"""``prefect-jobs watch`` on real jobs: its keys, pressed as in a terminal."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, RichLog, Static

from prefect_jobs.cli.watch_screen import Logs, Watch
from prefect_jobs.cli.watched import View
from prefect_jobs.errors import JobStateError
from prefect_jobs.monitor import Monitor
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import ShellJob
from tests.acceptance.test_monitor import monitor
from tests.commands import run_command
from tests.support import eventually

__all__ = ["monitor"]

LIMIT = 60
UNWATCHED = "no monitor runs: as last known (prefect-jobs monitor)"


def texts(watch: Watch) -> list[list[str]]:
    """The cells of the table."""
    table: DataTable[Any] = watch.screen_stack[0].query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(number)] for number in range(table.row_count)]


def said(watch: Watch) -> str:
    """What the screen with the logs shows."""
    return "\n".join(line.text for line in watch.screen.query_one(RichLog).lines)


async def until(pilot: Pilot[None], is_so: Callable[[], object]) -> None:
    """Waits until the screen shows something."""
    async with asyncio.timeout(LIMIT):
        while not is_so():
            await pilot.pause(0.05)


def test_jobs_are_followed_and_steered_by_keys(shell_job: ShellJob, monitor: Monitor, flag: Path) -> None:
    other = shell_job("exit 0", name="other")
    other.save()
    job = shell_job(f"echo first [bold]; while [ ! -e '{flag}' ]; do sleep 0.1; done", name="flood [red]\x1b[2J")
    job.execute()

    async def pressed() -> None:
        watch = Watch(View())
        async with watch.run_test(size=(160, 40)) as pilot:
            # a job runs
            await until(pilot, lambda: [row[4:6] for row in texts(watch)] == [
                ["flood [red]\ufffd[2J", "Running"], ["other", "Pending"],
            ])  # fmt: skip
            totals = watch.query_one("#totals", Static)
            assert str(totals.render()) == "2 jobs · Pending 1 · Running 1"
            # what is typed filters, also by field; what is no filter is said
            await pilot.press("slash", *"oth")
            await until(pilot, lambda: [row[4] for row in texts(watch)] == ["other"])
            await pilot.press("escape", "slash", *"status=Running")
            await until(pilot, lambda: [row[4] for row in texts(watch)] == ["flood [red]\ufffd[2J"])
            await pilot.press("escape", "slash", *"colour=red")
            await until(pilot, lambda: "colour" in str(watch.query_one("#problems", Static).render()))
            await pilot.press("escape")
            await until(pilot, lambda: len(texts(watch)) == 2)
            # its logs, which grow
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(watch.screen, Logs) and "Job executing on host" in said(watch))
            await asyncio.to_thread(flag.touch)
            await until(pilot, lambda: "first [bold]" in said(watch))
            await pilot.press("w", "escape")
            await until(pilot, lambda: texts(watch)[0][5] == "Complete")
            # a refusal is said
            await pilot.press("r")
            await until(
                pilot,
                lambda: any(one.severity == "error" and "Complete" in one.message for one in watch._notifications),
            )
            await pilot.press("q")

    asyncio.run(pressed())
    assert job.status == "Complete"


def test_a_job_is_stopped_when_the_question_is_answered(shell_job: ShellJob, monitor: Monitor) -> None:
    job = shell_job("sleep 1000", name="long")
    job.execute()

    async def pressed() -> None:
        watch = Watch(View("name=long"))
        async with watch.run_test() as pilot:
            await until(pilot, lambda: texts(watch) and texts(watch)[0][5] == "Running")
            await pilot.press("s", "n", "p")
            await until(pilot, lambda: texts(watch)[0][5] == "Paused")
            await pilot.press("s", "y")
            await until(pilot, lambda: texts(watch)[0][5] == "Aborted")

    asyncio.run(pressed())
    assert eventually(lambda: job.status == "Aborted", "it is stopped", LIMIT)
    with pytest.raises(JobStateError):
        job.stop()


def test_without_a_terminal_the_table_is_printed_once(shell_job: ShellJob, runtime: Runtime, tmp_path: Path) -> None:
    for number in range(3):
        shell_job("exit 0", name=f"job {number}").save()
    code, out, err = run_command(["watch", "--limit", "2"], cwd=tmp_path)
    assert code == 0 and "job 2" in out and "job 1" in out and "job 0" not in out
    assert err.strip() == f"3 jobs, the newest 2 shown · Pending 3 · {UNWATCHED}"
    code, out, err = run_command(["watch", "--once", "name=job 0"], cwd=tmp_path)
    assert code == 0 and "job 0" in out and err.strip() == f"1 job · Pending 1 · {UNWATCHED}"
    code, out, err = run_command(["watch", "--json", "type=condor", "user=alice"], cwd=tmp_path)
    found = json.loads(out)
    assert [job["name"] for job in found["jobs"]] == ["job 2", "job 1", "job 0"] and found["totals"] == {"Pending": 3}
    code, out, err = run_command(["watch", "--once", "limit=2"], cwd=tmp_path)
    assert code == 1 and "limit=… is for addresses of pages" in err
    code, out, err = run_command(["watch", "--user", "bob", "--once", "user=alice"], cwd=tmp_path)
    assert code == 0 and err.startswith("0 jobs")
    code, out, err = run_command(["watch", "--once", "colour=red"], cwd=tmp_path)
    assert code == 1 and "colour" in err and "Traceback" not in err
