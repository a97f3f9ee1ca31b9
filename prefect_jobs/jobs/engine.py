"""The engine's side of a job: what there is to be done at HTCondor or Dask. What it finds out, it returns.

:class:`Engine` is also the engine of types that have none: it does nothing and knows nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import anyio

from prefect_jobs import folders
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.jobs.observation import Fetched, Observation, Submitted
from prefect_jobs.jobs.ports import Site
from prefect_jobs.records import JobRecord


class Engine:
    """What a job is at its engine. One object for each job object; the core calls it, and so do the built-in hooks."""

    #: Actions that no job of this engine can do, with the reason.
    refused: ClassVar[Mapping[str, str]] = {}
    #: Whether :meth:`submit_many` submits several jobs in less time than one after the other.
    together: ClassVar[bool] = True
    #: Whether to ask costs nothing, so that :attr:`Job.update_status_interval` does not count.
    asks_freely: ClassVar[bool] = False

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    @property
    def site(self) -> Site:
        """This installation."""
        return self.handle.backend.site

    # -- what the job owns here -------------------------------------------------------------------------

    @staticmethod
    def workspace_of(record: JobRecord, default: str) -> str:
        """The absolute workspace of a record of an earlier version, which has none, or a relative one."""
        return folders.absolute(record.workspace, default)

    @property
    def directory(self) -> Path | None:
        """The job's own directory; ``None``: it has none (yet)."""
        return None

    def settle(self) -> None:
        """Makes the relative paths that were set absolute, before they are stored."""

    def save_parts(self) -> None:
        """Writes what is kept beside the job's row, once that is written."""

    # -- submission -------------------------------------------------------------------------------------

    def origin(self) -> dict[str, Any]:
        """What is noted of this place together with the intent to submit."""
        return {}

    def prepare(self) -> None:
        """Does what needs no scheduler; what it sets is written together with the intent to submit.

        Raises:
            OSError: not possible; :meth:`submit` raises the same again, and the job is refused.
        """

    def unprepare(self) -> None:
        """Undoes :meth:`prepare`: the job is not submitted."""

    def reach(self) -> None:
        """
        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """

    def submit(self, *args: Any, **kwargs: Any) -> Submitted:
        """Submits the work.

        Raises:
            SchedulerConnectionError: not reached: nothing was submitted.
            TransientSubmissionError: nothing was submitted; trying again may help.
            Exception: the scheduler, or what was given, does not allow it.
        """
        return Submitted()

    @classmethod
    def submit_many(cls, engines: Sequence[Any]) -> list[Submitted | Exception]:
        """Submits several jobs of this engine at once, each as :meth:`submit` without arguments does.

        Returns:
            For each what :meth:`submit` returns or raises.
        """
        return [Submitted() for _ in engines]

    def find(self) -> Submitted | None:
        """Looks for work that was submitted under the present token; ``None``: there is none.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        return None

    # -- while it is at the scheduler -------------------------------------------------------------------

    def poll(self) -> Observation | None:
        """Asks the scheduler how the work is; ``None``: no news.

        Raises:
            SchedulerConnectionError: it does not answer.
        """
        return None

    def stop(self) -> Observation | str | None:
        """Stops the work; may return how it is then.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        return None

    def pause(self) -> Observation | str | None:
        """Holds the work; may return how it is then."""
        return None

    def resume(self) -> Observation | str | None:
        """Lets the work go on; may return how it is then."""
        return None

    def parts_held(self) -> bool:
        """Whether parts of the work are held, whatever the status of the whole."""
        return self.held_parts(self.handle.record)

    @staticmethod
    def held_parts(record: JobRecord) -> bool:
        """As :meth:`parts_held`, as far as the job's row tells."""
        return False

    def logs(self) -> dict[str, Any]:
        """Log name → text, or → {log name → text or a callable that fetches it}."""
        return {}

    def wait_change(self, seconds: float) -> None:
        """Waits until it is time to ask again, ``seconds`` at most."""
        Event().wait(seconds)  # never set: a wait that a signal can end

    async def await_change(self, seconds: float) -> None:
        """As :meth:`wait_change`; holds no thread."""
        await anyio.sleep(seconds)

    def ended(self) -> None:
        """Drops what this process keeps of work that is over: it may have been another process that saw its end."""

    # -- the end ----------------------------------------------------------------------------------------

    def fetch(self) -> Fetched:
        """Fetches what the work left behind.

        Raises:
            OutputsNotFetched: not possible now; it is tried again.
            SchedulerConnectionError: the scheduler does not answer; it is tried again.
        """
        return Fetched()

    @property
    def keeps_results(self) -> bool:
        """Whether what the work left behind is there afterwards."""
        return True

    @property
    def gives_result(self) -> bool:
        """Whether ``process_results_function`` is called with the result; else it is called with the job, where the
        result is ``None``."""
        return False

    def release(self) -> None:
        """Removes what was kept at the scheduler until the results were processed."""

    def clean_up(self) -> None:
        """Removes all that is left of the work at the scheduler: before the job is deleted, or submitted again.

        Raises:
            SchedulerConnectionError: it does not answer.
        """
