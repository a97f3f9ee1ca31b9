"""Submit files that are run in both ways: by condor_submit, and as jobs."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from prefect_jobs import CondorJob, JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.condor_pool import PersonalPool
from tests.acceptance.conftest import read
from tests.acceptance.submit_files import BESIDE, FILES
from tests.acceptance.test_submit_file import lay_out
from tests.support import eventually

LIMIT = 240
#: Writes what it gets: its arguments, environment, inputs and standard input; its exit code depends on them.
PROGRAM = """#!/bin/sh
for word in "$@"; do printf '<%s>' "$word"; done; echo
echo "A=$A B=$B C=$C"
ls | grep -v -E '^(_condor|condor_exec|tmp|var|docker|[oe][.][0-9]+|e.txt|l.log)' | sort | tr '\\n' ' '; echo
if read line; then echo "in: $line"; fi
echo oops >&2
exit $(($# % 3))
"""


def test_processes_outputs_and_exit_codes_are_the_same(
    manager: JobManager, alice: CondorScheduler, condor_pool: PersonalPool, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    # given each file, submitted by condor_submit, and as a job
    read(alice)
    token = {"_CONDOR_SEC_TOKEN_DIRECTORY": str(condor_pool.export_token("alice"))}
    environment = {**os.environ, **condor_pool.env(), **token, "_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS": "IDTOKENS"}
    clusters: dict[str, list[str]] = {}
    jobs: dict[str, CondorJob] = {}
    for number, (name, text) in enumerate(FILES.items()):
        named = text if "output" in text else f"output = o.$(Process)\nerror = e.$(Process)\n{text}"
        for way in ("bare", "ours"):
            file = lay_out(tmp_path / way / str(number), named)
            file.with_name("prog.sh").write_text(PROGRAM)
        done = subprocess.run(
            ["condor_submit", "-spool", "-terse", "job.sub"], cwd=tmp_path / "bare" / str(number), env=environment,
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        clusters[name] = list(dict.fromkeys(re.findall(r"^(\d+)\.", done.stdout, re.MULTILINE)))
        job = manager.create_job(name, "alice", job_type="CONDOR", scheduler=alice, submit_file=file)
        assert isinstance(job, CondorJob)
        jobs[name] = job
    manager.execute_jobs(list(jobs.values()))
    # when all are over
    manager.wait_jobs(list(jobs.values()), LIMIT)
    client = alice.get_client()
    mine = " || ".join(f"ClusterId == {cluster}" for each in clusters.values() for cluster in each)
    eventually(lambda: not client.query(f"({mine}) && JobStatus != 4", ("ProcId",)), "the others are over", LIMIT)
    client.retrieve(mine)
    codes = {
        (str(ad["ClusterId"]), int(ad["ProcId"])): ad.get("ExitCode")
        for ad in client.query(mine, ("ClusterId", "ProcId", "ExitCode"))
    }
    client.act("Remove", mine, "the other tests need the pool")
    # then nothing differs
    for number, name in enumerate(FILES):
        with subtests.test(name):
            (cluster,) = clusters[name]
            wanted = {proc: code for (one, proc), code in sorted(codes.items()) if one == cluster}
            assert jobs[name].exit_codes == wanted
            assert outputs(Path(jobs[name].initial_dir)) == outputs(tmp_path / "bare" / str(number))


def outputs(folder: Path) -> dict[str, str]:
    """The files that a submission has left, without HTCondor's logs; cluster numbers differ."""
    given = {*BESIDE, "job.sub"}
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        re.sub(r"^out/\d+\.", "out/C.", name): path.read_text()
        for name, path in found.items()
        if name not in given and not name.startswith("logs/") and not name.endswith(".log")
    }
