"""The wiring of a process with fake schedulers: a new database, no Prefect."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.local import temporary_server
from prefect_jobs.projection.loading import PATIENCE
from prefect_jobs.projection.projector import Projector
from prefect_jobs.projection.run_faces import Form
from prefect_jobs.runtime.lookup import Lookup
from prefect_jobs.runtime.prefect import PrefectAccess
from prefect_jobs.runtime.wiring import LocalSite, Runtime, installed
from prefect_jobs.settings import Settings
from prefect_jobs.store import Database
from prefect_jobs.testing.engines import FAKES
from prefect_jobs.testing.schedulers import FakeSchedulers

E = TypeVar("E")


class _AnyEngine(str):
    """Equals any engine."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


_ANY = _AnyEngine("any")
_ENGINES = ("htcondor", "dask")
_NO_PREFECT = "There is no Prefect in fake_schedulers(): {} needs a real server."


@dataclass(frozen=True)
class FakeBlock:
    """A saved scheduler block."""

    name: str
    engine: str = _ANY
    saved: bool = True
    dashboard: str | None = None


class NoProjector(Projector):
    """Shows nothing."""

    def kick(self, job_id: int, delay: float = 0.0) -> None:
        """Nothing."""

    def kick_all(self, job_ids: Sequence[int], delay: float = 0.0) -> None:
        """Nothing."""

    def delete_runs_soon(self, asked: int = 0) -> None:
        """Nothing."""

    def wait(self, job_ids: Sequence[int], patience: float = PATIENCE) -> bool:
        """Does not wait."""
        return True

    def flush(self, patience: float = PATIENCE) -> bool:
        """Does not wait."""
        return True

    def sweep(self, patience: float = PATIENCE) -> bool:
        """Does not wait."""
        return True


class FakeLookup(Lookup):
    """The existing schedulers: those that the test names, or one of any name that fits every job."""

    def __init__(self, projector: Projector, engines: Mapping[str, str] | None) -> None:
        super().__init__(projector)
        self._engines = engines

    def find(self, name: str, patience: float = 0.0, *, strict: bool = False) -> FakeBlock | None:
        """The block of that name."""
        wanted = name.replace("_", "-")
        if self._engines is None:
            return FakeBlock(wanted)
        return FakeBlock(wanted, self._engines[wanted]) if wanted in self._engines else None

    @staticmethod
    def _names(engine: str, patience: float) -> str:
        return "The test names the existing ones: fake_schedulers(schedulers={…})."


class FakePrefect(PrefectAccess):
    """Prefect, for the calls of jobs: blocks and variables, nothing else."""

    def __init__(self, projector: Projector, engines: Mapping[str, str] | None) -> None:
        super().__init__(projector)
        self.lookup = FakeLookup(projector, engines)
        self._variables: dict[str, str] = {}

    def read_variable(self, name: str) -> str | None:
        """The assigned value."""
        return self._variables.get(name)

    def assigned(self, label: str, engine: str) -> list[str]:
        """None: flows need a real server."""
        return []

    def write_variable(self, name: str, value: str, tags: Iterable[str] = ()) -> None:
        """Assigns."""
        self._variables[name] = value

    def ask(self, question: Callable[[Any], Any], patience: float = PATIENCE) -> NoReturn:
        """
        Raises:
            SchedulerConnectionError: there is no Prefect.
        """
        raise SchedulerConnectionError(_NO_PREFECT.format("a schedule"))


class FakeSite(LocalSite):
    """An installation whose engines are fakes."""

    def engine_type(self, wanted: type[E]) -> type[E]:
        """The double of an engine of a built-in type; engines of other types are returned unchanged.

        Raises:
            NotImplementedError: it extends an engine of a built-in type, and would contact a real scheduler.
        """
        double = FAKES.get(cast("type[Engine]", wanted))
        if double is not None:
            return cast("type[E]", double)
        if any(issubclass(wanted, real) for real in FAKES):
            raise NotImplementedError(
                f"fake_schedulers() has no double for {wanted.__name__}, which extends an engine of prefect-jobs. Test "
                "jobs of this type on a personal pool: see docs/how-to/testing.md."
            )
        return wanted


class FakeRuntime(Runtime):
    """See :class:`Runtime`."""

    def __init__(self, settings: Settings, schedulers: FakeSchedulers, engines: Mapping[str, str] | None) -> None:
        self.schedulers = schedulers
        self._engines = engines
        super().__init__(settings)

    def _make_projector(self) -> Projector:
        return NoProjector(self.store, lambda _: Form(Job.flow_entrypoint, {}))

    def _make_prefect(self) -> PrefectAccess:
        return FakePrefect(self.projector, self._engines)

    def _make_site(self) -> LocalSite:
        return FakeSite(self.settings, self.prefect)


@contextmanager
def fake_schedulers(
    *, outcome: str | None = None, schedulers: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[FakeSchedulers]:
    """Replaces schedulers, Prefect and the database of this process by fakes while the context lasts.

    Jobs are created, listed and steered as usual. Their database and workspace are new, and are removed at the end.
    Your own job types without a scheduler of ours run their own hooks.

    Args:
        outcome: ``"Complete"`` or ``"Error"``: every job ends so at the first poll after its submission. ``None``: a
        job stays Submitted until you call a method of :class:`FakeSchedulers` for it.
        schedulers: name of a scheduler block → its engine, ``"htcondor"`` or ``"dask"``; no others exist. ``None``:
        any name is that of a scheduler that fits.
        **settings: settings of :class:`prefect_jobs.settings.Settings`, such as ``held_timeout=60``.

    Raises:
        ValueError: another outcome or engine, or a setting with a bad value.
        TypeError: an unknown setting.
    """
    fakes = FakeSchedulers(outcome)
    engines = None if schedulers is None else {name.replace("_", "-"): engine for name, engine in schedulers.items()}
    bad = sorted({*(engines or {}).values()} - {*_ENGINES})
    if bad:
        raise ValueError(f"The engine of a scheduler is 'htcondor' or 'dask', not {', '.join(map(repr, bad))}.")
    unknown = sorted(settings.keys() - Settings.model_fields.keys())
    if unknown:
        raise TypeError(f"There is no setting {', '.join(unknown)}. Valid: {', '.join(Settings.model_fields)}.")
    with tempfile.TemporaryDirectory(prefix="prefect-jobs-fake-", ignore_cleanup_errors=True) as folder:
        database = Path(folder) / "jobs.db"
        shutil.copy(_template(), database)
        chosen = {"workspace": Path(folder) / "workspace", "poll_interval": 0.1, **settings}
        runtime = FakeRuntime(Settings(**{"database_url": f"sqlite:///{database}", **chosen}), fakes, engines)
        try:
            with installed(runtime), _without_prefect():
                yield fakes
        finally:
            runtime.close()


@contextmanager
def _without_prefect() -> Iterator[None]:
    """Keeps blocks from the user's real Prefect server: saving or listing them raises an error."""

    def refuse() -> None:
        raise SchedulerConnectionError(_NO_PREFECT.format("a scheduler block"))

    before, temporary_server.ensure = temporary_server.ensure, refuse
    try:
        yield
    finally:
        temporary_server.ensure = before


@cache
def _template() -> Path:
    """An empty database with the schema: copying it is faster than running the migrations."""
    path = Path(_folder().name) / "jobs.db"
    database = Database(f"sqlite:///{path}")
    database.ensure_schema()
    database.dispose()
    return path


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="prefect-jobs-fake-")
