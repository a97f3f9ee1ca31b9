"""The engine of a job: what acts on its work at HTCondor or Dask, and returns what it observes.

:class:`Engine` is also the engine of types without one: it does nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import anyio

from prefect_jobs import folders
from prefect_jobs.errors import DatabaseError
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.jobs.observation import Fetched, Observation, Submitted
from prefect_jobs.jobs.ports import Site
from prefect_jobs.records import Change, JobRecord


class Engine:
    """Acts on the work of one job. Each job object has one; the core and the built-in hooks call it."""

    #: Actions that no job of this engine can do, each with the reason.
    refused: ClassVar[Mapping[str, str]] = {}
    #: Whether several jobs may be submitted by :meth:`submit_many`.
    together: ClassVar[bool] = True
    #: The number of arguments of :meth:`submit` with which jobs are submitted together.
    takes: ClassVar[int] = 0
    #: Whether what several jobs left behind may be fetched by :meth:`fetch_many`.
    fetches_together: ClassVar[bool] = False
    #: Whether a poll costs nothing, so that :attr:`Job.update_status_interval` is not applied.
    asks_freely: ClassVar[bool] = False

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    @property
    def site(self) -> Site:
        """This installation."""
        return self.handle.backend.site

    # -- the job on this machine ------------------------------------------------------------------------

    @staticmethod
    def workspace_of(record: JobRecord, default: str) -> str:
        """The absolute workspace of a record of an earlier version, which may have none, or a relative one."""
        return folders.absolute(record.workspace, lambda: default)

    @property
    def directory(self) -> Path | None:
        """The job directory; ``None``: it has none (yet)."""
        return None

    def settle(self) -> None:
        """Makes relative paths absolute, before they are stored."""

    def save_parts(self) -> None:
        """Writes what is kept outside the job's row, after the row is written."""

    # -- submission -------------------------------------------------------------------------------------

    def origin(self) -> dict[str, Any]:
        """What is noted of this machine with the intent to submit."""
        return {}

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Does what needs no scheduler; the attributes that it sets are written with the intent to submit.

        Args:
            *args: the arguments with which the job is executed.
            **kwargs: as ``args``.

        Raises:
            OSError: it failed; :meth:`submit` raises the same again, and the job is refused.
        """

    def beside_intent(self) -> Change:
        """Bytes to keep, and lines for people, that are written with the intent to submit."""
        return Change()

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
            SchedulerConnectionError: the scheduler was not reached: nothing was submitted.
            TransientSubmissionError: nothing was submitted; trying again may help.
            Exception: the scheduler refuses the work, or the arguments are bad.
        """
        return Submitted()

    @classmethod
    def submit_many(cls, engines: Sequence[Any]) -> list[Submitted | Exception]:
        """Submits several jobs of this engine at once, each as :meth:`submit` does with the arguments that
        :meth:`prepare` was given.

        Returns:
            For each the return value or the exception of :meth:`submit`.
        """
        answers: list[Submitted | Exception] = []
        for engine in engines:
            try:
                answers.append(engine.submit())
            except DatabaseError:
                raise
            except Exception as error:  # of this one job
                answers.append(error)
        return answers

    def find(self) -> Submitted | None:
        """Finds work that was submitted under the present token; ``None``: there is none.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        return None

    # -- while it is at the scheduler -------------------------------------------------------------------

    def can_release(self, found: Observation | None) -> bool:
        """Whether work that the scheduler holds may go on if :meth:`release_held` is called.

        Args:
            found: what was just observed; ``None``: no news.
        """
        return False

    def release_held(self) -> bool:
        """Removes the cause for which the scheduler holds the work; returns whether it goes on. For the monitor alone.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
            PrefectJobsError: it does not allow that.
        """
        return False

    def poll(self) -> Observation | None:
        """Polls the scheduler for the work; ``None``: no news.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        return None

    def stop(self) -> Observation | str | None:
        """Stops the work; may return what it observes then.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
            NotImplementedError: not possible; as :meth:`pause` and :meth:`resume`.
        """
        raise NotImplementedError(f"Jobs of the type {self.handle.record.type} cannot be stopped.")

    def pause(self) -> Observation | str | None:
        """Holds the work; may return what it observes then."""
        raise NotImplementedError(f"Jobs of the type {self.handle.record.type} cannot be paused.")

    def resume(self) -> Observation | str | None:
        """Resumes the work; may return what it observes then."""
        raise NotImplementedError(f"Jobs of the type {self.handle.record.type} cannot be resumed.")

    def parts_held(self) -> bool:
        """Whether parts of the work are held, whatever the status of the whole."""
        return self.held_parts(self.handle.record)

    @staticmethod
    def held_parts(record: JobRecord) -> bool:
        """As :meth:`parts_held`, from the job's row alone; true if the row cannot tell."""
        return False

    @staticmethod
    def may_wait(record: JobRecord) -> bool:
        """Whether a part of the work may wait for a machine, by the job's row alone."""
        return False

    @staticmethod
    def may_say_more(record: JobRecord) -> bool:
        """Whether what the work writes is to be shown while it runs, by the job's row alone."""
        return False

    def note_output(self) -> None:
        """Notes the newest lines that the work has written, for people. For the monitor alone.

        Raises:
            PrefectJobsError: the scheduler does not answer, or the database.
        """

    def logs(self) -> dict[str, Any]:
        """Log name → text, or → {log name → text or a callable that fetches it}."""
        return {}

    def log_files(self) -> dict[str, Any]:
        """As :meth:`logs`, with a :class:`LogFile` for each log that is in a file."""
        return self.logs()

    def wait_change(self, seconds: float) -> None:
        """Waits until the next poll is due, ``seconds`` at most."""
        Event().wait(seconds)  # never set: a wait that a signal can interrupt

    async def await_change(self, seconds: float) -> None:
        """As :meth:`wait_change`; blocks no thread."""
        await anyio.sleep(seconds)

    def ended(self) -> None:
        """Drops what this process keeps of work that is over. Another process may have observed the end."""

    # -- the end ----------------------------------------------------------------------------------------

    def fetch(self) -> Fetched:
        """Fetches what the work left behind.

        Raises:
            OutputsNotFetched: it is not possible now; it is tried again later.
            SchedulerConnectionError: the scheduler does not answer; it is tried again later.
        """
        return Fetched()

    @classmethod
    def fetch_many(cls, engines: Sequence[Any]) -> Iterator[list[tuple[int, Fetched | Exception]]]:
        """Fetches what several jobs of this engine left behind, in portions that are not large. What is to be kept is
        in the answers: it is written with the outcomes, and then the next portion is fetched.

        Returns:
            The index of each engine, with the return value or the exception of :meth:`fetch`.
        """
        raise NotImplementedError

    @classmethod
    def release_many(cls, engines: Sequence[Any]) -> None:
        """As :meth:`release`, for several jobs of this engine."""
        for engine in engines:
            engine.release()

    @property
    def keeps_results(self) -> bool:
        """Whether what the work left behind still exists after :meth:`fetch`."""
        return True

    @property
    def gives_result(self) -> bool:
        """Whether ``process_results_function`` is called with the result. Otherwise it is called with the job if the
        result is ``None``."""
        return False

    def keep_returned(self, value: Any) -> dict[str, Any]:
        """Stores what ``process_results_function`` returned, where that becomes the job's result.

        Returns:
            What is noted of it, together with the job's outcome.
        """
        return {}

    def release(self) -> None:
        """Removes what was kept at the scheduler until the results were processed."""

    def clean_up(self) -> None:
        """Removes everything of the work at the scheduler: before the job is deleted, or submitted again.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
