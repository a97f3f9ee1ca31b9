"""The hooks of a job type as the core calls them: plain or ``async def``, they all return the same form."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from prefect_jobs.jobs import hooks
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.handle import Answer, Handle
from prefect_jobs.jobs.observation import NOTHING_NEW, Fetched, Observation, Submitted
from prefect_jobs.jobs.possible import Abilities

#: Names of built-in hooks, for :meth:`Handle.from_engine`: those that submit or find, and those that poll and fetch.
SUBMISSION, NEWS, RESULTS = "submission", "news", "results"


@dataclass(frozen=True)
class TypeHooks:
    """The hooks of one job."""

    handle: Handle
    execute_hook: Callable[..., Any]
    resubmit_hook: Callable[..., Any]
    find_submission_hook: Callable[[], Any]
    update_status_hook: Callable[[], Any]
    process_results_hook: Callable[[], Any]
    get_logs_hook: Callable[[], Any]
    clean_up_hook: Callable[[], Any]

    def execute(self, *args: Any, **kwargs: Any) -> Submitted:
        """Submits the work."""
        return self._submitted(self.handle.run_hook(self.execute_hook, *args, **kwargs))

    def resubmit(self, **options: Any) -> Submitted:
        """Submits the work again."""
        return self._submitted(self.handle.run_hook(self.resubmit_hook, **options))

    def find_submission(self) -> Submitted | None:
        """Finds work that was submitted under the present token."""
        answer = self.handle.run_hook(self.find_submission_hook)
        return self._submitted(answer) if answer.value else None

    def update_status(self) -> Observation | None:
        """Polls the work; ``None``: no news, and no hook has set an attribute."""
        news = self.handle.run_hook(self.update_status_hook).value
        if isinstance(news, Observation):
            return news
        if news is None:
            return NOTHING_NEW if self.handle.has_noted else None
        return Observation(news)

    def process_results(self) -> Fetched:
        """Fetches what the work left behind."""
        answer = self.handle.run_hook(self.process_results_hook)
        if isinstance(answer.value, Fetched):
            return answer.value
        fetched: Fetched = answer.built_in.get(RESULTS, Fetched())
        return replace(fetched, result=answer.value)

    def get_logs(self) -> dict[str, Any]:
        """The logs."""
        found: dict[str, Any] = self.handle.run_hook(self.get_logs_hook).value
        return found

    def log_files(self, engine: Engine) -> dict[str, Any]:
        """As :meth:`get_logs`; logs of the engine that are in files are not read."""
        return engine.log_files() if hooks.is_built_in(self.get_logs_hook) else self.get_logs()

    def clean_up(self) -> None:
        """Removes what is left of the work at the scheduler."""
        hooks.call(self.clean_up_hook)

    @staticmethod
    def _submitted(answer: Answer) -> Submitted:
        """The answer of a hook that submits, or of the built-in hook within it; else one without an id."""
        found = answer.value if isinstance(answer.value, Submitted) else answer.built_in.get(SUBMISSION)
        return found or Submitted()


class AnyJob(Protocol):
    """A job as the core uses it: its handle, its engine, and the hooks of its type."""

    @property
    def handle(self) -> Handle:
        """What this process knows of the job."""
        ...

    @property
    def engine(self) -> Engine:
        """What acts on its work."""
        ...

    @property
    def hooks(self) -> TypeHooks:
        """The hooks of its type."""
        ...

    @property
    def abilities(self) -> Abilities:
        """What jobs of its type can do."""
        ...

    def submits_together(self, *args: Any) -> bool:
        """Whether jobs of this type that are executed with such arguments are submitted several at once, by
        :meth:`Engine.submit_many`."""
        ...

    def fetches_together(self) -> bool:
        """Whether results of jobs of this type are fetched several at once, by :meth:`Engine.fetch_many`."""
        ...

    def check_given(self, *args: Any) -> None:
        """
        Raises:
            ValueError: the job cannot be executed with these arguments.
        """
        ...

    @classmethod
    def polls_itself(cls) -> bool:
        """Whether the type polls in its own way, not by its engine."""
        ...

    def call_results_function(self, function: Callable[..., Any], given: Any) -> tuple[Any, str]:
        """Calls the user's function; what it returned, and what it adds to the message."""
        ...

    def check_known(self, what: str) -> None:
        """
        Raises:
            JobStateError: the type is not installed here, so the job cannot be ``what``.
        """
        ...

    def check_fields(self) -> None:
        """Checks what was set, and makes paths absolute, before it is stored.

        Raises:
            ValueError: a field has a bad value.
        """
        ...

    @property
    def execute(self) -> Callable[..., None]:
        """Saves and submits the job."""
        ...

    def stop(self) -> Any:
        """Stops the work."""
        ...
