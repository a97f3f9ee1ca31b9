"""Outputs that have arrived: put in their places, and nowhere else."""

from pathlib import Path

import pytest

from prefect_jobs.schedulers.condor.submit import outputs
from prefect_jobs.schedulers.condor.submit.streams import flat_name, path_of


def arrive(directory: Path, name: str, proc: int = 0) -> None:
    outputs.prepare(directory, proc + 1, ("",))
    path = next(iter(directory.glob(f".incoming*/{proc}")), directory / ".incoming" / str(proc)) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("written by the job")


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["logs/a job.1.0.out", "out%2F.txt", "deep/er/out"])
def test_a_streamed_file_is_put_where_it_belongs(tmp_path: Path, path: str) -> None:
    arrive(tmp_path / "job", flat_name(path))

    assert outputs.put_in_place(tmp_path / "job") == {}

    assert files_in(tmp_path) == [f"job/{path}"]
    assert path_of(flat_name(path)) == path


@pytest.mark.parametrize(
    "name", ["..%2F..%2Fhome%2F.bashrc", "..%2Fother", "logs%2F..%2F..%2Fother", "{tmp}%2Fother", "%2Fetc%2Fpasswd", ""]
)
def test_a_name_that_leads_out_of_the_directory_stays_in_it(tmp_path: Path, name: str) -> None:
    flat = "_prefect_jobs_stream_" + name.format(tmp=str(tmp_path).replace("/", "%2F"))
    arrive(tmp_path / "users" / "job", flat)

    outputs.put_in_place(tmp_path / "users" / "job")

    assert files_in(tmp_path) == [f"users/job/{flat}"]
