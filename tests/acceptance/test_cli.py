"""The command line, as a shell runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prefect_jobs import JobManager
from prefect_jobs.blocks import CondorScheduler, get_scheduler
from prefect_jobs.cli.root import app
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.store.tables import SCHEMA_HEAD
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.commands import run_command
from tests.forks import run_program

COMMANDS = (
    "demo", "condor up", "condor down", "condor status", "condor env", "list", "show", "wait", "logs", "stop", "pause",
    "resume", "resubmit", "delete", "schedulers", "check", "assign", "deploy", "serve", "db upgrade",
)  # fmt: skip

APP = """
from prefect_jobs import App, SchedulerSetting
class Mine(App):
    name = package = "cli_app"
    def scheduler_settings(self):
        return [SchedulerSetting("main")]
"""


def run(
    *arguments: Any,
    status: int = 0,
    cwd: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    fresh: bool = False,
) -> tuple[str, str]:
    """What a command prints on standard output and error. With ``fresh``, a new Python runs it."""
    env = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
    given = list(map(str, arguments))
    if fresh:
        command = [sys.executable, "-m", "prefect_jobs", *given]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=120)
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        code, out, err = run_command(given, env, cwd)
    assert code == status, out + err
    assert "Traceback" not in err, err
    return out, err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    found = CliRunner().invoke(app, [*name.split(), "--help"])
    assert found.exit_code == 0 and "Usage" in found.output


def test_a_condor_job_by_commands_alone(shell_job: ShellJob, manager: JobManager) -> None:
    job = shell_job("echo out; echo err >&2; sleep 1", name="from python")
    job.execute()
    out, _ = run("wait", job.id, "--timeout", 60, fresh=True)
    assert out == "Complete\n"
    out, _ = run("show", job.id, "--json")
    shown = json.loads(out)
    assert shown["status"] == "Complete" and shown["exit_codes"] == {"0": 0} and shown["flow_run_id"] == job.flow_run_id
    out, _ = run("logs", job.id, "--follow")
    assert out.splitlines().count("out") == out.splitlines().count("err") == 1
    assert "Submitted as cluster" in out and "==> output <==\nout" in out and "==> error <==\nerr" in out
    assert [row["id"] for row in json.loads(run("list", "--json", "--status", "Complete")[0])] == [job.id]
    assert json.loads(run("list", "--json", "--app", "another")[0]) == []
    assert "from python" in run("list")[0]
    job.set_attribute("arguments", ["-c", "sleep 600"])
    job.save()
    assert f"job {job.id}: Submitted" in run("resubmit", job.id)[1]
    assert f"job {job.id}: Paused" in run("pause", job.id)[1]
    assert f"job {job.id}: " in run("resume", job.id)[1]
    _, said = run("stop", job.id, 999, status=1)
    assert f"job {job.id}: Aborted" in said and "job 999: error: There is no job 999" in said
    _, said = run("stop", job.id, status=1)
    assert "Aborted" in said and "not possible" in said
    assert "ended as Aborted" in run("wait", job.id, status=1)[1]
    run("delete", job.id, "--clean")
    assert manager.list_jobs() == [] and not Path(job.initial_dir).exists()


def test_schedulers_are_listed_checked_and_assigned(
    alice: CondorScheduler, manager: JobManager, prefect_view: PrefectView, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(APP)
    assert "pool-of-alice" in [row["name"] for row in json.loads(run("schedulers", "--json")[0])]
    assert "reached and authorized" in run("check", "pool_of_alice")[0]
    assert "no scheduler 'nowhere'" in run("check", "nowhere", status=1)[1]
    assigned = run("assign", "mine:Mine", "main", "pool-of-alice", cwd=tmp_path)
    assert assigned == ("", "mine:Mine: main is pool-of-alice\n")
    assert (
        "no scheduler setting 'other'"
        in run("assign", "mine:Mine", "other", "pool-of-alice", cwd=tmp_path, status=1)[1]
    )


def test_schedulers_are_added_and_removed(
    alice: CondorScheduler, condor_pool: PersonalPool, manager: JobManager, tmp_path: Path
) -> None:
    info, secret = condor_pool.up(), tmp_path / "token"
    secret.write_text(f"{condor_pool.token('bob')}\n")
    at = ("--host", info.host, "--port", str(info.port))
    # a token that does not let us in is not saved
    (tmp_path / "bad").write_text("nonsense")
    bad = run("schedulers", "add", "mine_too", *at, "--token-file", str(tmp_path / "bad"), status=1)[1]
    assert "token" in bad and "nonsense" not in bad
    assert "no scheduler 'mine_too'" in run("check", "mine_too", status=1)[1]
    # a good one is
    said = run("schedulers", "add", "mine_too", *at, "--token-file", str(secret))[1]
    assert "reached and authorized" in said and "mine-too is saved" in said and secret.read_text().strip() not in said
    assert "already" in run("schedulers", "add", "mine_too", *at, "--token-file", str(secret), status=1)[1]
    run("schedulers", "add", "mine-too", *at, "--token-file", str(secret), "--overwrite", "--no-check")
    for wrong, words in (
        (("--token", "--token-file", "x"), "use one of them"),
        (("--engine", "slurm"), "no scheduler type 'slurm'"),
        (("--token-file", str(tmp_path / "missing")), "missing"),
        (("--timeout", "3"), "takes no 'timeout'"),
    ):
        assert words in run("schedulers", "add", "other", *at, *wrong, status=1)[1]
    # a block is not removed while jobs need it
    program = {"executable": "/bin/sleep", "arguments": "300", "transfer_executable": False, "request_memory": "32MB"}
    job = manager.create_job("a", "bob", job_type="CONDOR", scheduler=get_scheduler("mine-too"), attributes=program)
    job.execute()
    assert "Not all jobs at 'mine-too' are over (1: " in run("schedulers", "remove", "mine-too", status=1)[1]
    job.stop()
    assert "mine-too is removed" in run("schedulers", "remove", "mine_too")[1]
    assert "no scheduler 'mine-too'" in run("schedulers", "remove", "mine-too", status=1)[1]


#: Flows, and what the names of their deployments have of them.
FLOWS = {"basic-job": "basic", "condor-job": "condor", "condor-workflow": "condor-workflow", "dask-job": "dask"}


def test_deploy_can_be_repeated(runtime: Runtime, prefect_view: PrefectView, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(APP.replace("cli_app", "deployed_app"))

    def deploy(*more: str) -> dict[str, Any]:
        rows = json.loads(run("deploy", "mine:Mine", "--json", *more, cwd=tmp_path)[0])
        return {row["name"]: (row["change"], row["fields"]) for row in rows if row["kind"] != "block"}

    def there(name: str) -> dict[str, Any]:
        found: dict[str, Any] = prefect_view.get(f"/deployments/name/{name}")
        return found

    first = [f"{flow}/deployed_app {word}" for flow, word in FLOWS.items()]
    try:
        assert deploy("--dry-run") == {name: ("created", []) for name in first}
        assert prefect_view.status(f"/deployments/name/{first[0]}") == 404
        assert deploy() == {name: ("created", []) for name in first}
        assert there(first[1])["work_pool_name"] is None and there(first[1])["enforce_parameter_schema"]
        assert there(first[1])["id"] in runtime.store.deployments()
        # people's edits stay
        mine = {"paused": True, "tags": ["mine"], "description": "ours"}
        prefect_view.request("PATCH", f"/deployments/{there(first[1])['id']}", mine)
        timing = [{"schedule": {"interval": 7200.0}, "active": True}]
        prefect_view.request("POST", f"/deployments/{there(first[1])['id']}/schedules", timing)
        before = there(first[1])
        assert deploy() == {name: ("unchanged", []) for name in first}
        assert there(first[1]) == before
        # with a pool and a version
        pooled = [f"{flow}/deployed_app {word} @batch-jobs" for flow, word in FLOWS.items()]
        options = ("--pool", "batch-jobs", "--limit", "2", "--collision", "cancel_new", "--version", "1.2")
        made = deploy(*options)
        assert made["batch-jobs"] == ("created", []) and made[first[0]] == ("changed", ["version"])
        ours = there(pooled[1])
        assert (ours["work_pool_name"], ours["version"], ours["global_concurrency_limit"]["limit"]) == (
            "batch-jobs", "1.2", 2,
        )  # fmt: skip
        assert ours["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        assert {change for change, _ in deploy(*options).values()} == {"unchanged"}
        assert there(first[1])["work_pool_name"] is None
        pool = prefect_view.get("/work_pools/batch-jobs")
        assert pool["type"] == "prefect-jobs"
        assert {"scheduler", "request_memory", "attributes"} <= pool["base_job_template"]["variables"][
            "properties"
        ].keys()
    finally:
        for each in prefect_view.post("/deployments/filter", {"deployments": {"tags": {"all_": ["app:deployed_app"]}}}):
            prefect_view.request("DELETE", f"/deployments/{each['id']}")
        if prefect_view.status("/work_pools/batch-jobs") == 200:
            prefect_view.request("DELETE", "/work_pools/batch-jobs")
    assert "cannot be loaded" in run("deploy", "nothing:Mine", cwd=tmp_path, status=1)[1]
    assert (
        "--limit is about deployments in a work pool"
        in run("deploy", "mine:Mine", "--limit", "2", cwd=tmp_path, status=1)[1]
    )
    wrong = run("deploy", "mine:Mine", "--pool", "x", "--limit", "2", "--collision", "no", cwd=tmp_path, status=1)[1]
    assert "--collision is ENQUEUE or CANCEL_NEW, not 'no'" in wrong


def test_a_deployment_that_an_earlier_version_has_named_stays(
    runtime: Runtime, prefect_view: PrefectView, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(APP.replace("cli_app", "earlier_app"))
    flow = prefect_view.post("/flows/", {"name": "condor-job"})["id"]
    body = {"name": "earlier_app", "flow_id": flow, "entrypoint": "prefect_jobs.flows.condor_job:condor_job"}
    earlier = prefect_view.post("/deployments/", {**body, "tags": ["prefect-jobs", "app:earlier_app"]})["id"]
    try:
        rows = json.loads(run("deploy", "mine:Mine", "--json", cwd=tmp_path)[0])
        changes = {row["name"]: row["change"] for row in rows if row["name"].startswith("condor-job/")}
        assert changes == {"condor-job/earlier_app": "changed"} and earlier in runtime.store.deployments()
    finally:
        for each in prefect_view.post("/deployments/filter", {"deployments": {"tags": {"all_": ["app:earlier_app"]}}}):
            prefect_view.request("DELETE", f"/deployments/{each['id']}")


def test_a_bad_setting_stops_with_the_variables_name() -> None:
    assert (
        "PREFECT_JOBS_POLL_INTERVAL"
        in run("list", status=1, environment={"PREFECT_JOBS_POLL_INTERVAL": "soon"}, fresh=True)[1]
    )
    _, said = run("list", status=1, environment={"PREFECT_JOBS_DATABASE_URL": "mysql://root:s3cret@db/jobs"})
    assert "PREFECT_JOBS_DATABASE_URL" in said and "s3cret" not in said


def test_the_database_is_upgraded_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    import sqlite3

    url = f"sqlite:///{tmp_path / 'new.db'}"
    assert f"none -> {SCHEMA_HEAD}" in run("db", "upgrade", environment={"PREFECT_JOBS_DATABASE_URL": url})[1]
    with sqlite3.connect(tmp_path / "new.db") as connection:
        connection.execute("UPDATE prefect_jobs_version SET version_num = '9999'")
    for command in (("list",), ("db", "upgrade")):
        assert "newer" in run(*command, status=1, environment={"PREFECT_JOBS_DATABASE_URL": url})[1]


def test_the_personal_pool_by_commands(condor_pool: PersonalPool, tmp_path: Path) -> None:
    # given the programs, which the pool of these tests has brought already
    folder = condor_pool.layout.directory.parent / "cli"
    folder.mkdir(mode=0o755)
    home = {"PREFECT_JOBS_HOME": str(folder)}
    assert "not up" in run("condor", "status", "--name", "cli", status=1, environment=home)[1]
    out, _ = run("condor", "up", "--name", "cli", "--cpus", 1, "--identity", "carol", "--json", environment=home)
    try:
        assert list(json.loads(out)["tokens"]) == ["carol"]
        assert json.loads(run("condor", "status", "--name", "cli", "--json", environment=home)[0])["answering"] is True
        exports, _ = run("condor", "env", "--name", "cli", environment=home)
        done = subprocess.run(["sh", "-c", f"{exports}\ncondor_q"], capture_output=True, text=True)
        assert done.returncode == 0 and "Total for query: 0 jobs" in done.stdout
    finally:
        run("condor", "down", "--name", "cli", "--remove", environment=home)
    assert "was not up" in run("condor", "down", "--name", "cli", environment=home)[1]


def test_a_thread_that_reads_a_block_at_the_end_shows_no_traceback() -> None:
    # given a command whose thread sends an event when no thread can be started any more
    script = """
import threading
from prefect.events import emit_event
from prefect_jobs.cli.root import root

def late():
    threading.main_thread().join()
    emit_event("late", {"prefect.resource.id": "a-block"})
    print("sent", flush=True)

root()
threading.Thread(target=late).start()
"""
    # when
    done = run_program([sys.executable, "-c", script], timeout=60)
    # then
    assert (done.returncode, done.stdout, done.stderr) == (0, "sent\n", "")
