"""Submit files: what runs is what condor_submit would run."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import CondorJob, JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.monitor import Monitor
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import PrefectView, read
from tests.acceptance.submit_files import BESIDE, FILES
from tests.acceptance.test_monitor import becomes, monitor
from tests.classads import ClassAd
from tests.commands import run_command

__all__ = ["monitor"]
#: Attributes that the files set, besides arguments and environment.
SET = (
    "JobUniverse", "RequestCpus", "RequestMemory", "RequestDisk", "JobPrio", "JobMaxRetries",
    "JobMaxVacateTime", "JobNotification", "Project", "Number", "Flag", "Common", "Late",
)  # fmt: skip


def ads_of(text: str) -> list[dict[str, Any]]:
    """The ads that condor_submit would make: each has what the one before has, unless it says otherwise."""
    found: list[dict[str, Any]] = []
    for part in text.split("\n.\n")[:-1]:
        ad = ClassAd("[" + ";".join(line for line in part.splitlines() if re.match(r"\w+ *=", line)) + "]")
        found.append({**(found[-1] if found else {}), **{name.lower(): ad[name] for name in ad}})
    return found


def words_of(ad: Mapping[str, Any]) -> list[str]:
    """The arguments of an ad, in either syntax of HTCondor."""
    if ad.get("arguments") is None:
        return str(ad.get("args") or "").split()
    found = re.findall(r"((?:[^\s']|'(?:[^']|'')*')+)", str(ad["arguments"]))
    return [re.sub(r"'((?:[^']|'')*)'", lambda quoted: quoted[1].replace("''", "'"), word) for word in found]


def environment_of(ad: Mapping[str, Any]) -> set[str]:
    return set(words_of({"arguments": ad.get("environment") or ""}))


def value_of(ad: Mapping[str, Any], name: str) -> str | None:
    """A value that the file has set; what condor_submit guesses is none."""
    found = ad.get(name.lower())
    text = str(found).replace(" ", "").lower()
    return None if found is None or text == "undefined" or "memoryusage" in text or text == "diskusage" else text


def lay_out(folder: Path, text: str) -> Path:
    for name, content in BESIDE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755)
    file = folder / "job.sub"
    file.write_bytes(text.encode())
    return file


def test_the_same_ads(
    manager: JobManager, alice: CondorScheduler, condor_pool: PersonalPool, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    read(alice)
    jobs: dict[str, CondorJob] = {}
    for number, (name, text) in enumerate(FILES.items()):
        file = lay_out(tmp_path / str(number), text)
        with subtests.test(name, step="create"):
            job = manager.create_job(name, "alice", job_type="CONDOR", scheduler=alice, submit_file=file)
            assert isinstance(job, CondorJob)
            jobs[name] = job
    manager.execute_jobs(jobs.values())
    queued: dict[Any, list[dict[str, Any]]] = {}
    for ad in sorted(alice.get_client().query("true", ()), key=lambda ad: int(ad["ProcId"])):
        queued.setdefault(str(ad["ClusterId"]), []).append(ad)
    ids = " || ".join(f"ClusterId == {job.remote_id}" for job in jobs.values() if job.remote_id)
    alice.get_client().act("Remove", ids, "the other tests need the pool")
    for number, name in enumerate(FILES):
        with subtests.test(name):
            assert jobs[name].remote_id, jobs[name].status_message
            done = subprocess.run(
                ["condor_submit", "-dry-run", "-", "job.sub"], cwd=tmp_path / str(number), env=condor_pool.env(),
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            wanted = ads_of(done.stdout)
            found = [{key.lower(): value for key, value in ad.items()} for ad in queued[jobs[name].remote_id]]
            assert [words_of(ad) for ad in found] == [words_of(ad) for ad in wanted]
            assert [environment_of(ad) for ad in found] == [environment_of(ad) for ad in wanted]
            for attribute in SET:
                given = [value_of(ad, attribute) for ad in wanted]
                if any(given):
                    assert [value_of(ad, attribute) for ad in found] == given, attribute


def test_its_files_come_back_where_it_says(
    manager: JobManager,
    monitor: Monitor,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given a file with inputs beside it, and a process that fails for one of its items
    file = lay_out(
        tmp_path / "case",
        """
        executable = sum.sh
        arguments = $(place) $(year)
        transfer_input_files = inputs/$(place).dat, common.inc
        output = out/$(place).txt
        error = out/$(place).err
        request_memory = 16
        queue place, year from (
          one, 2020
          two, 2021
        )
        """,
    )
    program = file.with_name("sum.sh")
    program.write_text("#!/bin/sh\ncat $1.dat common.inc > sum-$1.txt; echo $1 in $2; test $1 = one\n")
    program.chmod(0o755)
    read(alice)
    # when it is created in another folder
    monkeypatch.chdir(tmp_path)
    job: Any = manager.create_job(
        "sums",
        "alice",
        job_type="CONDOR",
        scheduler=alice,
        submit_file="case/job.sub",
        attributes={"Request_Memory": 24},
    )
    assert job.num_jobs == 2 and job.get_attribute("request_memory") == 24
    assert job.items == [{"place": "one", "year": "2020"}, {"place": "two", "year": "2021"}]
    job.execute()
    # then
    becomes(job, "Various-Complete")
    job.handle.refresh()
    assert job.exit_codes == {0: 0, 1: 1}
    folder = Path(job.initial_dir)
    assert (folder / "out" / "one.txt").read_text() == "one in 2020\n"
    assert (folder / "sum-two.txt").read_text().startswith("2\n")
    assert job.get_logs()["Process 1"]["output"] == "two in 2021\n"
    # and it runs again without the file, also as a copy of its run
    file.unlink()
    parameters = prefect_view.run(job)["parameters"]
    assert "submit_file" not in parameters and parameters["items"] == job.items
    assert parameters["executable"] == str(program)
    assert str(file.parent) in parameters["attributes"]["transfer_input_files"]
    program.write_text(program.read_text().replace("test $1 = one", "true"))
    job.resubmit()
    becomes(job, "Complete")


def test_each_process_has_its_folder(
    manager: JobManager, monitor: Monitor, alice: CondorScheduler, tmp_path: Path
) -> None:
    # given a file whose processes have a folder each
    read(alice)
    for number in range(2):
        (tmp_path / "runs" / f"run{number}").mkdir(parents=True)
        (tmp_path / "runs" / f"run{number}" / "in.txt").write_text(f"{number}\n")
    (tmp_path / "runs" / "sum.sh").write_text("#!/bin/sh\ncat in.txt > result.txt; echo done $1\n")
    (tmp_path / "runs" / "job.sub").write_text(
        "executable = sum.sh\ninitialdir = run$(Process)\ntransfer_input_files = in.txt\narguments = $(Process)\n"
        "output = out/o.txt\nrequest_memory = 16\nqueue 2\n"
    )
    runs: Any = manager.create_job(
        "runs", "alice", job_type="CONDOR", scheduler=alice, submit_file=tmp_path / "runs" / "job.sub"
    )
    # when
    runs.execute()
    # then
    becomes(runs, "Complete")
    inside = {str(path.relative_to(runs.initial_dir)) for path in Path(runs.initial_dir).rglob("*.txt")}
    assert inside == {"run0/result.txt", "run1/result.txt", "run0/out/o.txt", "run1/out/o.txt"}
    assert (Path(runs.initial_dir) / "run1" / "result.txt").read_text() == "1\n"
    assert runs.get_logs()["Process 1"]["output"] == "done 1\n"


def test_submit_by_the_command(
    runtime: Runtime, alice: CondorScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lay_out(tmp_path / "case", "executable = prog.sh\nrequest_memory = 16\nqueue 2\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        # FORCE_COLOR: what it prints is as in a terminal
        return run_command(arguments, {**os.environ, "FORCE_COLOR": "1"}, cwd=tmp_path)

    # when
    code, out, err = run(
        "submit", str(file), "--scheduler", str(alice.name), "--set", "priority = 3", "--wait", "--json"
    )
    # then
    assert code == 0, err
    said = json.loads(out)
    assert (said["status"], said["name"], said["app"]) == ("Complete", "job", "default")
    job: Any = runtime.job(runtime.store.get(said["id"]))  # type: ignore[arg-type]
    assert job.get_attribute("priority") == "3" and f"job {job.id}: 2 processes in cluster {job.remote_id}" in err
    assert re.search(r"process 0 *Completed", err) and re.search(r"process 1 *Completed", err), err
    # and what is wrong is said in a sentence
    for given, words in (
        (["case/nothing.sub"], "does not exist"),
        ([str(file), "--set", "priority"], "--set takes COMMAND=VALUE"),
        ([str(file), "--scheduler", "nowhere"], "no scheduler 'nowhere'"),
        (["-"], "standard input"),
    ):
        code, out, err = run("submit", *given)
        assert code == 1 and words in err and "Traceback" not in err and not out
