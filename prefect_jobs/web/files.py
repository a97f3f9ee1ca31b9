"""The files of a job: a list of each folder, and downloads. Nothing outside the job's directory is shown."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import FileResponse, JSONResponse, Response

from prefect_jobs.jobs.base import Job
from prefect_jobs.web.problems import Problem
from prefect_jobs.web.visits import Visit

log = logging.getLogger(__name__)

#: Entries of a folder that are listed.
MOST = 2_000


@dataclass(frozen=True)
class Entry:
    """A file or a folder."""

    #: Relative to the job's directory.
    path: str
    #: Its name is no text: it is shown, and cannot be asked for.
    nameless: bool
    folder: bool
    size: int
    modified: datetime

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Folder:
    """What a folder has."""

    path: str
    entries: Sequence[Entry]
    #: There are more than are listed.
    more: bool


def directory_of(job: Job) -> Path | None:
    """The job's own directory; ``None``: jobs of its type have none, or it is gone."""
    found = getattr(job, "initial_dir", None)
    return Path(found) if found and os.path.isdir(found) else None  # noqa: PTH112 (found may be any text)


def inside(job: Job, text: str) -> Path:
    """A path in the job's directory.

    Raises:
        Problem: 404, there is none: also where a link leads out of the directory.
    """
    root = directory_of(job)
    missing = Problem(404, f"Job {job.id} has no file {text[:200]!r}.")
    if root is None or "\0" in text:
        raise missing
    try:
        found = (root / text).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise missing from error
    if not found.is_relative_to(root.resolve()):
        raise missing
    return found


def listed(job: Job, text: str = "") -> Folder:
    """The entries of a folder of the job, folders first.

    Raises:
        Problem: 404, there is no such folder.
    """
    if not text and directory_of(job) is None:
        return Folder("", (), more=False)
    folder = inside(job, text)
    if not folder.is_dir():
        raise Problem(404, f"{text[:200]!r} of job {job.id} is no folder.")
    prefix = f"{text.strip('/')}/" if text.strip("/") else ""
    entries: list[Entry] = []
    more = False
    try:
        there = os.scandir(folder)
    except OSError as error:
        log.warning("The files of job %s cannot be listed: %s", job.id, error)
        return Folder(prefix, (), more=False)
    with there:
        for each in there:
            if len(entries) == MOST:
                more = True
                break
            try:
                seen = each.stat(follow_symlinks=False)
            except OSError:
                continue  # deleted at this moment
            is_folder = each.is_dir(follow_symlinks=False)
            when = datetime.fromtimestamp(seen.st_mtime, UTC)
            name = each.name.encode(errors="surrogateescape").decode(errors="replace")
            size = 0 if is_folder else seen.st_size
            entries.append(Entry(f"{prefix}{name}", name != each.name, is_folder, size, when))
    entries.sort(key=lambda each: (not each.folder, each.name))
    return Folder(prefix, entries, more)


def is_readable(path: Path) -> bool:
    """Whether a path is a file that this process may read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb"):
            return True
    except OSError:
        return False


async def download(visit: Visit) -> Response:
    """``GET /jobs/<id>/files/<path>``."""
    job = await visit.job(visit.request.path_params["job_id"], "logs")
    text = visit.request.path_params["path"]
    found = await run_sync(inside, job, text)
    if not await run_sync(is_readable, found):
        raise Problem(404, f"{text[:200]!r} of job {job.id} is no file that can be read.")
    name = text.rstrip("/").rpartition("/")[2]
    # Never shown by the browser: a file of a job may be a page with scripts.
    return FileResponse(found, media_type="application/octet-stream", filename=name)


async def as_json(visit: Visit) -> Response:
    """``GET /api/jobs/<id>/files?folder=…``."""
    job = await visit.job(visit.request.path_params["job_id"], "logs")
    folder = await run_sync(listed, job, visit.request.query_params.get("folder", ""))
    return JSONResponse({"files": [_described(each) for each in folder.entries], "more": folder.more})


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "folder": entry.folder,
        "size": entry.size,
        "modified": entry.modified.isoformat(),
    }
