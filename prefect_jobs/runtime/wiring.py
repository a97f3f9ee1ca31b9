"""The wiring of one process: creates the parts and connects them."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from prefect_jobs import folders
from prefect_jobs.jobs import registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import job_page
from prefect_jobs.jobs.unknown import UnknownJob
from prefect_jobs.naming import folder_name
from prefect_jobs.projection.projector import Projector
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.backend import SHOW_DELAY, JobKeeper
from prefect_jobs.runtime.checks import Checker
from prefect_jobs.runtime.forms import form_of
from prefect_jobs.runtime.prefect import PrefectAccess
from prefect_jobs.runtime.results import ResultKeeper
from prefect_jobs.settings import Settings, get_settings
from prefect_jobs.store import Database, Store

E = TypeVar("E")
log = logging.getLogger(__name__)


def default_database_url() -> str:
    """SQLite in the Prefect home."""
    return f"sqlite:///{folders.prefect_home() / 'prefect-jobs.db'}"


class LocalSite:
    """This installation; see :class:`prefect_jobs.jobs.ports.Site`."""

    def __init__(self, settings: Settings, prefect: PrefectAccess) -> None:
        self._settings = settings
        self._prefect = prefect

    @property
    def poll_interval(self) -> float:
        """Seconds between two polls while a call waits."""
        return self._settings.poll_interval

    @property
    def held_timeout(self) -> float | None:
        """Seconds after which a held job is removed."""
        return self._settings.held_timeout

    @property
    def host_name(self) -> str:
        """This machine's name."""
        return self._settings.host_name

    def default_workspace(self, label: str, user: str) -> str:
        """The workspace of an app and user, for jobs that name none: absolute, in a folder that lasts."""
        base = folders.prefect_home() / self._settings.workspace.expanduser()
        return os.path.normpath(base / folder_name(label) / folder_name(user))

    def scheduler(self, name: str) -> Any:
        """The saved scheduler block of that name."""
        return self._prefect.scheduler(name)

    def flow_run_url(self, flow_run_id: str) -> str | None:
        """The URL of a flow run."""
        return self._prefect.flow_run_url(flow_run_id)

    def engine_type(self, wanted: type[E]) -> type[E]:
        """The engine itself."""
        return wanted


class Runtime:
    """The parts of one process for one database. Implements :class:`prefect_jobs.jobs.ports.Backend` for jobs."""

    def __init__(self, settings: Settings, *, show_delay: float = SHOW_DELAY) -> None:
        """
        Args:
            settings: the settings of this installation.
            show_delay: seconds until Prefect shows a change, in the background.
        """
        self.settings = settings
        self.store = Store(Database(settings.database_url or default_database_url()))
        self.nodes = self.store
        self._show_delay = show_delay
        self._wire()

    def _wire(self) -> None:
        """Creates the parts with threads or connections."""
        self.projector = self._make_projector()
        self.prefect = self._make_prefect()
        self.site = self._make_site()
        self.results = ResultKeeper(self.store, self.prefect, self.settings.result_size_limit)
        self.jobs = JobKeeper(self.store, self.projector, self.results, delay=self._show_delay)
        self.checker = Checker(self.store, self.job)

    def _make_projector(self) -> Projector:
        return Projector(self.store, lambda record: form_of(record, self.store), page=job_page.text_of)

    def _make_prefect(self) -> PrefectAccess:
        return PrefectAccess(self.projector)

    def _make_site(self) -> LocalSite:
        return LocalSite(self.settings, self.prefect)

    def job(self, record: JobRecord) -> Job:
        """The job of a record. If this process does not know its type, it can only be read and deleted."""
        return (registry.load(record.type) or UnknownJob)(self, record)

    def after_fork(self) -> None:
        """In a forked child: drops connections and threads, which belong to the parent."""
        self.store.database.engine.dispose(close=False)
        self._wire()

    def close(self) -> None:
        """Ends the checks, shows the last changes, and closes every connection."""
        self.checker.close()
        self.projector.close()
        self.store.database.dispose()


@cache
def _runtime(url: str) -> Runtime:
    settings = get_settings()
    made = Runtime(settings.model_copy(update={"database_url": url}))
    os.register_at_fork(after_in_child=made.after_fork)
    return made


def own_runtime() -> Runtime:
    """A runtime for a program that watches many jobs, with its own connections and threads: changes are shown at once.
    Close it at the end."""
    settings = get_settings()
    url = settings.database_url or default_database_url()
    return Runtime(settings.model_copy(update={"database_url": url}), show_delay=0.0)


#: The runtimes that replace that of the process, the last one first; see :func:`installed`.
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
    """The runtime of this process for the database in the settings."""
    if _installed:
        return _installed[-1]
    return _runtime(get_settings().database_url or default_database_url())
