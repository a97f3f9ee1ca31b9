"""What jobs need of the house around them, in four parts. The runtime provides them; jobs know no SQL and no HTTP."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from prefect_jobs.records import Change, JobRecord, Message, NodeRecord, Written

E = TypeVar("E")
#: What to write of a job, from the job as it is; it may be called again on a newer record.
ChangeOf = Callable[[JobRecord], Change | None]


class Jobs(Protocol):
    """Keeps jobs, and has Prefect show them."""

    def insert(self, record: JobRecord) -> JobRecord:
        """Writes a new job; its flow run is made in the background."""
        ...

    def insert_all(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """Writes new jobs: all of them, or none."""
        ...

    def get(self, job_id: int) -> JobRecord | None:
        """The job as it is now."""
        ...

    def update(self, job_id: int, change: ChangeOf, known: JobRecord | None = None) -> Written:
        """Writes a change, and shows it in Prefect if it can be seen there.

        Args:
            job_id: the job.
            change: what to write.
            known: the record as it was read before: where it is still the newest one, it is not read again.

        Raises:
            JobStateError: the job was deleted.
        """
        ...

    def update_all(self, changes: Sequence[tuple[int, ChangeOf]]) -> list[Written | Exception]:
        """As :meth:`update`, of many in one transaction; for each what was written, or what was raised."""
        ...

    def delete(self, job_id: int) -> bool:
        """Removes the job, and its flow run as soon as Prefect can be reached."""
        ...

    def shown(self, job_id: int) -> JobRecord | None:
        """Waits, 3 seconds at most, until Prefect shows the job as it is; the record after that."""
        ...

    def shown_all(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """As :meth:`shown`, of many."""
        ...

    def submission_lease(self, tokens: Mapping[int, str]) -> AbstractContextManager[None]:
        """Renews the mark "is being submitted" of jobs, given with their tokens, while the context lasts."""
        ...

    def messages(self, job_id: int) -> list[Message]:
        """The job's log lines, oldest first."""
        ...


class Nodes(Protocol):
    """Keeps the nodes of workflows."""

    def nodes(self, job_id: int) -> list[NodeRecord]:
        """The nodes of a workflow, in the order in which they were added."""
        ...

    def save_nodes(self, job_id: int, nodes: Sequence[NodeRecord]) -> None:
        """Writes what the user asked for of nodes; :meth:`Jobs.update` writes their states."""
        ...

    def delete_node(self, job_id: int, name: str) -> None:
        """Removes a node."""
        ...


class Results(Protocol):
    """Keeps results, and work that can be submitted again."""

    def lease(self, job_id: int) -> AbstractContextManager[bool]:
        """A lease that is renewed while the context lasts: true if nobody else processes the job's results."""
        ...

    def keep(self, job_id: int, data: bytes) -> dict[str, Any]:
        """Keeps a result, in SQL or, if it is large, in Prefect's result storage.

        Returns:
            Where, for :meth:`read` and :meth:`drop`.

        Raises:
            OutputsNotFetched: the storage does not take it now.
        """
        ...

    def read(self, job_id: int, kept: Mapping[str, Any]) -> bytes | None:
        """The result; ``None`` if it is not there any more.

        Raises:
            ResultUnavailable: its storage cannot be read now.
        """
        ...

    def drop(self, job_id: int, kept: Mapping[str, Any]) -> None:
        """Removes a result."""
        ...

    def put_blob(self, job_id: int, kind: str, data: bytes) -> None:
        """Keeps bytes of a job."""
        ...

    def get_blob(self, job_id: int, kind: str) -> bytes | None:
        """Bytes of a job, by their kind."""
        ...


class Site(Protocol):
    """This installation: its settings, its scheduler blocks, its engines."""

    @property
    def poll_interval(self) -> float:
        """Seconds between two questions to a scheduler while a call waits."""
        ...

    @property
    def held_timeout(self) -> float | None:
        """Seconds after which a held job is given up."""
        ...

    @property
    def host_name(self) -> str:
        """This machine's name."""
        ...

    def default_workspace(self, label: str, user: str) -> str:
        """The absolute folder for jobs of an app and user that name none."""
        ...

    def scheduler(self, name: str) -> Any:
        """The saved scheduler block of that name.

        Raises:
            SchedulerConnectionError: Prefect, which keeps it, cannot be reached, or has none of that name.
        """
        ...

    def flow_run_url(self, flow_run_id: str) -> str | None:
        """The flow run's page."""
        ...

    def engine_type(self, wanted: type[E]) -> type[E]:
        """The engine that a job gets whose type names ``wanted``: that one, or in tests one that stands for it."""
        ...


class Backend(Protocol):
    """The four parts."""

    @property
    def jobs(self) -> Jobs:
        """Keeps jobs, and has Prefect show them."""
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
