"""What a job type declares: the arguments of ``create_job`` and of the type's flow, and what the type needs."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

#: Parameters that every flow takes.
_OF_THE_RUN = ("name", "user", "app", "timeout")


class JobType:
    """The class side of :class:`prefect_jobs.Job`. A type overrides what it needs."""

    #: Least time between two polls by :meth:`update_status`.
    update_status_interval: ClassVar[timedelta] = timedelta(seconds=10)
    #: Keyword arguments of ``create_job`` for this type beyond the common ones, with their defaults.
    spec_defaults: ClassVar[Mapping[str, Any]] = {}
    #: The flow that Prefect runs for a job of this type that is started there: ``module:function``.
    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.basic_job:basic_job"
    #: Parameters of that flow besides the keyword arguments of ``create_job``.
    flow_parameters: ClassVar[tuple[str, ...]] = ()
    #: The engine of the schedulers of this type; none: jobs take no scheduler.
    scheduler_engine: ClassVar[str | None] = None
    #: Whether jobs of this type are graphs, whose parts are in their attribute ``nodes``.
    has_nodes: ClassVar[bool] = False

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is stored of the type's own keyword arguments.

        Raises:
            ValueError: one of them has a bad value.
        """
        return dict(given)

    @classmethod
    def check_flow_parameters(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The flow's parameters besides the keyword arguments of ``create_job``, as JSON for a schedule.

        Args:
            given: the given values, by name of :attr:`flow_parameters`.

        Raises:
            ValueError: one of them is missing or has a bad value.
        """
        timeout = given.get("timeout", 0)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout < math.inf:
            raise ValueError(f"timeout is a number of seconds, 0 for none, not {timeout!r}.")
        return dict(given)

    @classmethod
    def options_of_run(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of ``create_job`` for the parameters of a run of the type's flow. Fields that are left
        empty in Prefect's form are left out."""
        own = {key: value for key, value in parameters.items() if key not in (*_OF_THE_RUN, *cls.flow_parameters)}
        return filled(own)

    @classmethod
    def parameters_of_run(cls, spec: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The opposite of :meth:`options_of_run`: the type's own parameters of the flow for a stored job. With them, a
        copy of its run in Prefect makes such a job.

        Args:
            spec: what :meth:`check_spec` has returned.
            nodes: the specs of its nodes, with their names.
        """
        return {key: spec[key] for key in cls.spec_defaults if key in spec}

    @classmethod
    def work_of_run(cls, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """The arguments of :meth:`prefect_jobs.Job.execute` for the parameters of a run that the flow engine does not
        execute.

        Raises:
            ValueError: a parameter has a bad value.
        """
        return ()

    def check_given(self, *args: Any) -> None:
        """Checks the arguments of :meth:`prefect_jobs.Job.execute`.

        Raises:
            ValueError: the job cannot be executed with them.
        """

    @classmethod
    def portable(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of ``create_job`` with the same meaning for a process in another folder."""
        return dict(given)


def filled(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that were left empty in Prefect's form."""
    return {key: value for key, value in options.items() if value not in ("", [], {}, None, False)}
