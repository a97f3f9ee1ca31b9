"""The wiring of one process: settings, store, projector, schedulers. Jobs reach all of it through this object."""

import importlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from prefect_jobs import clock, folders
from prefect_jobs.errors import ResultUnavailable, SchedulerConnectionError
from prefect_jobs.jobs import registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.observation import OutputsNotFetched
from prefect_jobs.jobs.submission import GRACE
from prefect_jobs.naming import folder_name
from prefect_jobs.projection import loading, result_storage
from prefect_jobs.projection.loading import PATIENCE
from prefect_jobs.projection.prefect_api import PrefectApi, PrefectAway, retried
from prefect_jobs.projection.projector import Projector
from prefect_jobs.records import Change, JobRecord, Message, NodeRecord
from prefect_jobs.runtime.checks import Checker
from prefect_jobs.runtime.lookup import Lookup, answered
from prefect_jobs.schedulers.dask.client import forget_all as forget_dask
from prefect_jobs.settings import Settings, get_settings
from prefect_jobs.store import Database, Store
from prefect_jobs.store.leases import kept_up

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Seconds that a lease on results holds without being kept up.
RESULTS_LEASE = 60.0
#: Seconds that a change may wait in the background before it is shown; a call that waits for it shows it at once.
SHOW_DELAY = 0.5
#: The same of jobs that are being submitted: their runs are made after that, those of many in one call.
BULK_DELAY = 5.0
#: Jobs that are waited for together.
_SHOWN_AT_ONCE = 50


def default_database_url() -> str:
    """SQLite in the Prefect home."""
    return f"sqlite:///{folders.prefect_home() / 'prefect-jobs.db'}"


class Runtime:
    """See :class:`prefect_jobs.jobs.ports.Backend` for what it is to a job."""

    def __init__(self, settings: Settings, *, patient: bool = True) -> None:
        """
        Args:
            settings: of this installation.
            patient: whether calls wait for Prefect, for a moment, to show what they changed.
        """
        self.settings = settings
        self.patient = patient
        self.store = Store(Database(settings.database_url or default_database_url()))
        self.projector = Projector(self.store, _entrypoint)
        self.checker = Checker(self)
        self.lookup = Lookup(self.projector)

    # -- settings ---------------------------------------------------------------------------------------

    @property
    def poll_interval(self) -> float:
        """Seconds between two questions while somebody waits."""
        return self.settings.poll_interval

    @property
    def held_timeout(self) -> float | None:
        """Seconds after which a held job is given up."""
        return self.settings.held_timeout

    @property
    def host_name(self) -> str:
        """This machine's name."""
        return self.settings.host_name

    def default_workspace(self, label: str, user: str) -> str:
        """The folder for jobs of an app and user that name none: absolute, and one that lasts."""
        base = folders.prefect_home() / self.settings.workspace.expanduser()
        return os.path.normpath(base / folder_name(label) / folder_name(user))

    # -- jobs -------------------------------------------------------------------------------------------

    def insert(self, record: JobRecord) -> JobRecord:
        """Writes a new job; its flow run is made when somebody waits for it, or soon."""
        written = self.store.insert(record)
        self.projector.kick(written.id, BULK_DELAY)
        return written

    def insert_all(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """Writes new jobs, all of them or none."""
        written = self.store.insert_all(records)
        self.projector.kick_all([record.id for record in written], BULK_DELAY)
        return written

    def get(self, job_id: int) -> JobRecord | None:
        """The job as it is now."""
        return self.store.get(job_id)

    def update(self, job_id: int, change: Callable[[JobRecord], Change | None]) -> JobRecord:
        """Applies a change; begins to show it in Prefect if it can be seen."""
        before: list[int] = []
        said: list[bool] = []

        def noted(record: JobRecord) -> Change | None:
            before[:] = [record.face_seq]
            wanted = change(record)
            said[:] = [bool(wanted and (wanted.messages or wanted.nodes))]
            return wanted

        record = self.store.update(job_id, noted)
        if before != [record.face_seq] or said == [True]:
            # While it is being submitted, its run can wait: it is then made as it is after that, in one call.
            self.projector.kick(job_id, BULK_DELAY if record.submitting_since else SHOW_DELAY)
        return record

    def update_all(
        self, changes: Sequence[tuple[int, Callable[[JobRecord], Change | None]]]
    ) -> list[JobRecord | Exception]:
        """Applies changes to many jobs; begins to show them in Prefect."""
        answers = self.store.update_all(changes)
        behind = [answer for answer in answers if isinstance(answer, JobRecord) and answer.behind]
        self.projector.kick_all([record.id for record in behind if record.submitting_since], BULK_DELAY)
        self.projector.kick_all([record.id for record in behind if not record.submitting_since])
        return answers

    def nodes(self, job_id: int) -> list[NodeRecord]:
        """The nodes of a workflow, in the order in which they were added."""
        return self.store.nodes(job_id)

    def save_nodes(self, job_id: int, nodes: Sequence[NodeRecord]) -> None:
        """Writes what the user asked for of nodes."""
        self.store.save_nodes(job_id, nodes)

    def delete_node(self, job_id: int, name: str) -> None:
        """Removes a node."""
        self.store.delete_node(job_id, name)

    def put_blob(self, job_id: int, kind: str, data: bytes) -> None:
        """Keeps bytes of a job."""
        self.store.put_blob(job_id, kind, data)

    def get_blob(self, job_id: int, kind: str) -> bytes | None:
        """Bytes of a job, by their kind."""
        return self.store.get_blob(job_id, kind)

    def keep_result(self, job_id: int, data: bytes) -> dict[str, Any]:
        """Keeps a result, in SQL or, above ``RESULT_SIZE_LIMIT``, in Prefect's result storage; tells where.

        Raises:
            OutputsNotFetched: the storage takes it not now.
        """
        if len(data) <= self.settings.result_size_limit:
            self.store.put_blob(job_id, "result", data)
            return {"where": "sql", "bytes": len(data)}
        # One name for each job: what an earlier try or submission has left there is written over.
        path = f"prefect-jobs-{self.store.identity}-{job_id}"
        try:
            block, folder = result_storage.configured()
            storage = block or self.ask_prefect(result_storage.of_server) or folder
            _without_loop(lambda: result_storage.write(storage, path, data))
        except Exception as error:  # whatever a storage raises, or whoever knows which it is
            raise OutputsNotFetched(f"Prefect's result storage does not take it: {error}") from error
        return {"where": "prefect", "storage": storage, "path": path, "bytes": len(data)}

    def read_result(self, job_id: int, kept: Mapping[str, Any]) -> bytes | None:
        """The result; ``None`` if it is there no more.

        Raises:
            ResultUnavailable: its storage cannot be read now.
        """
        if kept["where"] == "sql":
            return self.store.get_blob(job_id, "result")
        storage, path = str(kept["storage"]), str(kept["path"])
        try:
            return _without_loop(lambda: result_storage.read(storage, path))
        except Exception as error:  # whatever a storage raises
            raise ResultUnavailable(
                f"The result of job {job_id} is in Prefect's result storage ({storage}), which cannot be read: {error}"
            ) from error

    def drop_result(self, job_id: int, kept: Mapping[str, Any]) -> None:
        """Removes a result."""
        if kept["where"] == "sql":
            self.store.delete_blob(job_id, "result")
        else:
            result_storage.delete(str(kept["storage"]), str(kept["path"]))

    def delete(self, job_id: int) -> bool:
        """Removes the job; its flow run goes as soon as Prefect can be reached."""
        record = self.store.get(job_id)
        done = self.store.delete(job_id)
        kept = (record.native.get("result") or {}) if record is not None else {}
        if kept.get("where") == "prefect":  # what is in SQL went with the job
            self.drop_result(job_id, kept)
        self.projector.sweep()
        return done

    def shown(self, job_id: int) -> JobRecord | None:
        """Waits, 3 seconds at most, until Prefect shows the job as it is; not at all where we are not patient."""
        if not self.patient:
            self.projector.kick(job_id)
            return None
        self.projector.wait([job_id])
        return self.store.get(job_id)

    def shown_all(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """Waits until Prefect shows the jobs as they are, 3 seconds at most after it last did something."""
        self.projector.kick_all(job_ids)
        if self.patient:
            for start in range(0, len(job_ids), _SHOWN_AT_ONCE):
                self.projector.wait(job_ids[start : start + _SHOWN_AT_ONCE])
        return self.store.records(job_ids)

    @contextmanager
    def results_lease(self, job_id: int) -> Iterator[bool]:
        """A lease that a thread keeps up while the context lasts, and that ends by itself if the process dies."""
        owner = uuid.uuid4().hex
        if not self.store.claim_results(job_id, owner, RESULTS_LEASE):
            yield False
            return
        try:
            with kept_up(lambda: self.store.claim_results(job_id, owner, RESULTS_LEASE), RESULTS_LEASE / 3):
                yield True
        finally:
            self.store.release_results(job_id, owner)

    @contextmanager
    def submission_lease(self, tokens: Mapping[int, str]) -> Iterator[None]:
        """Keeps the mark "is being submitted" young while the context lasts: inputs may take long to send."""

        def mark(record: JobRecord) -> Change | None:
            mine = record.submission_token == tokens[record.id] and record.submitting_since is not None
            return Change({"submitting_since": clock.now()}) if mine else None

        changes = [(job_id, mark) for job_id in tokens]
        with kept_up(lambda: self.store.update_all(changes), GRACE.total_seconds() / 3):
            yield

    def messages(self, job_id: int) -> list[Message]:
        """What was said about the job."""
        return self.store.messages(job_id)

    def flow_run_url(self, flow_run_id: str) -> str | None:
        """The flow run's page, where a UI is configured."""
        try:
            base = loading.answer(_ui_url, strict=True)
        except TimeoutError:
            return None
        return f"{base.rstrip('/')}/runs/flow-run/{flow_run_id}" if base else None

    # -- schedulers and what Prefect keeps for all machines -----------------------------------------------

    def scheduler(self, name: str) -> Any:
        """The saved block of that name; see :meth:`Lookup.get`."""
        return self.lookup.get(name)

    def find_scheduler(self, name: str) -> Any:
        """The saved block of that name, or ``None``; see :meth:`Lookup.find`."""
        return self.lookup.find(name)

    def read_variable(self, name: str) -> str | None:
        """A Prefect variable."""
        return self.ask_prefect(lambda api: api.read_variable(name))

    def write_variable(self, name: str, value: str) -> None:
        """Sets a Prefect variable."""
        self.ask_prefect(lambda api: api.write_variable(name, value))

    def ask_prefect(self, question: Callable[[PrefectApi], T], patience: float = PATIENCE) -> T:
        """The answer of Prefect's API; asked again where it is busy, so the question may be repeated.

        Raises:
            SchedulerConnectionError: it cannot be reached within ``patience`` seconds.
        """

        def ask() -> T:
            api = PrefectApi()
            try:
                return retried(lambda: question(api), patience)
            finally:
                api.close()

        try:
            return answered(ask, patience)
        except PrefectAway as error:
            raise SchedulerConnectionError(str(error)) from error

    def make(self, cls: type[Job], record: JobRecord) -> Job:
        """A job of a class."""
        return cls(self, record)

    def job(self, record: JobRecord) -> Job:
        """The job of a record; one whose type this process does not know can be read and deleted only."""
        from prefect_jobs.jobs.unknown import UnknownJob

        return self.make(registry.load(record.type) or UnknownJob, record)

    def after_fork(self) -> None:
        """In a forked child: connections and threads stay the parent's."""
        self.store.database.engine.dispose(close=False)
        forget_dask()
        self.projector = Projector(self.store, _entrypoint)
        self.lookup = Lookup(self.projector)
        self.checker = Checker(self)

    def close(self) -> None:
        """Ends the checks, shows what is left, and closes every connection."""
        self.checker.close()
        self.projector.close()
        self.store.database.dispose()


def _ui_url() -> str:
    from prefect.settings import PREFECT_UI_URL

    return str(PREFECT_UI_URL.value() or "")


def _without_loop(call: Callable[[], T]) -> T:
    """Calls where no event loop runs, whatever the caller's thread does: Prefect's storages take a loop of theirs."""
    with ThreadPoolExecutor(1, "prefect-jobs-storage") as pool:
        return pool.submit(call).result()


def _entrypoint(record: JobRecord) -> str:
    """The flow of a job's type; a type that cannot be loaded here, or whose flow cannot, has the basic one."""
    try:
        cls = registry.load(record.type) or Job
        importlib.import_module(cls.flow_entrypoint.partition(":")[0])
    except Exception as error:  # what a user's module raises when it is imported
        log.warning("The flow of the job type %r cannot be loaded: %s", record.type, error)
        return Job.flow_entrypoint
    return cls.flow_entrypoint


@cache
def _runtime(url: str) -> Runtime:
    settings = get_settings()
    made = Runtime(settings.model_copy(update={"database_url": url}))
    os.register_at_fork(after_in_child=made.after_fork)
    return made


def own_runtime() -> Runtime:
    """A runtime for one who waits for nobody, with connections and threads of its own; to be closed."""
    settings = get_settings()
    url = settings.database_url or default_database_url()
    return Runtime(settings.model_copy(update={"database_url": url}), patient=False)


#: The runtimes that stand for that of the process, the last one first; see :func:`installed`.
_installed: list[Runtime] = []


@contextmanager
def installed(runtime: Runtime) -> Iterator[None]:
    """Makes :func:`get_runtime` return ``runtime``, in all threads, while the context lasts: for tests of apps."""
    _installed.append(runtime)
    try:
        yield
    finally:
        _installed.remove(runtime)


def get_runtime() -> Runtime:
    """The runtime of this process for the database that the settings name."""
    if _installed:
        return _installed[-1]
    return _runtime(get_settings().database_url or default_database_url())
