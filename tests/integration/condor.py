"""Jobs on the tests' HTCondor pool: from submit commands to a cluster and its outputs, by the client alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception
from typing import Any

import psutil

from prefect_jobs.local import condor_tools
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.schedulers.condor.client import Access, CondorClient
from prefect_jobs.schedulers.condor.submit import outputs
from prefect_jobs.schedulers.condor.submit.description import Description, Request, describe
from tests.support import eventually

#: So that many jobs fit into a small pool.
SMALL = {"request_memory": 16, "request_disk": 1024}
#: A program that every machine has.
SH = {"executable": "/bin/sh", "transfer_executable": False}
#: A job that stays where it is. HTCondor takes no spooled job that is to be held.
HELD = {**SH, "hold": True, "should_transfer_files": "NO"}


def access_to(personal_pool: PersonalPool, identity: str, **more: Any) -> Access:
    """The pool as a remote user reaches it."""
    info = personal_pool.up()
    return Access(**{"host": info.host, "port": info.port, "token": personal_pool.token(identity), **more})


def token_for_reading(pool: PersonalPool, identity: str) -> str:
    """A token with which nothing can be submitted."""
    name = f"{identity}@{pool.up().trust_domain}"
    command = ["condor_token_create", "-identity", name, "-authz", "READ"]
    return condor_tools._run(pool.layout, pool.layout.config, command, as_daemons=True).strip()


def helpers() -> set[psutil.Process]:
    """The helper processes that this process has started."""
    return {
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "prefect_jobs.schedulers.condor.helper" in child.cmdline()
    }


def folder_of(helper: psutil.Process) -> Path:
    """A helper's private folder: that of its standard error."""
    return Path(f"/proc/{helper.pid}/fd/2").readlink().parent


@dataclass
class Cluster:
    """A cluster in the queue of the pool."""

    client: CondorClient
    directory: Path
    id: int
    count: int

    @property
    def constraint(self) -> str:
        return f"ClusterId == {self.id}"

    def ads(self) -> list[dict[str, Any]]:
        return self.client.query(self.constraint)

    def wait_for(self, status: int) -> list[dict[str, Any]]:
        """Its ads once all its processes have that JobStatus."""

        def reached() -> list[dict[str, Any]]:
            ads = self.ads()
            return ads if len(ads) == self.count and all(ad["JobStatus"] == status for ad in ads) else []

        return eventually(reached, f"all of cluster {self.id} have JobStatus {status}")

    def fetch(self) -> dict[str, list[str]]:
        """Brings its outputs into its directory."""
        self.client.retrieve(self.constraint)
        return outputs.put_in_place(self.directory)

    def read(self, name: str) -> str:
        return (self.directory / name).read_text()

    def output(self, process: int = 0) -> str:
        (path,) = self.directory.glob(f"logs/*.{self.id}.{process}.out")
        return path.read_text()


def description_of(
    directory: Path,
    attributes: Mapping[str, Any],
    *,
    count: int = 1,
    files: Sequence[str] = (),
    token: str = "",
    links: Callable[[], Path] | None = None,
) -> Description:
    """A submit description for a job in ``directory``, whose folders are made."""
    directory.mkdir(exist_ok=True)
    request = Request(
        name="a job",
        attributes={**SMALL, **attributes},
        directory=directory,
        input_files=files,
        count=count,
        token=token,
        links=links,
    )
    found = describe(request)
    outputs.prepare(directory, count, found.folders)
    return found


def submit(client: CondorClient, directory: Path, attributes: Mapping[str, Any], **more: Any) -> Cluster:
    """Submits a job as the product does."""
    with TemporaryDirectory() as links:
        wanted = description_of(directory, attributes, links=lambda: Path(links), **more)
        done = client.submit(wanted.text, wanted.count, spool=wanted.spool)
    return Cluster(client, directory, done.cluster_id, done.num_procs)


@contextmanager
def reached(access: Access, timeout: float = 3) -> Iterator[CondorClient]:
    """A client that is closed afterwards."""
    client = CondorClient(access, timeout)
    try:
        yield client
    finally:
        client.close()


def assert_untold(error: BaseException, token: str) -> None:
    """Neither a token nor a part of one is in an error, nor in any that it comes from."""
    told = f"{error!r}\n{''.join(format_exception(error))}"
    for part in (token, *token.split(".")):
        assert part not in told
