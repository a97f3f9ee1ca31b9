"""The job: its actions, an async twin for each one that waits, and the hooks of a type."""

import inspect
import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from anyio.to_thread import run_sync

from prefect_jobs import folders, statuses
from prefect_jobs.jobs import deletion, hooks, polling, results, submission
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.fields import MAX_NAME_LENGTH, JobFields
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.jobs.job_type import JobType
from prefect_jobs.jobs.observation import Observation, Submitted
from prefect_jobs.jobs.ports import Backend
from prefect_jobs.jobs.possible import Abilities
from prefect_jobs.jobs.steering import STEERED, steered
from prefect_jobs.jobs.type_hooks import NEWS, RESULTS, SUBMISSION, TypeHooks
from prefect_jobs.jobs.waiting import Progress, Waiting
from prefect_jobs.records import JobRecord
from prefect_jobs.transition import News, Source


class Job(JobFields, JobType):
    """A long-running job. Made by :meth:`prefect_jobs.JobManager.create_job`, never directly.

    A type of your own subclasses this and overrides ``_execute``, ``_update_status``, ``_process_results``,
    ``_resubmit``, ``_find_submission``, ``_get_logs``, ``_clean_up``, ``stop``, ``pause`` or ``resume``, each plain or
    ``async def``.
    """

    #: The engine of this type.
    engine_type: ClassVar[type[Engine]] = Engine
    #: What jobs of this type can do, derived from what the type overrides.
    abilities: ClassVar[Abilities] = Abilities()

    engine: Engine

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in STEERED:
            if name in cls.__dict__:
                setattr(cls, name, steered(name)(cls.__dict__[name]))
        cls.abilities = Abilities(
            polls=cls.polls_itself() or hooks.defined_by(cls.engine_type, "poll") is not Engine,
            refused={
                **_not_overridden(cls),
                **{name: why for name, why in cls.engine_type.refused.items() if hooks.defined_by(cls, name) is Job},
            },
            held_parts=cls.engine_type.held_parts,
        )

    def __init__(self, backend: Backend, record: JobRecord) -> None:
        engine = backend.site.engine_type(self.engine_type)

        def workspace_of(old: JobRecord) -> str:
            return engine.workspace_of(old, backend.site.default_workspace(old.label, old.user))

        self.handle = Handle(backend, record, workspace_of)
        self.engine = engine(self.handle)
        #: Whether :meth:`delete` removes the job directory, too.
        self.clean_on_delete = False

    # -- attributes that poll ---------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """The status, refreshed first (see :meth:`update_status`)."""
        self.update_status()
        return self.cached_status

    @status.setter
    def status(self, value: str) -> None:
        self.update_status(value)

    @property
    def scheduler(self) -> Any:
        """The block of the scheduler; ``None``: this machine's scheduler, or a type without schedulers.

        Raises:
            SchedulerConnectionError: the block cannot be read: Prefect cannot be reached, or the block was deleted.
        """
        name = self.handle.record.scheduler
        return None if name is None else self.handle.backend.site.scheduler(name)

    # -- calls ------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes the job. The first save gives it its ``id`` and its Prefect flow run.

        Raises:
            ValueError: a blank name or one over 1,024 characters.
            JobStateError: the job was deleted meanwhile.
        """
        self.check_fields()
        if not self.handle.save():
            self.handle.refresh()
        self.engine.save_parts()

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Saves and submits the job; the arguments depend on its type.

        Raises:
            SubmissionError: the scheduler refused it (the job is Error) or was not reached (the job stays Pending).
            JobStateError: the job is active, and the message has its id at the scheduler; or it is over: call
            :meth:`resubmit`. A job that was refused, so that nothing ever ran, may be executed again.
        """
        submission.execute(self, args, kwargs)

    def update_status(self, status: str | None = None, message: str | None = None) -> None:
        """Sets the status to ``status``, or else polls the scheduler if the job is not over and
        ``update_status_interval`` has passed since the last poll.

        Args:
            status: a display name, a code, or a custom text.
            message: for people: the reason of this status.

        Raises:
            ValueError: a blank status or one over 255 characters, or a message without a status.
        """
        if message is not None and (status is None or not isinstance(message, str)):
            raise ValueError(f"A message is a text that goes with a status, not {message!r} with {status!r}.")
        if status is None:
            polling.update(self, timedelta(0) if self.engine.asks_freely else self.update_status_interval)
            return
        statuses.check_text(status)
        if self.id is None:
            self.save()
        if statuses.parse(status).text == statuses.COMPLETE and self.scheduler_engine is None:
            # Only the caller knows that the work is over: the results function is called as for other types.
            self.handle.apply(News(Source.HAND, statuses.RESULTS_READY, message))
            results.process_results(self)
            if message and self.cached_status == statuses.COMPLETE:
                self.handle.apply(News(Source.HAND, None, message))
            return
        self.handle.apply(News(Source.HAND, status, message))

    @steered("stop")
    def stop(self) -> Any:  # an override may be async and return a status
        """Stops the work; the job ends as Aborted (or Various-Complete if some of the work was done).

        Raises:
            JobStateError: the job is over already.
            SchedulerConnectionError: the scheduler cannot be reached: nothing was changed.
        """
        return self.engine.stop()

    @steered("pause")
    def pause(self) -> Any:  # an override may be async and return a status
        """Holds the work until :meth:`resume`.

        Raises:
            JobStateError: the job is not active.
            NotImplementedError: jobs of this type cannot be paused.
        """
        return self.engine.pause()

    @steered("resume")
    def resume(self) -> Any:  # an override may be async and return a status
        """Resumes paused or held work.

        Raises:
            JobStateError: the job is neither paused nor held.
        """
        return self.engine.resume()

    def resubmit(self) -> None:
        """Submits a job again after it is over, with its present values.

        Raises:
            JobStateError: the job is not over, or was never submitted.
            SubmissionError: as :meth:`execute`.
        """
        submission.resubmit(self)

    def get_logs(self) -> dict[str, Any]:
        """Log name → text, or → {log name → text or a callable that fetches it}."""
        polling.refresh(self)
        found = self.hooks.get_logs()
        if self.handle.has_noted:
            self.handle.apply(None)
        return found

    def process_results(self) -> None:
        """Fetches the outputs or the result, calls ``process_results_function``, and ends the job.

        Raises:
            JobStateError: the work is not over yet.
        """
        results.process_results(self)

    def delete(self) -> None:
        """Deletes the job and its flow run, and with ``clean_on_delete`` the job directory. An active job is stopped
        first, if its type can be stopped.

        Raises:
            SchedulerConnectionError: it is active and its scheduler cannot be reached: nothing was deleted.
        """
        deletion.delete(self, files=self.clean_on_delete)

    def wait(self, timeout: float | None = None, progress: Progress | None = None, until_held: bool = False) -> str:
        """Blocks until the job is over: Complete, Various-Complete, Error, Aborted, or a custom terminal status.

        Args:
            timeout: seconds; none: no limit.
            progress: called with the job at the start, and when its status or message changes.
            until_held: whether to end also when the job is Held or Paused. Only a person ends these.

        Returns:
            The status.

        Raises:
            TimeoutError: the job is not over after ``timeout`` seconds; it continues.
        """
        waiting = Waiting(self, timeout, progress, until_held)
        while not waiting.over():
            hooks.call(waiting.tell)
            self.engine.wait_change(waiting.pause())
        return self.cached_status

    # -- async twins ------------------------------------------------------------------------------------

    async def asave(self) -> None:
        """As :meth:`save`."""
        await run_sync(self.save)

    async def aexecute(self, *args: Any, **kwargs: Any) -> None:
        """As :meth:`execute`."""
        await run_sync(lambda: self.execute(*args, **kwargs))

    async def aupdate_status(self, status: str | None = None, message: str | None = None) -> None:
        """As :meth:`update_status`."""
        await run_sync(self.update_status, status, message)

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
        """As :meth:`wait`; blocks no thread while it waits, and calls ``progress`` in the event loop."""
        waiting = Waiting(self, timeout, progress, until_held)
        while not await run_sync(waiting.over):
            answer = waiting.tell()
            if inspect.isawaitable(answer):
                await answer
            await self.engine.await_change(waiting.pause())
        return self.cached_status

    def submits_together(self, *args: Any) -> bool:
        """As :meth:`AnyJob.submits_together`."""
        alike = len(args) == self.engine.takes and hooks.defined_by(type(self), "_execute") is Job
        return self.engine.together and alike

    def fetches_together(self) -> bool:
        """As :meth:`AnyJob.fetches_together`."""
        return self.engine.fetches_together and hooks.defined_by(type(self), "_process_results") is Job

    @classmethod
    def polls_itself(cls) -> bool:
        """Whether the type polls in its own way, not by its engine."""
        return hooks.defined_by(cls, "_update_status") is not Job

    # -- hooks: a type overrides them ---------------------------------------------------------------------

    def _execute(self, *args: Any, **kwargs: Any) -> Any:
        """Submits the work, and returns a :class:`Submitted`. Raises an error on failure."""
        return self.handle.from_engine(SUBMISSION, self.engine.submit(*args, **kwargs))

    def _resubmit(self) -> Any:
        """Submits the work again; by default as the first time."""
        return self._execute()

    def _find_submission(self) -> "Submitted | Any | None":
        """Finds work that was submitted under ``submission_token`` by a process that died before it noted that."""
        return self.handle.from_engine(SUBMISSION, self.engine.find())

    def _update_status(self) -> "str | Observation | Any | None":
        """Returns a status, or an :class:`Observation`, or ``None`` for no news."""
        return self.handle.from_engine(NEWS, self.engine.poll())

    def _process_results(self) -> Any:
        """Fetches what the work left behind. Its return value is passed to ``process_results_function`` if it is not
        ``None``; otherwise the job is."""
        return self.handle.from_engine(RESULTS, self.engine.fetch()).result

    @hooks.built_in
    def _get_logs(self) -> Any:
        """Log name → text."""
        return self.engine.logs()

    def _clean_up(self) -> Any:
        """Removes what is left of an ended job at its scheduler, before the job is deleted."""
        return self.engine.clean_up()

    @property
    def _submitted(self) -> None:
        """What ``_execute`` of an older type sets; now it returns a :class:`Submitted`."""
        return None

    @_submitted.setter
    def _submitted(self, values: dict[str, Any]) -> None:
        text = "Setting self._submitted is deprecated: return prefect_jobs.Submitted(remote_id, native, message)."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        self.handle.from_engine(SUBMISSION, Submitted(**values))

    # -- for those who extend this package ------------------------------------------------------------------

    @property
    def hooks(self) -> TypeHooks:
        """The hooks as the core calls them."""
        return TypeHooks(
            self.handle,
            self._execute,
            self._resubmit,
            self._find_submission,
            self._update_status,
            self._process_results,
            self._get_logs,
            self._clean_up,
        )

    def call_results_function(self, function: Callable[..., Any], given: Any) -> tuple[Any, str]:
        """Calls the user's function; what it returned, and what it adds to the message of the job."""
        return self.handle.run_hook(function, given).value, ""

    def check_known(self, what: str) -> None:
        """Does nothing: this type is known."""

    def check_fields(self) -> None:
        """Checks the attributes that were set, and makes paths absolute, before they are stored.

        Raises:
            ValueError: a field has a bad value.
        """
        drafts, record = self.handle.drafts, self.handle.record
        if not isinstance(drafts.name, str) or not drafts.name.strip():
            raise ValueError("A job needs a name that is not blank.")
        # A stored name may be longer, since the id replaces {id}.
        if len(drafts.name) > MAX_NAME_LENGTH and (self.id is None or drafts.name != record.name):
            raise ValueError(f"The job's name has {len(drafts.name)} characters; the limit is {MAX_NAME_LENGTH}.")
        if not isinstance(drafts.extended_properties, dict):
            raise ValueError(f"extended_properties must be a dict, not {drafts.extended_properties!r}.")
        default = partial(self.handle.backend.site.default_workspace, self.label, self.user)
        drafts.workspace = folders.absolute(drafts.workspace or "", default)
        self.engine.settle()


def _not_overridden(cls: type[Job]) -> dict[str, str]:
    """Action → why no job of a class can do it: neither the class nor its engine implements it."""
    verbs = {"stop": "stopped", "pause": "paused", "resume": "resumed"}
    return {
        name: f"Jobs of the type {cls.__name__} cannot be {verb}."
        for name, verb in verbs.items()
        if hooks.defined_by(cls, name) is Job and hooks.defined_by(cls.engine_type, name) is Engine
    }


Job.abilities = Abilities(refused=_not_overridden(Job))
