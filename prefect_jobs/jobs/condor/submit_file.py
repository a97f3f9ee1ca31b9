"""The argument ``submit_file``: a submit file becomes the submit commands, the items and the folder of a job."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect_jobs.folders import TemporaryFolder
from prefect_jobs.jobs.condor import local_files
from prefect_jobs.jobs.condor.submit_commands import ITEMS
from prefect_jobs.schedulers.condor.submit import commands, description, file
from prefect_jobs.schedulers.condor.submit.input_files import DescriptionError

#: The keyword argument, and the key in a spec.
OPTION = "submit_file"


def merged(given: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The keyword arguments of ``create_job`` with what a submit file says; what is given besides it wins.

    Args:
        given: the arguments, with the path of the file.
        most: number of procs of one job, at most.

    Raises:
        ValueError: the file cannot be read, or says what is not possible; names file and line.
    """
    path = file.path_of(given[OPTION])
    found = file.read(path, most)
    own = {commands.canonical(name) for name in given.get("attributes") or {}}
    attributes = {name: value for name, value in found.attributes.items() if commands.canonical(name) not in own}
    for name, value in attributes.items():
        try:
            description.check_command(name, value)
        except ValueError as error:
            raise ValueError(f"{path}, line {file.line_of(name, path)}: {error}") from None
    items, count = given.get(ITEMS) or (), given.get("num_jobs", 1)
    if not items and count == 1:
        items, count = found.items, 1 if found.items else found.count or 1
    return {
        **given,
        OPTION: str(path),
        "attributes": {**attributes, **(given.get("attributes") or {})},
        ITEMS: items,
        "num_jobs": count,
    }


def check_files(spec: Mapping[str, Any]) -> None:
    """Checks that the files are there that the job of a submit file sends.

    Args:
        spec: of the job.

    Raises:
        ValueError: one is not there, or HTCondor cannot take it; names the submit file.
    """
    folder = Path(spec[local_files.FOLDER])
    with ExitStack() as stack:
        request = description.Request(
            name="job",
            attributes=spec["attributes"],
            directory=folder / ".no-such-folder",
            search=[folder],
            input_files=spec["remote_input_files"],
            count=len(spec[ITEMS]) or spec["num_jobs"],
            links=lambda: stack.enter_context(TemporaryFolder("links")),
            items=spec[ITEMS],
        )
        try:
            description.describe(request)
        except DescriptionError as error:
            text = str(error).replace(f"{request.directory}, ", "").replace(f" {str(request.directory)!r}", "")
            raise ValueError(f"{spec[OPTION]}: {text}") from None


def folder_of(spec: Mapping[str, Any]) -> str | None:
    """The folder of the file of a spec, in which its relative paths are meant; ``None``: it is of no file."""
    return str(Path(spec[OPTION]).parent) if spec.get(OPTION) else None
