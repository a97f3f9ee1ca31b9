"""Which of a job's files are files of this machine."""

from pathlib import Path
from typing import Any

import pytest

from prefect_jobs.jobs.condor.local_files import Places, settled


@pytest.mark.parametrize(
    ("given", "settles"),
    [
        ({"attributes": {"executable": "python3"}}, True),
        ({"attributes": {"executable": "python3", "transfer_executable": False}}, False),
        ({"attributes": {"Executable": "python3", "Transfer_Executable": "NO"}}, False),
        ({"attributes": {"executable": "python3", "should_transfer_files": "NO"}}, False),
        ({"attributes": {"executable": "python3"}, "condorpy_template_name": "vanilla_nfs"}, False),
        ({"attributes": {"input": "python3", "executable": "/bin/sh"}}, True),
        ({"attributes": {"input": "python3", "executable": "/bin/sh", "transfer_input": "false"}}, False),
    ],
)
def test_what_is_not_sent_is_a_file_of_the_execution_machine(
    tmp_path: Path, given: dict[str, Any], settles: bool
) -> None:
    (tmp_path / "python3").touch()

    found = settled(given, Places(others=[tmp_path]))["attributes"]

    assert (str(tmp_path / "python3") in found.values()) is settles
    assert ("python3" in found.values()) is not settles
