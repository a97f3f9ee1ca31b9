"""The job as people use it: attributes, actions, and an explicit async twin for each call that waits."""

import inspect
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import anyio
from anyio.to_thread import run_sync

from prefect_jobs import statuses
from prefect_jobs.errors import JobStateError
from prefect_jobs.jobs import changes, hooks, lifecycle, submission
from prefect_jobs.jobs.fields import JobFields
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.jobs.waiting import Progress, Waiting
from prefect_jobs.transition import News, Source

_OVERRIDABLE = ("stop", "pause", "resume")


class Job(JobFields):
    """A long-running job. Made by :meth:`prefect_jobs.JobManager.create_job`, never directly.

    A type of your own subclasses this and overrides ``_execute``, ``_update_status``, ``_process_results``,
    ``_resubmit``, ``_get_logs``, ``stop``, ``pause`` or ``resume``, each plain or ``async def``.
    """

    #: Least time between two questions to the scheduler by :meth:`update_status`.
    update_status_interval: ClassVar[timedelta] = timedelta(seconds=10)
    #: Keyword arguments of ``create_job`` for this type beyond the common ones, with their defaults.
    spec_defaults: ClassVar[Mapping[str, Any]] = {}
    #: The flow that Prefect runs for a job of this type when it is started there: ``module:function``.
    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.basic_job:basic_job"
    #: What that flow takes besides the keyword arguments of ``create_job``.
    flow_parameters: ClassVar[tuple[str, ...]] = ()
    #: The engine of the scheduler that jobs of this type take; none: they take none.
    scheduler_engine: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # stop, pause and resume are public and overridable at once: what a subclass writes becomes the hook
        # that the public call runs between checking the status and setting it.
        for name in _OVERRIDABLE:
            if name in cls.__dict__:
                setattr(cls, f"_{name}", cls.__dict__[name])
                delattr(cls, name)

    @property
    def status(self) -> str:
        """The status, asked for anew (see :meth:`update_status`)."""
        self.update_status()
        return self.cached_status

    @status.setter
    def status(self, value: str) -> None:
        self.update_status(value)

    @property
    def scheduler(self) -> Any:
        """The block of the scheduler; ``None``: this machine's own, or a type that has none.

        Raises:
            SchedulerConnectionError: the block cannot be read: Prefect is away, or it was deleted.
        """
        name = self._record.scheduler
        return None if name is None else self._backend.scheduler(name)

    # -- calls ------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes the job. The first save gives it its ``id`` and its Prefect flow run.

        Raises:
            ValueError: a blank name or one over 1,024 characters.
            JobStateError: the job was deleted meanwhile.
        """
        self._check_fields()
        if self.id is None:
            self._take(self._backend.insert(self._drafted(self._record)), keep=False)
        else:
            self._take(self._backend.update(self._record.id, self._user_changes), keep=False)
        self._save_parts()
        self._wait_shown()

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Saves and submits the job; what it takes depends on its type.

        Raises:
            SubmissionError: refused (the job is Error then) or not reached (it stays Pending).
            JobStateError: the job is active already, and the message names its id at the scheduler; or it is over:
                :meth:`resubmit` it. A job that was refused, so that nothing ever ran, may be executed again.
        """
        submission.execute(self, args, kwargs)

    def update_status(self, status: str | None = None) -> None:
        """Sets the status by hand, or asks the scheduler where the job is not over and
        ``update_status_interval`` has passed since anybody asked.

        Raises:
            ValueError: a blank status or one over 255 characters.
        """
        if status is None:
            lifecycle.update(self)
            return
        statuses.check_text(status)
        if self.id is None:
            self.save()
        if statuses.parse(status).text == statuses.COMPLETE and self.scheduler_engine is None:
            # Nobody but the one who says so knows that the work is over: the results function is called as ever.
            self._apply(News(Source.HAND, statuses.RESULTS_READY))
            lifecycle.process_results(self)
            return
        self._apply(News(Source.HAND, status))
        self._wait_shown()

    def stop(self) -> Any:  # an override may be async, and may return a status
        """Stops the work; the job ends as Aborted (or Various-Complete where some of it was done).

        Raises:
            JobStateError: the job is over already.
            SchedulerConnectionError: the scheduler cannot be reached: nothing was changed.
        """
        lifecycle.act(self, "stop")

    def pause(self) -> Any:  # an override may be async, and may return a status
        """Holds the work until :meth:`resume`.

        Raises:
            JobStateError: the job is not active.
            NotImplementedError: jobs of this type cannot be paused.
        """
        lifecycle.act(self, "pause")

    def resume(self) -> Any:  # an override may be async, and may return a status
        """Lets paused or held work go on.

        Raises:
            JobStateError: the job is neither paused nor held.
        """
        lifecycle.act(self, "resume")

    def resubmit(self) -> None:
        """Submits a job that is over once more, as it is now.

        Raises:
            JobStateError: the job is not over, or was never submitted.
            SubmissionError: as :meth:`execute`.
        """
        submission.resubmit(self)

    def get_logs(self) -> dict[str, Any]:
        """Log name → text, or → {log name → text or a callable that fetches it}."""
        self._refresh()
        found: dict[str, Any] = self._hook(self._get_logs)
        if self._noted:
            self._apply(None)
        return found

    def process_results(self) -> None:
        """Fetches outputs or the result, calls ``process_results_function``, and ends the job.

        Raises:
            JobStateError: the work is not over yet.
        """
        lifecycle.process_results(self)

    def delete(self) -> None:
        """Stops the job if it is active and its type can be stopped; removes it and its flow run, and with
        ``clean_on_delete`` its own directory.

        Raises:
            SchedulerConnectionError: it is active and its scheduler cannot be reached: nothing was deleted.
        """
        lifecycle.delete(self)

    def wait(self, timeout: float | None = None, progress: Progress | None = None, until_held: bool = False) -> str:
        """Blocks until the job is over: Complete, Various-Complete, Error, Aborted, or a custom terminal status.

        Args:
            timeout: seconds; none: for ever.
            progress: called with the job at first, and when its status or message changes.
            until_held: ends also where the job is Held or Paused, which nothing but a person ends.

        Returns:
            The status.

        Raises:
            TimeoutError: it is not over after ``timeout`` seconds; it goes on.
        """
        waiting = Waiting(self, timeout, progress, until_held)
        while not waiting.over():
            hooks.call(waiting.tell)
            self._await_change(waiting.pause())
        return self.cached_status

    # -- async twins ------------------------------------------------------------------------------------

    async def asave(self) -> None:
        """As :meth:`save`."""
        await run_sync(self.save)

    async def aexecute(self, *args: Any, **kwargs: Any) -> None:
        """As :meth:`execute`."""
        await run_sync(lambda: self.execute(*args, **kwargs))

    async def aupdate_status(self, status: str | None = None) -> None:
        """As :meth:`update_status`."""
        await run_sync(self.update_status, status)

    async def astatus(self) -> str:
        """As :attr:`status`."""
        await run_sync(self.update_status)
        return self.cached_status

    async def astop(self) -> None:
        """As :meth:`stop`."""
        await run_sync(self.stop)

    async def apause(self) -> None:
        """As :meth:`pause`."""
        await run_sync(self.pause)

    async def aresume(self) -> None:
        """As :meth:`resume`."""
        await run_sync(self.resume)

    async def aresubmit(self) -> None:
        """As :meth:`resubmit`."""
        await run_sync(self.resubmit)

    async def aget_logs(self) -> dict[str, Any]:
        """As :meth:`get_logs`."""
        return await run_sync(self.get_logs)

    async def aprocess_results(self) -> None:
        """As :meth:`process_results`."""
        await run_sync(self.process_results)

    async def adelete(self) -> None:
        """As :meth:`delete`."""
        await run_sync(self.delete)

    async def await_completion(  # the twin of wait
        self,
        timeout: float | None = None,  # noqa: ASYNC109
        progress: Progress | None = None,
        until_held: bool = False,
    ) -> str:
        """As :meth:`wait`; holds no thread while it waits, and calls ``progress`` in the event loop."""
        waiting = Waiting(self, timeout, progress, until_held)
        while not await run_sync(waiting.over):
            answer = waiting.tell()
            if inspect.isawaitable(answer):
                await answer
            await self._aawait_change(waiting.pause())
        return self.cached_status

    @classmethod
    def check_flow_parameters(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the type's flow takes besides the keyword arguments of ``create_job``, as a schedule keeps it: JSON.

        Args:
            given: those of :attr:`flow_parameters` that were given.

        Raises:
            ValueError: one of them is missing or has a bad value.
        """
        timeout = given.get("timeout", 0)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout < math.inf:
            raise ValueError(f"timeout is a number of seconds, 0 for none, not {timeout!r}.")
        return dict(given)

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is stored of the type's own keyword arguments.

        Raises:
            ValueError: one of them has a bad value.
        """
        return dict(given)

    # -- hooks ------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """What needs no scheduler: what it sets here is written with the intent to submit."""

    def _unprepare(self) -> None:
        """Undoes what :meth:`_prepare` did just now: the job is not submitted."""

    def _origin(self) -> dict[str, Any]:
        """What is noted, with the intent to submit, of where this happens."""
        return {}

    @classmethod
    def _together(cls) -> bool:
        """Whether :meth:`_execute_many` submits several jobs of this very class at once."""
        return cls._execute is Job._execute

    @classmethod
    def _execute_many(cls, jobs: Sequence[Any]) -> list[Exception | None]:
        """Submits several jobs of this very class, each as :meth:`_execute` without arguments does.

        Returns:
            For each what went wrong with it.
        """
        return [None] * len(jobs)

    def _execute(self, *args: Any, **kwargs: Any) -> Any:
        """Submits the work. Raises on failure."""

    def _update_status(self) -> "str | Observation | Any | None":
        """A status, or ``None`` for no news."""
        return None

    def _process_results(self) -> Any:
        """Fetches what the work left behind; what it returns is given to ``process_results_function``
        where it is not ``None`` (else the job is)."""
        return None

    def _resubmit(self) -> Any:
        """Submits the work again; by default as the first time, with the same arguments."""
        return self._execute()

    def _get_logs(self) -> Any:
        """Log name → text."""
        return {}

    def _stop(self) -> Any:
        """Stops the work; may return the status that the job has then."""
        raise NotImplementedError(f"Jobs of the type {self.type} cannot be stopped.")

    def _pause(self) -> Any:
        """Holds the work."""
        raise NotImplementedError(f"Jobs of the type {self.type} cannot be paused.")

    def _resume(self) -> Any:
        """Lets the work go on; may return the status that the job has then."""
        raise NotImplementedError(f"Jobs of the type {self.type} cannot be resumed.")

    def _clean_up(self) -> Any:
        """Removes what is left of an ended job at its scheduler, before the job is deleted."""

    def _check_known(self, action: str) -> None:
        """Refuses an action on a job whose type this process does not know."""

    def _check_supported(self, action: str) -> None:
        """Refuses what no job of this type can do, whatever its status.

        Raises:
            NotImplementedError: with the reason.
        """
        name = f"_{action}"
        if action != "stop" and getattr(type(self), name) is getattr(Job, name):
            getattr(self, name)()

    def _can_resume(self) -> bool:
        """Whether there is something to be let go on."""
        return self.cached_status in (statuses.PAUSED, statuses.HELD)

    def _for_function(self, result: Any) -> Any:
        """What ``process_results_function`` is called with."""
        return self if result is None else result

    def _reach(self) -> None:
        """Finds out whether the scheduler answers.

        Raises:
            SchedulerConnectionError: it does not.
        """

    def _results_done(self) -> None:
        """Removes what was kept at the scheduler until the results were processed."""

    def _keeps_results(self) -> bool:
        """Whether what the work left behind is there afterwards."""
        return True

    def _await_change(self, seconds: float) -> None:
        """Waits until it is time to ask again, ``seconds`` at most."""
        Event().wait(seconds)  # never set: a wait that a signal can end

    async def _aawait_change(self, seconds: float) -> None:
        """As :meth:`_await_change`; holds no thread."""
        await anyio.sleep(seconds)

    def _save_parts(self) -> None:
        """Writes what is kept beside the job's row, once that is written."""

    def _directory(self) -> Path | None:
        """The job's own directory, if it has one."""
        return None

    def _find_submission(self) -> bool:
        """Looks for work that was submitted with ``submission_token`` before the process died, and adopts it."""
        return False

    # -- inside -----------------------------------------------------------------------------------------

    def _apply(self, event: Any, *, native: dict[str, Any] | None = None, **more: Any) -> None:
        """Applies an event to the job through the one door; see :func:`changes.change_for`."""
        change = self._with_noted(lambda fresh: changes.change_for(fresh, event, native=native, **more))
        record = self._backend.update(self._record.id, change)
        self._take(record)

    def _refresh(self) -> None:
        """Reads the job anew.

        Raises:
            JobStateError: it was deleted, or never saved.
        """
        if self.id is None:
            raise JobStateError(f"{self._title()} must be saved first.")
        record = self._backend.get(self._record.id)
        if record is None:
            raise JobStateError(f"{self._title()} does not exist any more: it was deleted.")
        self._take(record)

    def _wait_shown(self) -> None:
        record = self._backend.shown(self._record.id)
        if record is not None:
            self._take(record)
