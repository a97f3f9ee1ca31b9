"""A Tethys app moves: its imports are rewritten by the tool, and it runs on a real pool and a real cluster."""

import difflib
import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

import prefect_jobs
from prefect_jobs.blocks import CondorScheduler, DaskScheduler
from prefect_jobs.monitor import Monitor
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.tethys import TethysJob
from prefect_jobs.tethys.move import names
from prefect_jobs.web import JobsMiddleware, routes
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_cli import run
from tests.acceptance.test_monitor import monitor
from tests.support import eventually
from tests.unit.test_web_access import MIDDLEWARE

__all__ = ["monitor"]
pytestmark = pytest.mark.prefect
LIMIT = 120
APP = Path(__file__).parents[1] / "tethys_app"
PACKAGE = "tethysapp.river_floods"


class Visitor:
    """A user of the portal."""

    def __init__(self, username: str) -> None:
        self.username = username


def move(*arguments: str) -> tuple[int, str]:
    """Runs the tool; exit status, and what it has printed."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect_jobs.tethys", *arguments], capture_output=True, text=True, timeout=60
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def files(folder: Path) -> dict[str, str]:
    """Path → text of all files."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """The app, rewritten."""
    folder = tmp_path / "app"
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("__pycache__"))
    status, _ = move("rewrite", "--write", str(folder))
    assert status == 0
    return folder


@pytest.fixture
def app(moved: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Its modules, as the portal and the monitor import them."""
    monkeypatch.syspath_prepend(moved)
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "tethysapp"]:
        del sys.modules[name]


def test_nothing_but_imports_changes(moved: Path) -> None:
    before, after = files(APP), files(moved)
    assert list(before) == list(after)
    changed = {}
    for name, text in before.items():
        difference = difflib.ndiff(text.splitlines(), after[name].splitlines())
        changed[name] = [line for line in difference if line[0] in "+-"]
    for lines in changed.values():
        for line in lines:
            assert line[2:].startswith(("import ", "from ")), line
            assert "tethys_sdk" in line or (line[0] == "+" and names.NEW in line)
    assert {Path(name).stem for name, lines in changed.items() if lines} == {
        "analysis", "app", "controllers", "maintenance", "model", "scenario",
    }  # fmt: skip
    # and what is left to do by hand is named, as is what stays with the portal
    status, said = move("check", str(moved))
    (left,) = [line for line in said.splitlines() if ": will not work: " in line]
    assert status == 1 and left.endswith("home.html:6:3: will not work: {% gizmo jobs_table %}")
    assert "write: {{ jobs_table }}" in said and "stays with the portal: tethys_sdk.routing.controller" in said


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands for what stays with the portal: routing, buttons and templates. It has the context of the last page."""
    seen: dict[str, Any] = {}

    def module(name: str, **content: Any) -> None:
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)

    def render(request: Any, template: str, context: dict[str, Any]) -> HTMLResponse:
        seen.update(context, template=template)
        return HTMLResponse("".join(each.__html__() for each in context.values() if hasattr(each, "__html__")))

    module("django")
    module("django.shortcuts", render=render, redirect=lambda where: RedirectResponse(f"/{where}", 303))
    module("tethys_sdk")
    module("tethys_sdk.routing", controller=lambda **_: lambda view: view)
    module("tethys_sdk.gizmos", Button=dict)
    return seen


@pytest.mark.filterwarnings("ignore:The action 'log' is deprecated")
def test_its_pages_show_its_jobs(runtime: Runtime, app: Any, portal: dict[str, Any], alice: CondorScheduler) -> None:
    # given a portal with its routes, and jobs of two visitors
    app("app").App.assign_scheduler("pool", alice)
    views = app("controllers")
    manager = app("app").App.get_job_manager()
    for user in ("jane", "joe"):
        manager.create_job(name=f"run of {user}", user=user, job_type="CONDOR", attributes={}).save()
    site = Starlette(
        routes=[
            Mount(
                "/floods",
                name="river_floods",
                routes=[
                    Route("/", views.home),
                    Route("/levels/{job_id}", views.levels, name="levels"),
                ],
            ),
            Mount("/jobs", routes=routes(app("app").App)),
        ],
        middleware=[*MIDDLEWARE, Middleware(JobsMiddleware)],
    )
    client = TestClient(site, headers={"x-user": "jane"}, follow_redirects=False)
    # when, then
    page = client.get("/floods/").text
    assert portal["template"] == "river_floods/home.html" and "run of jane" in page and "run of joe" not in page
    assert 'formaction="/jobs/jobs/1/actions/run"' in page and "Levels <small>It is not possible" in page


def test_it_runs(
    runtime: Runtime,
    monitor: Monitor,
    app: Any,
    alice: CondorScheduler,
    dask: DaskScheduler,
    prefect_view: PrefectView,
    tmp_path: Path,
) -> None:
    # given its schedulers, and a visitor
    app("app").App.assign_scheduler("pool", alice)
    app("app").App.assign_scheduler("cluster", dask)
    visitor = Visitor("jane@example.org")
    assert alice.name in app("model").pools()
    # when runs of the model and a scenario are submitted
    low = app("model").run_model(visitor, "low", [1, 2, 3], str(tmp_path / "low"))
    high = app("model").run_model(visitor, "high", [10, 20, 30], str(tmp_path / "high"))
    absurd = app("model").run_model(visitor, "absurd", [1e6], str(tmp_path / "absurd"))
    scenario = app("scenario").run_scenario(visitor, "scenario", [5, 1, 8], str(tmp_path / "scenario"))
    jobs = [low, high, absurd, scenario]
    assert [job.status_message for job in jobs if job.cached_status == "Error"] == []
    # then the monitor ends them, and calls the app's function with the class that the app knows

    def over() -> bool:
        for job in jobs:
            job.refresh_from_db()
        return all(job.cached_status in ("Complete", "Error") for job in jobs)

    eventually(over, "they are over", LIMIT)
    assert [job._status for job in jobs] == ["COM", "COM", "ERR", "COM"], [job.status_message for job in jobs]
    assert low.extended_properties == {"rain": {"total": 6, "hours": 3}, "peak": pytest.approx(0.561)}
    assert "Peak 0.6 m" in low.status_message and "The model has diverged" in absurd.status_message
    assert "Peak 0.6 m" in prefect_view.state(low)[2]
    assert low.user == visitor
    # and the steps of the scenario were done in their order
    assert app("scenario").steps(scenario.id) == [
        ("prepare", "Complete"),
        ("model", "Complete"),
        ("report", "Complete"),
    ]
    (report,) = Path(scenario.workspace).rglob("report.txt")
    assert report.read_text() == "2 0.843\n"
    # and the comparison of the runs that are complete is computed on the cluster
    comparison = app("analysis").compare(visitor)
    assert comparison.name == "comparison of 2 runs"
    eventually(lambda: TethysJob.objects.get(id=comparison.id).cached_status == "Complete", "it is compared", LIMIT)
    mean = (low.extended_properties["peak"] + high.extended_properties["peak"]) / 2
    assert TethysJob.objects.get(id=comparison.id).result["mean"] == round(mean, 2)
    # and others see the same jobs
    assert [job.name for job in app("maintenance").failed()] == ["absurd"]
    ours = prefect_jobs.JobManager(app("app").App).list_jobs(user="jane@example.org")
    assert [type(job).__name__ for job in ours] == ["CondorJob"] * 3 + ["CondorWorkflow", "DaskJob"]
    assert not any(isinstance(job, TethysJob) for job in ours)
    assert "absurd" in run("list", "--app", "river_floods", "--status", "Error")[0]
    # and when they are removed, so are their files
    folders = [Path(job.initial_dir) for job in (low, high, absurd)]
    assert all(folder.is_dir() for folder in folders)
    assert app("maintenance").remove_old(0) == 5
    assert not any(folder.exists() for folder in folders)
