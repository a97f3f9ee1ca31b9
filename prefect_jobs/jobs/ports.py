"""What jobs need of the rest of the package, as four protocols. The runtime implements them, with SQL and HTTP."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from prefect_jobs.records import ChangeOf, HistoryEntry, JobRecord, Message, NodeRecord, Written

E = TypeVar("E")


class Jobs(Protocol):
    """Stores jobs, and shows them in Prefect."""

    def insert(self, record: JobRecord) -> JobRecord:
        """Writes a new job; its flow run is made in the background."""
        ...

    def insert_all(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """Writes new jobs: all of them, or none."""
        ...

    def get(self, job_id: int) -> JobRecord | None:
        """The present record of the job."""
        ...

    def get_all(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """The present records of jobs, without those that were deleted."""
        ...

    def update(self, job_id: int, change: ChangeOf, known: JobRecord | None = None) -> Written:
        """Writes a change, and shows it in Prefect if it is visible there.

        Args:
            job_id: the job.
            change: computes what to write.
            known: the record as last read. If it is still the newest one, it is not read again.

        Raises:
            JobStateError: the job was deleted.
        """
        ...

    def update_all(
        self, changes: Sequence[tuple[int, ChangeOf]], known: Mapping[int, JobRecord] = MappingProxyType({})
    ) -> list[Written | Exception]:
        """As :meth:`update`, for many jobs in one transaction; for each what was written, or the exception."""
        ...

    def delete(self, job_id: int) -> bool:
        """Removes the job, and its flow run as soon as Prefect can be reached."""
        ...

    def shown(self, job_id: int) -> JobRecord | None:
        """Waits, 3 seconds at most, until Prefect shows the job's last change; returns the record after that."""
        ...

    def submission_lease(self, tokens: Mapping[int, str]) -> AbstractContextManager[None]:
        """Renews the heartbeat of submissions, given as job ids with tokens, while the context lasts."""
        ...

    def messages(self, job_id: int) -> list[Message]:
        """The job's log lines, oldest first."""
        ...

    def history(self, job_id: int) -> list[HistoryEntry]:
        """The changes of the job's status, oldest first."""
        ...


class Nodes(Protocol):
    """Stores the nodes of workflows."""

    def nodes(self, job_id: int) -> list[NodeRecord]:
        """The nodes of a workflow, in their order of addition."""
        ...

    def save_nodes(self, job_id: int, nodes: Sequence[NodeRecord]) -> None:
        """Writes the specs of nodes; :meth:`Jobs.update` writes their states."""
        ...

    def delete_node(self, job_id: int, name: str) -> None:
        """Removes a node."""
        ...


class Results(Protocol):
    """Stores results, and work that can be submitted again."""

    def lease(self, job_id: int) -> AbstractContextManager[bool]:
        """A lease that is renewed while the context lasts: true if no other process handles the job's results."""
        ...

    def lease_all(self, job_ids: Sequence[int]) -> AbstractContextManager[set[int]]:
        """As :meth:`lease`, for many jobs: those whose results no other process handles."""
        ...

    def place(self, job_id: int, data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
        """As :meth:`keep`, but a result that goes to SQL is not written yet.

        Returns:
            Its place, and the bytes to write, by kind.
        """
        ...

    def keep(self, job_id: int, data: bytes, kind: str = "result") -> dict[str, Any]:
        """Stores a result, in SQL or, if it is large, in Prefect's result storage; it replaces one of that kind.

        Returns:
            Its place, for :meth:`read` and :meth:`drop`.

        Raises:
            OutputsNotFetched: the storage does not accept it now.
        """
        ...

    def read(self, job_id: int, kept: Mapping[str, Any]) -> bytes | None:
        """The result; ``None`` if it no longer exists.

        Raises:
            ResultUnavailable: its storage cannot be read now.
        """
        ...

    def drop(self, job_id: int, kept: Mapping[str, Any]) -> None:
        """Removes a result."""
        ...

    def put_blob(self, job_id: int, kind: str, data: bytes) -> None:
        """Stores bytes of a job."""
        ...

    def get_blob(self, job_id: int, kind: str) -> bytes | None:
        """The stored bytes of a job, by their kind."""
        ...


class Site(Protocol):
    """This installation: its settings, its scheduler blocks, its engines."""

    @property
    def poll_interval(self) -> float:
        """Seconds between two polls while a call waits."""
        ...

    @property
    def held_timeout(self) -> float | None:
        """Seconds after which a held job is removed."""
        ...

    @property
    def host_name(self) -> str:
        """This machine's name."""
        ...

    def default_workspace(self, label: str, user: str) -> str:
        """The absolute workspace of an app and user, for jobs that name none."""
        ...

    def scheduler(self, name: str) -> Any:
        """The saved scheduler block of that name.

        Raises:
            SchedulerConnectionError: Prefect cannot be reached, or has no block of that name.
        """
        ...

    def flow_run_url(self, flow_run_id: str) -> str | None:
        """The URL of a flow run."""
        ...

    def engine_type(self, wanted: type[E]) -> type[E]:
        """The engine of a job whose type names ``wanted``: that one, or its double in tests."""
        ...


class Backend(Protocol):
    """The four protocols."""

    @property
    def jobs(self) -> Jobs:
        """Stores jobs, and shows them in Prefect."""
        ...

    @property
    def nodes(self) -> Nodes:
        """Keeps the nodes of workflows."""
        ...

    @property
    def results(self) -> Results:
        """Keeps results."""
        ...

    @property
    def site(self) -> Site:
        """This installation."""
        ...
