"""The job classes of the Tethys Platform: the same rows as ours, with the peer's ways to make, read and change them."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar, Generic, TypeVar, cast

from prefect_jobs import arguments, statuses
from prefect_jobs.errors import ResultUnavailable, SubmissionError
from prefect_jobs.jobs import basic as our_basic
from prefect_jobs.jobs import hooks, registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import job as our_condor
from prefect_jobs.jobs.dask import job as our_dask
from prefect_jobs.jobs.observation import Fetched, Observation
from prefect_jobs.jobs.type_hooks import NEWS, RESULTS
from prefect_jobs.jobs.unknown import UnknownJob
from prefect_jobs.jobs.workflow import job as our_workflow
from prefect_jobs.jobs.workflow.node_handle import NodeHandle
from prefect_jobs.jobs.workflow.nodes import CondorWorkflowNode as AnyNode
from prefect_jobs.noted import OUTCOME, PEER, Outcome
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.store.filters import JobQuery
from prefect_jobs.tethys.nodes import CondorWorkflowJobNode, NodeSet
from prefect_jobs.tethys.sets import DoesNotExist, JobSet, MultipleObjectsReturned
from prefect_jobs.tethys.texts import as_written
from prefect_jobs.transition import News, Source

J = TypeVar("J", bound="TethysJob")
log = logging.getLogger(__name__)

#: The hooks of a type in which the peer's code sets attributes instead of returning a value.
_HOOKS = ("_execute", "_resubmit", "_update_status", "_process_results")
#: The user's function, which may set the same attributes.
_FUNCTION = "process_results_function"
#: Noted with jobs that are made here, for the processes that call that function.
_PEER_OF = f"{__name__}.peer_of"


class _Objects(Generic[J]):
    """The jobs of a class, as ``Class.objects``."""

    def __get__(self, job: "J | None", owner: type[J]) -> JobSet[J]:
        if job is not None:
            raise AttributeError(f"objects belongs to the class: {owner.__name__}.objects.")
        if owner is TethysJob:
            return JobSet(owner)
        return JobSet(owner, JobQuery(filters={"job_type__in": sorted({stored_name(each) for each in _family(owner)})}))


def _family(cls: type[Any]) -> Iterator[type[Any]]:
    yield cls
    for below in cls.__subclasses__():
        yield from _family(below)


class TethysJob(Job):
    """A job, made by keywords and saved; a base for types of your own.

    A hook may set ``self._status`` (a code or a name) and ``self.status_message``, and return nothing.
    """

    #: Where the class stores the same rows as one of ours: the name of that type.
    stored_as: ClassVar[str | None] = "BASIC"
    objects: ClassVar[Any] = _Objects()
    DoesNotExist: ClassVar[type[Exception]] = DoesNotExist
    MultipleObjectsReturned: ClassVar[type[Exception]] = MultipleObjectsReturned

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in _HOOKS:
            if name in cls.__dict__:
                setattr(cls, name, cls._told(name, cls.__dict__[name]))
        super().__init_subclass__(**kwargs)
        cls.DoesNotExist = type("DoesNotExist", (cls.DoesNotExist,), {"__module__": cls.__module__})
        cls.MultipleObjectsReturned = type(
            "MultipleObjectsReturned", (cls.MultipleObjectsReturned,), {"__module__": cls.__module__}
        )

    def __init__(self, *args: Any, **fields: Any) -> None:
        """
        Args:
            *args: for this package alone.
            **fields: ``name``, ``user`` and ``label`` (the package of the app), and as of ``create_job``; also
                ``_status`` and ``status_message``.

        Raises:
            TypeError: a field is missing or not known.
            ValueError: a bad value.
        """
        #: A status and a message that were set and are not saved yet.
        self._set_status: str | None = None
        self._set_message: str | None = None
        #: The hook that runs.
        self._hook: str | None = None
        #: Whether errors of a submission are noted and not raised. They are raised to our own code, which tries again.
        self.quiet = not args
        if args:
            super().__init__(*args, **fields)
        else:
            self._make(fields)
        #: As the peer: the job's own directory goes with it.
        self.clean_on_delete = True

    def _make(self, fields: dict[str, Any]) -> None:
        missing = [name for name in ("name", "user", "label") if not fields.get(name)]
        if missing:
            raise TypeError(f"{type(self).__name__}() needs {', '.join(f'{name}=…' for name in missing)}.")
        name, user, label = (fields.pop(key) for key in ("name", "user", "label"))
        status, message = fields.pop("_status", fields.pop("status", None)), fields.pop("status_message", None)
        groups = fields.pop("groups", None)
        runtime, cls = get_runtime(), type(self)
        record = arguments.draft(runtime, label, name, user, groups, stored_name(cls), cls, fields)
        super().__init__(runtime, replace(record, native={PEER: _PEER_OF}) if record.type in PEERS else record)
        self.check_fields()
        if status is not None:
            self._status = status
        if message is not None:
            self.status_message = message

    @classmethod
    def of_record(cls, runtime: Runtime, record: JobRecord) -> Any:
        """The job of a row, of the class that it belongs to."""
        found = PEERS.get(record.type) or registry.load(record.type) or UnknownJob
        job = found(runtime, record)
        if isinstance(job, TethysJob):
            job.quiet = True
        return job

    def __eq__(self, other: object) -> bool:
        """Whether it is the same job; one that is not saved equals itself alone."""
        if self is other or not isinstance(other, Job):
            return self is other
        return self.id is not None and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id) if self.id is not None else object.__hash__(self)

    # -- fields -----------------------------------------------------------------------------------------

    @property
    def pk(self) -> int | None:
        """The id."""
        return self.id

    @property
    def _status(self) -> str:
        """The code of the status; for a custom one its text."""
        if self._set_status is not None:
            parsed = statuses.parse(self._set_status)
            return parsed.code if parsed.code != statuses.OTHER_CODE else parsed.text
        return self.handle.record.state.status_code

    @_status.setter
    def _status(self, value: str) -> None:
        statuses.check_text(value)
        self._set_status = value

    @property
    def cached_status(self) -> str:
        """The status as last known, or as set here."""
        return super().cached_status if self._set_status is None else statuses.parse(self._set_status).text

    @property
    def status_message(self) -> str:
        """The reason of the status, for people; it may be set."""
        return super().status_message if self._set_message is None else self._set_message

    @status_message.setter
    def status_message(self, value: str | None) -> None:
        self._set_message = str(value or "")

    # -- calls ------------------------------------------------------------------------------------------

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As :meth:`Job.save`, with a status and a message that were set. In a hook they are saved with its outcome.

        Args:
            *args: of Django; without effect, as are
            **kwargs: these.
        """
        if self._hook is not None and self.id is not None:
            return
        super().save()
        self._save_set()

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Reads the job again; what was set and not saved is dropped.

        Raises:
            JobStateError: it was deleted, or never saved.
        """
        self._set_status = self._set_message = None
        self.handle.refresh()
        self.handle.take(self.handle.record, keep=False)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """As :meth:`Job.execute`; but an error of the submission is noted (``Error``; ``Pending`` if the scheduler was
        not reached), logged, and not raised.

        Raises:
            JobStateError: as :meth:`Job.execute`.
        """
        if self._hook == "_resubmit":  # the peer's way to submit again
            return hooks.call(self._execute, *args, **kwargs)
        self._set_status = None
        if self._set_message and self.id is None:
            self.save()
        self._set_message = None
        try:
            super().execute(*args, **kwargs)
        except SubmissionError as error:
            if not self.quiet:
                raise
            log.error("%s", error)
        self._save_set()
        return None

    def resubmit(self, *args: Any, **kwargs: Any) -> None:
        """As :meth:`Job.resubmit`; errors of the submission as in :meth:`execute`."""
        self._set_status = self._set_message = None
        try:
            super().resubmit(*args, **kwargs)
        except SubmissionError as error:
            if not self.quiet:
                raise
            log.error("%s", error)
        self._save_set()

    def call_results_function(self, function: Callable[..., Any], given: Any) -> tuple[Any, str]:
        """Calls the user's function; its return value, and the message that it has set.

        Raises:
            RuntimeError: it has set Error.
        """
        self._set_status = self._set_message = None
        with self._in_hook(_FUNCTION):
            value, _ = super().call_results_function(function, given)
            message = self._set_message or ""
            return self._answer(_FUNCTION, value), message

    # -- what is set ------------------------------------------------------------------------------------

    def _save_set(self) -> None:
        """Writes a status and a message that were set."""
        status, message = self._set_status, self._set_message
        self._set_status = self._set_message = None
        if status is not None and statuses.parse(status).text != super().cached_status:
            self.update_status(status, message)
        elif message is not None and message != super().status_message:
            self.handle.apply(News(Source.HAND, None, message))

    @contextmanager
    def _in_hook(self, name: str) -> Iterator[None]:
        before, self._hook = self._hook, name
        try:
            yield
        finally:
            self._hook = before

    def _answer(self, hook: str, answer: Any) -> Any:
        """What a hook returns to the core, from what it returned or set.

        Raises:
            RuntimeError: it has set Error.
        """
        status = None if self._set_status is None else statuses.parse(self._set_status).text
        message = self._set_message
        if hook == "_update_status":
            self._set_status = self._set_message = None
            return self._news(answer, status, message)
        if status == statuses.ERROR:
            self._set_status = self._set_message = None
            raise RuntimeError(message or f"{type(self).__name__}.{hook} has set the status Error.")
        if hook in ("_process_results", _FUNCTION):
            self._set_status = self._set_message = None
            if message and hook != _FUNCTION:  # for the end of the job
                fetched: Fetched = self.handle.answer_of_engine(RESULTS) or Fetched()
                return replace(fetched, result=fetched.result if answer is None else answer, note=message)
        return answer

    def _news(self, answer: Any, status: str | None, message: str | None) -> Any:
        """What a poll has found: what the hook has returned, or set, or what the built-in one within it has found."""
        if answer is None and status == statuses.COMPLETE:  # the results come next; the message is for the end
            outcome = Outcome(statuses.COMPLETE, message or "")
            return Observation(statuses.RESULTS_READY, message, native={OUTCOME: outcome.encode()})
        new = status if answer is None else answer
        if new is None:
            new = self.handle.answer_of_engine(NEWS)
        if isinstance(new, Observation):
            return new if message is None else replace(new, message=message)
        return new if message is None else Observation(new, message)

    @staticmethod
    def _told(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """The hook of a type, which may set the status instead of returning one."""
        if inspect.iscoroutinefunction(original):

            @wraps(original)
            async def later(self: TethysJob, *args: Any, **kwargs: Any) -> Any:
                if self._hook == name:  # called by an override of it
                    return await cast("Awaitable[Any]", original(self, *args, **kwargs))
                with self._in_hook(name):
                    return self._answer(name, await cast("Awaitable[Any]", original(self, *args, **kwargs)))

            return later

        @wraps(original)
        def now(self: TethysJob, *args: Any, **kwargs: Any) -> Any:
            if self._hook == name:
                return original(self, *args, **kwargs)
            with self._in_hook(name):
                return self._answer(name, original(self, *args, **kwargs))

        return now


def stored_name(cls: type[Job]) -> str:
    """The name under which jobs of a class are stored."""
    return cls.__dict__.get("stored_as") or registry.name_of(cls)


class BasicJob(TethysJob, our_basic.BasicJob):
    """See :class:`prefect_jobs.BasicJob`."""

    stored_as: ClassVar[str | None] = "BASIC"


class CondorJob(TethysJob, our_condor.CondorJob):
    """See :class:`prefect_jobs.CondorJob`."""

    stored_as: ClassVar[str | None] = "CONDOR"

    def get_attribute(self, name: str) -> Any:
        """The value of a submit command as a text; ``None`` if it is not set."""
        return as_written(name, super().get_attribute(name))


class CondorWorkflow(TethysJob, our_workflow.CondorWorkflow):
    """See :class:`prefect_jobs.CondorWorkflow`."""

    stored_as: ClassVar[str | None] = "CONDORWORKFLOW"

    @property
    def node_set(self) -> NodeSet:
        """The nodes."""
        return NodeSet(self.nodes)

    def object_of(self, node: NodeHandle) -> AnyNode:
        """The object for a node; the same one each time."""
        known = self._objects.get(node.name)
        if known is None or known.handle is not node:
            if node.kind != CondorWorkflowJobNode.kind:
                return super().object_of(node)
            made = CondorWorkflowJobNode.__new__(CondorWorkflowJobNode)
            made.bind(self, node)
            self.remember(made)
            return made
        return known


class DaskJob(TethysJob, our_dask.DaskJob):
    """See :class:`prefect_jobs.DaskJob`."""

    stored_as: ClassVar[str | None] = "DASK"

    @property
    def result(self) -> Any:
        """The result; ``None`` where there is none (yet)."""
        try:
            return super().result
        except ResultUnavailable as error:
            log.info("%s", error)
            return None


#: Type → class for the rows that ours store, too.
PEERS: Mapping[str, type[TethysJob]] = {
    str(cls.stored_as): cls for cls in (BasicJob, CondorJob, CondorWorkflow, DaskJob)
}


def peer_of(job: Job) -> Job:
    """The same job of the class that its user has made it of, for the user's functions; it shares all that is known."""
    cls = PEERS.get(job.handle.record.type)
    if cls is None or isinstance(job, TethysJob):
        return job
    made = cls.__new__(cls)
    made.__dict__.update(
        job.__dict__, _set_status=None, _set_message=None, _hook=None, quiet=True, clean_on_delete=True
    )
    return made
