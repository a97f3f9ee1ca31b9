"""CONDOR: a cluster of procs at an HTCondor access point."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from prefect_jobs.errors import JobStateError
from prefect_jobs.jobs.condor import live_output, local_files, memory, submit_commands, submit_file
from prefect_jobs.jobs.condor.access_point import AccessPointJob
from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.jobs.condor.submit_commands import ITEMS, SubmitCommands
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.schedulers.condor import observation, usage
from prefect_jobs.schedulers.condor.submit import item_data
from prefect_jobs.settings import get_settings


class CondorJob(AccessPointJob, SubmitCommands):
    """``num_jobs`` procs of one executable.

    Args (of ``create_job``):
        attributes: submit commands (``executable``, ``arguments``, ``request_memory``, ``+Attr``, …); lists,
        tuples, dicts and booleans are written in HTCondor's form.
        condorpy_template_name: ``base``, ``vanilla_base``, ``vanilla_transfer_files`` or ``vanilla_nfs``.
        remote_input_files: local files that the job needs; ``executable`` and ``transfer_input_files`` may name
            them by path, by base name or as ``../name``.
        num_jobs: number of procs.
        submit_file: a submit description file. It runs as condor_submit would run it in the folder of the file: its
        commands are the ``attributes``, which win over it, and its ``queue`` statements give the procs and their items,
        unless ``num_jobs`` or ``items`` is given. Outputs come back below ``initial_dir``, at the same relative paths.
        items: dicts with the same names, one for each proc: ``$(year)`` in any submit command is the value of ``year``
        in the item of the proc. In the paths of ``output``, ``error`` and ``log`` only in the name of the file.
        retry_with_memory: sizes, such as ``("4GB", "8GB")``: a proc that HTCondor holds since it used more memory than
        requested is released with the next larger one. It stays held after the last.
        live_output: whether standard output and error are streamed to the access point while the job runs:
        ``get_logs()`` has them so far, and once a minute the run's Logs tab gets the newest lines, at most 200 lines
        of a job. It costs the access point a connection for each proc.
        scheduler: a saved CondorScheduler block or its name; none: this machine's HTCondor.
    """

    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.condor_job:condor_job"
    flow_parameters: ClassVar[tuple[str, ...]] = ("timeout",)
    spec_defaults: ClassVar[Mapping[str, Any]] = {
        **submit_commands.DEFAULTS,
        submit_file.OPTION: "",
        ITEMS: (),
        memory.OPTION: (),
        live_output.OPTION: False,
    }
    engine_type: ClassVar[type[Engine]] = CondorEngine

    engine: CondorEngine

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The spec for the keyword arguments of ``create_job``.

        Raises:
            ValueError: an unknown template, a bad submit command, a bad number of procs, a bad size of memory, a submit
                file that cannot be read or names files that are not there.
        """
        most = get_settings().max_processes
        if given.get(submit_file.OPTION):
            given = submit_file.merged(given, most)
        items = item_data.check(given.get(ITEMS), most)
        if items and given.get("num_jobs", 1) not in (1, len(items)):
            raise ValueError(
                f"There are {len(items)} items, one for each process, and num_jobs is {given['num_jobs']!r}."
            )
        live = live_output.check(given.get(live_output.OPTION, False))
        if live:
            given = {**given, "attributes": live_output.streamed(given.get("attributes") or {})}
        spec = {
            **submit_commands.check({**given, "num_jobs": 1} if items else given),
            submit_file.OPTION: given.get(submit_file.OPTION) or "",
            ITEMS: items,
            memory.OPTION: memory.check(given.get(memory.OPTION)),
            live_output.OPTION: live,
        }
        if spec["num_jobs"] > most:
            raise ValueError(item_data.too_many(spec["num_jobs"], most))
        if folder := submit_file.folder_of(spec):
            spec[local_files.FOLDER] = folder
            submit_file.check_files(spec)
        return spec

    @classmethod
    def options_of_run(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """As :meth:`JobType.options_of_run`; ``executable`` and ``arguments`` have their own fields."""
        commands = dict(parameters.get("attributes") or {})
        own = {name: parameters[name] for name in ("executable", "arguments") if parameters.get(name)}
        rest = {name: value for name, value in parameters.items() if name not in ("executable", "arguments")}
        return super().options_of_run({**rest, "attributes": {**commands, **own}})

    @classmethod
    def parameters_of_run(cls, spec: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """As :meth:`JobType.parameters_of_run`; local files get absolute paths."""
        found = local_files.found_again(spec, cls.spec_defaults)
        found.pop(submit_file.OPTION, None)  # what it says is in the others
        commands: dict[str, Any] = found["attributes"]
        own: dict[str, Any] = {name: commands.pop(name) for name in ("executable", "arguments") if name in commands}
        # The stored commands include those of the template.
        return {**found, "condorpy_template_name": "base", **own}

    @classmethod
    def portable(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As :meth:`JobType.portable`: local files get absolute paths."""
        if given.get(submit_file.OPTION):
            found = submit_file.merged(given, get_settings().max_processes)
            given = {name: value for name, value in found.items() if name != submit_file.OPTION}
        return local_files.settled(given, local_files.Places())

    @property
    def retry_with_memory(self) -> list[str]:
        """The sizes of memory with which held procs are released. May be set, also while the job is active.

        Raises:
            ValueError: when set: not sizes, or not each larger than the one before.
        """
        return list(self.spec.get(memory.OPTION) or ())

    @retry_with_memory.setter
    def retry_with_memory(self, sizes: Sequence[str | int]) -> None:
        self.spec[memory.OPTION] = memory.check(sizes)

    @property
    def items(self) -> list[dict[str, str]]:
        """Of each proc, the values of macros in the submit commands; empty: there are none. May be set until the job is
        submitted: names of logs and messages come from them.

        Raises:
            ValueError: when set: not a list of dicts with the same names, or a value that HTCondor cannot read.
            JobStateError: when set: the job was submitted.
        """
        return super().items

    @items.setter
    def items(self, given: Iterable[Mapping[str, Any]]) -> None:
        if self.handle.record.state.attempt:
            raise JobStateError(f"{self.handle.title} was submitted with its items. Create another job for others.")
        self.spec[ITEMS] = item_data.check(given, get_settings().max_processes)
        self.spec["num_jobs"] = 1

    @property
    def statuses(self) -> dict[str, int]:
        """The number of procs that are ``Unexpanded``, ``Idle``, ``Running``, ``Removed``, ``Completed``, ``Held``,
        ``Submission_err``, as last seen. What was submitted here and not seen yet is ``Idle``."""
        record, state = self.handle.record, self.engine.state
        found = observation.count(state.procs)
        if record.remote_id and not record.final and not record.noted.foreign and state.missing_since is None:
            found["Idle"] += max(0, state.total - len(state.procs))
        return found

    @property
    def exit_codes(self) -> dict[int, int | None]:
        """The exit code of each proc that has ended, by proc number; ``None``: ended by a signal."""
        procs = self.engine.state.procs
        return {proc.proc: proc.exit_code for proc in procs.values() if proc.state == observation.COMPLETED}

    @property
    def resources(self) -> dict[Any, dict[str, Any]]:
        """What the job has requested and used, as last seen: for ``"total"`` and each proc number a dict of ``cpus``,
        ``memory``, ``disk`` and ``gpus``, each with ``requested`` and ``used``, and of ``wall_seconds``,
        ``cpu_seconds``, ``efficiency`` (0 to 1) and ``host``. Memory and disk are in MB, at their highest; used CPUs
        and GPUs are averages; seconds are those of all runs of a proc. ``None``: not known. HTCondor updates what
        running procs use every few minutes.
        """
        procs = self.engine.state.procs
        return usage.resources_of(
            {number: [(proc.usage, proc.host)] for number, proc in procs.items()}, self.engine.ended_at
        )

    @property
    def resource_hints(self) -> list[str]:
        """As :attr:`AccessPointJob.resource_hints`."""
        return usage.hints({"": [(proc.usage, proc.host) for proc in self.engine.state.procs.values()]})
