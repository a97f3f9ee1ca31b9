"""What is built and published: the links `prefect_jobs/flows` and `prefect_jobs/blocks` are easily lost on the way."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

import prefect_jobs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist of this checkout, and the wheel that was made from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    # Without isolation: hatchling is among what is locked, and no index is asked.
    build(ROOT, "--outdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        yield archive


def build(source: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *arguments, str(source)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files_of(archive: zipfile.ZipFile) -> set[str]:
    return {name for name in archive.namelist() if not name.endswith("/")}


def metadata_folder() -> str:
    return f"prefect_jobs-{prefect_jobs.__version__}.dist-info"


def source_files(folder: str) -> set[str]:
    """The files below a top-level folder, by their paths in it; not those below its links."""
    top = ROOT / folder
    return {
        path.relative_to(top).as_posix()
        for path in top.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
        if not any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(top))
    }


def test_the_wheel_made_from_the_sdist_has_every_file_of_the_package_flows_and_blocks(wheel: zipfile.ZipFile) -> None:
    # given
    expected = {f"prefect_jobs/{path}" for path in source_files("prefect_jobs")}
    expected |= {f"prefect_jobs/{folder}/{path}" for folder in ("flows", "blocks") for path in source_files(folder)}
    # when
    files = {path for path in files_of(wheel) if not path.startswith(metadata_folder())}
    # then
    assert files == expected
    assert {
        "prefect_jobs/py.typed",
        "prefect_jobs/flows/__init__.py",
        "prefect_jobs/blocks/__init__.py",
        "prefect_jobs/store/migrations/env.py",
        "prefect_jobs/store/migrations/versions/0001_first.py",
        "prefect_jobs/store/migrations/versions/0002_workflow_nodes.py",
        "prefect_jobs/store/migrations/versions/0003_blobs.py",
        "prefect_jobs/store/migrations/versions/0004_leases_checks.py",
    } <= files


def test_nothing_but_the_package_is_installed_at_top_level(wheel: zipfile.ZipFile) -> None:
    # when
    top = {path.partition("/")[0] for path in files_of(wheel)}
    # then
    assert top == {"prefect_jobs", metadata_folder()}


def test_a_wheel_made_from_the_checkout_has_the_same_files(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    # when
    build(ROOT, "--wheel", "--outdir", str(tmp_path))
    # then
    (direct,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(direct) as archive:
        assert files_of(archive) == files_of(wheel)


def test_the_wheel_names_the_command_and_the_collection(wheel: zipfile.ZipFile) -> None:
    # when
    entry_points = ConfigParser()
    entry_points.read_string(wheel.read(f"{metadata_folder()}/entry_points.txt").decode())
    # then
    assert dict(entry_points["console_scripts"]) == {"prefect-jobs": "prefect_jobs.cli:main"}
    assert dict(entry_points["prefect.collections"]) == {
        "prefect_jobs": "prefect_jobs.blocks",
        "prefect_jobs_worker": "prefect_jobs.worker",
    }


def test_the_sdist_has_what_is_needed_to_test_it_and_nothing_twice(built: Path) -> None:
    # when
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    # then
    expected = {f"tests/{path}" for path in source_files("tests")} | {
        f"scripts/{path}" for path in source_files("scripts")
    }
    assert expected | {"LICENSE", "Makefile", "pyproject.toml", "requirements-dev.txt"} <= names
    assert {"flows", "blocks"}.isdisjoint(name.partition("/")[0] for name in names)
