"""What the page of a flow run says of a job that is over."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect_jobs.jobs.condor.job_page import text_of
from prefect_jobs.noted import CLUSTER, FILE_COUNT, FILES, PROCS
from prefect_jobs.records import JobRecord, StatusState
from prefect_jobs.schedulers.condor.observation import Proc
from prefect_jobs.schedulers.condor.submit import outputs

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


def record(*procs: Proc, files: list[tuple[str, int]] = [], count: int = 0, **spec: Any) -> JobRecord:  # noqa: B006
    state = StatusState(execute_time=START, completion_time=datetime(2026, 5, 1, 13, 2, 30, tzinfo=UTC))
    native = {CLUSTER: 7, PROCS: [proc.encode() for proc in procs], FILES: files, FILE_COUNT: count}
    return JobRecord(1, 1, "app", "CONDOR", "CondorJob", "a job", "alice", START, state, spec=spec, native=native)


def proc(number: int = 0, code: int | None = 0, **more: Any) -> Proc:
    started = int(START.timestamp()) + 90
    return Proc(number, "Completed", exit_code=code, host="node1", started=started, ended=started + 3660, **more)


def test_one_process() -> None:
    usage = {"cpus": [4, 0.9], "memory": [4096, 300], "wall": 3660.0}
    attributes = {"executable": "flood.sh", "arguments": ["a|b", "`c`\n<b>"]}
    text = text_of(
        record(proc(usage=usage), files=[("out/big.nc", 5_000_000), ("a.txt", 3)], count=9, attributes=attributes)
    )
    assert text is not None
    for line in (
        "| Executable | `flood.sh` |",
        "| Arguments | `a\\|b 'c' <b>` |",
        "| Cluster | `7` |",
        "| Machine | `node1` |",
        "| Exit code | `0` |",
        "| Waited | `1 min 30 s` |",
        "| Ran | `1 h 1 min` |",
        "| memory | 4,096 MB | 300 MB |",
        "- It used at most 300 of 4,096 MB of memory: request_memory = 384MB is enough.",
        "| `out/big.nc` | 5,000,000 |",
        "… and 7 more files.",
    ):
        assert line in text.splitlines()


def test_several_processes() -> None:
    text = text_of(record(proc(0), proc(1, 3), Proc(2, "Removed"), proc(3, None, exit_signal=9), initial_dir="/a/b"))
    assert text is not None
    assert "| Exit code | `process 1: 3, process 2: removed, process 3: signal 9` |" in text
    assert "| Cluster | `7, 4 processes` |" in text and "| Directory | `/a/b` |" in text
    assert "| Exit code | `0 of all processes` |" in (text_of(record(proc(0), proc(1))) or "")


def test_other_jobs_have_none() -> None:
    assert text_of(record()) is None


def test_the_largest_files(tmp_path: Path) -> None:
    for name, size in (("a", 3), ("b/c", 5), ("d", 1)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert outputs.largest(tmp_path, 2) == ([("b/c", 5), ("a", 3)], 3)
    assert outputs.largest(tmp_path / "none") == ([], 0)
