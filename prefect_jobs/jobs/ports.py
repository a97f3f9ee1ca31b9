"""What a job needs from the house around it; the runtime provides it, so that jobs know no SQL and no HTTP."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from prefect_jobs.records import Change, JobRecord, Message, NodeRecord


class Backend(Protocol):
    """Keeping and showing jobs."""

    @property
    def poll_interval(self) -> float:
        """Seconds between two questions while somebody waits."""
        ...

    @property
    def held_timeout(self) -> float | None:
        """Seconds after which a held job is given up."""
        ...

    @property
    def host_name(self) -> str:
        """This machine's name."""
        ...

    def insert(self, record: JobRecord) -> JobRecord:
        """Writes a new job and begins to make its flow run."""
        ...

    def insert_all(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """As :meth:`insert`, of many: all of them, or none."""
        ...

    def get(self, job_id: int) -> JobRecord | None:
        """The job as it is now."""
        ...

    def update(self, job_id: int, change: Callable[[JobRecord], Change | None]) -> JobRecord:
        """Applies a change to the fresh record; begins to show it in Prefect if it can be seen."""
        ...

    def update_all(
        self, changes: Sequence[tuple[int, Callable[[JobRecord], Change | None]]]
    ) -> list[JobRecord | Exception]:
        """As :meth:`update`, of many; for each the record as written, or what was raised."""
        ...

    def delete(self, job_id: int) -> bool:
        """Removes the job, and its flow run as soon as Prefect can be reached."""
        ...

    def nodes(self, job_id: int) -> list[NodeRecord]:
        """The nodes of a workflow, in the order in which they were added."""
        ...

    def save_nodes(self, job_id: int, nodes: Sequence[NodeRecord]) -> None:
        """Writes what the user asked for of nodes; their states are written by :meth:`update`."""
        ...

    def delete_node(self, job_id: int, name: str) -> None:
        """Removes a node."""
        ...

    def put_blob(self, job_id: int, kind: str, data: bytes) -> None:
        """Keeps bytes of a job."""
        ...

    def get_blob(self, job_id: int, kind: str) -> bytes | None:
        """Bytes of a job, by their kind."""
        ...

    def keep_result(self, job_id: int, data: bytes) -> dict[str, Any]:
        """Keeps a result, in SQL or, if it is large, in Prefect's result storage; tells where.

        Raises:
            OutputsNotFetched: not possible now.
        """
        ...

    def read_result(self, job_id: int, kept: Mapping[str, Any]) -> bytes | None:
        """The result; ``None`` if it is there no more.

        Raises:
            ResultUnavailable: where it is kept cannot be read now.
        """
        ...

    def drop_result(self, job_id: int, kept: Mapping[str, Any]) -> None:
        """Removes a result."""
        ...

    def shown(self, job_id: int) -> JobRecord | None:
        """Waits, 3 seconds at most, until Prefect shows the job as it is; the record after that."""
        ...

    def shown_all(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """As :meth:`shown`, of many."""
        ...

    def results_lease(self, job_id: int) -> AbstractContextManager[bool]:
        """A lease, kept up while the context lasts: true if nobody else processes the job's results."""
        ...

    def submission_lease(self, tokens: Mapping[int, str]) -> AbstractContextManager[None]:
        """Keeps the mark "is being submitted" of jobs young while the context lasts."""
        ...

    def messages(self, job_id: int) -> list[Message]:
        """What was said about the job, oldest first."""
        ...

    def flow_run_url(self, flow_run_id: str) -> str | None:
        """The flow run's page."""
        ...

    def scheduler(self, name: str) -> Any:
        """The saved scheduler block of that name.

        Raises:
            SchedulerConnectionError: Prefect, which keeps it, cannot be reached, or has none of that name.
        """
        ...

    def default_workspace(self, label: str, user: str) -> str:
        """The folder for jobs of an app and user that name none."""
        ...
