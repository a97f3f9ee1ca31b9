"""CONDOR: a cluster of processes at an HTCondor access point."""

import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

from prefect_jobs import statuses
from prefect_jobs.errors import JobStateError, SchedulerConnectionError, SchedulerEngineMismatch
from prefect_jobs.jobs import condor_logs, condor_watch
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.observation import Observation, OutputsNotFetched
from prefect_jobs.jobs.submission import TransientSubmissionError
from prefect_jobs.schedulers.condor import description, observation, outputs
from prefect_jobs.schedulers.condor.client import Access, CondorClient, CondorError, CondorRefusal, client_for

log = logging.getLogger(__name__)

DIRECTORY = "initial_dir"
#: Seconds that a pause waits for the access point to have taken the inputs in.
SPOOLING_PATIENCE = 15.0


class CondorJob(Job):
    """``num_jobs`` processes of one executable.

    Args (of ``create_job``):
        attributes: submit commands (``executable``, ``arguments``, ``request_memory``, ``+Attr``, …); lists,
            tuples, dicts and booleans are written as HTCondor wants them.
        condorpy_template_name: ``base``, ``vanilla_base``, ``vanilla_transfer_files`` or ``vanilla_nfs``.
        remote_input_files: local files that the job needs; ``executable`` and ``transfer_input_files`` may name
            them by path, by base name or as ``../name``.
        num_jobs: number of processes.
        scheduler: a saved CondorScheduler block or its name; none: this machine's HTCondor.
    """

    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.condor_job:condor_job"
    scheduler_engine: ClassVar[str | None] = "htcondor"
    spec_defaults: ClassVar[Mapping[str, Any]] = {
        "attributes": {},
        "condorpy_template_name": None,
        "remote_input_files": (),
        "num_jobs": 1,
    }

    # -- what the user asked for ------------------------------------------------------------------------

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The spec from the keyword arguments of ``create_job``.

        Raises:
            ValueError: an unknown template, a bad submit command, a bad number of processes.
        """
        template = given.get("condorpy_template_name")
        if template is not None and template not in description.TEMPLATES:
            raise ValueError(
                f"There is no template {template!r}. Valid: {', '.join(map(repr, description.TEMPLATES))}."
            )
        attributes: dict[str, Any] = dict(description.TEMPLATES[template]) if template else {}
        for name, value in dict(given.get("attributes") or {}).items():
            if value is None:
                continue  # not set
            description.check_command(name, value)
            attributes[name] = _plain(value)
        files = given.get("remote_input_files") or ()
        if isinstance(files, str | os.PathLike):
            files = (files,)
        return {
            "attributes": attributes,
            "condorpy_template_name": template,
            "remote_input_files": [os.fspath(item) for item in files],
            "num_jobs": _count(given.get("num_jobs", 1)),
        }

    @property
    def attributes(self) -> dict[str, Any]:
        """The submit commands; changes are saved with the job and hold from the next submission on."""
        found: dict[str, Any] = self.spec["attributes"]
        return found

    def set_attribute(self, name: str, value: Any) -> None:
        """Sets a submit command; ``None`` takes it away.

        Raises:
            ValueError: not a submit command, a value that HTCondor cannot take, or a line break.
        """
        existing = self._attribute_key(name)
        if value is None:
            self.attributes.pop(existing or name, None)
            return
        description.check_command(name, value)
        if existing is not None:
            del self.attributes[existing]
        self.attributes[name] = _plain(value)

    def get_attribute(self, name: str) -> Any:
        """The value of a submit command as it was set; ``None`` if it was not."""
        key = self._attribute_key(name)
        return None if key is None else self.attributes[key]

    def _attribute_key(self, name: str) -> str | None:
        # Submit commands are the same in any case.
        return next((key for key in self.attributes if key.lower() == name.lower()), None)

    @property
    def num_jobs(self) -> int:
        """The number of processes."""
        return int(self.spec["num_jobs"])

    @num_jobs.setter
    def num_jobs(self, value: int) -> None:
        self.spec["num_jobs"] = _count(value)

    @property
    def remote_input_files(self) -> list[str]:
        """Local files that the job needs."""
        found: list[str] = self.spec["remote_input_files"]
        return found

    @remote_input_files.setter
    def remote_input_files(self, files: Sequence[str | os.PathLike[str]]) -> None:
        self.spec["remote_input_files"] = [os.fspath(item) for item in files]

    @property
    def scheduler(self) -> Any:
        """The block of the access point; ``None``: this machine's HTCondor.

        Raises:
            SchedulerConnectionError: the block cannot be read: Prefect is away, or it was deleted.
        """
        name = self._record.scheduler
        return None if name is None else self._backend.scheduler(name)

    # -- what HTCondor said -----------------------------------------------------------------------------

    @property
    def cluster_id(self) -> int | None:
        """HTCondor's number of the cluster; ``None`` before it is submitted."""
        return int(self.remote_id) if self.remote_id else None

    @property
    def statuses(self) -> dict[str, int]:
        """How many processes are ``Unexpanded``, ``Idle``, ``Running``, ``Removed``, ``Completed``, ``Held``,
        ``Submission_err``, as last seen."""
        return observation.count(condor_watch.procs_of(self._record))

    @property
    def exit_codes(self) -> dict[int, int | None]:
        """The exit code of each process that has ended, by its number; ``None``: by a signal."""
        procs = condor_watch.procs_of(self._record)
        return {proc.proc: proc.exit_code for proc in procs.values() if proc.state == observation.COMPLETED}

    @property
    def initial_dir(self) -> str:
        """The job's own directory, under its workspace; logs are in ``logs`` in it, outputs come back into it."""
        known = self.spec.get(DIRECTORY)
        return str(known) if known else str(Path(self._workspace()) / self._directory_name())

    # -- hooks ------------------------------------------------------------------------------------------

    def _execute(self, queue: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Submits the cluster.

        Args:
            queue: number of processes, for this submission only.
            options: submit commands, for this submission only.
        """
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"options are submit commands as a dict, not {options!r}.")
        count = self.num_jobs if queue is None else _count(queue)
        directory = self._make_directory()
        with tempfile.TemporaryDirectory(prefix="prefect-jobs-links-") as links:
            request = description.Request(
                name=self.name,
                attributes=self.attributes,
                directory=directory,
                search=(Path(self._workspace()), Path.cwd()),
                input_files=self.remote_input_files,
                count=count,
                token=self._record.submission_token or "",
                links=Path(links),
                extra=options or {},
            )
            wanted = description.describe(request)
            outputs.clear(directory)  # what an earlier submission left there is not this one's
            outputs.prepare(directory, count if wanted.spool else 0, wanted.folders)
            (directory / "logs").mkdir(exist_ok=True)
            client = self._client()
            try:
                done = client.submit(wanted.text, count, spool=wanted.spool)
            except CondorRefusal as error:
                raise CondorRefusal(f"HTCondor refuses the job: {error}") from error
            except CondorError as error:
                # Perhaps it got through and only the answer was lost: the token tells.
                if self._find_submission():
                    return
                raise TransientSubmissionError(str(error)) from error
        self._submitted = {
            "remote_id": done.cluster_id,
            "cluster": done.cluster_id,
            "total": done.num_procs,
            "spool": wanted.spool,
            "in_queue": True,
            "logs": dict(wanted.logs),
            "message": f"Submitted as cluster {done.cluster_id} to {done.schedd or client.access.title}",
        }

    def _find_submission(self) -> bool:
        client, token = self._client(), self._record.submission_token
        mine = f'PrefectJobsToken == "{token}"'
        attributes = ("ClusterId", "TotalSubmitProcs", "JobStatus", "HoldReasonCode", "StageInStart", "StageInFinish")
        ads = client.query(mine, attributes)
        if ads and not any(_arrived(ad) for ad in ads):
            # Its inputs never arrived whole: it cannot run, and is replaced.
            client.act("Remove", mine, "its inputs were not sent completely")
            return False
        # What was removed before its inputs had arrived was never a job.
        ads = ads or [ad for ad in client.history(mine, attributes, match=1) if _arrived(ad)]
        if not ads:
            return False
        cluster = ads[0]["ClusterId"]
        self._submitted = {
            "remote_id": cluster,
            "cluster": cluster,
            "total": int(ads[0].get("TotalSubmitProcs", len(ads))),
            "spool": any("StageInStart" in ad for ad in ads),
            "in_queue": True,
            "logs": {
                command: str(self.get_attribute(command) or default)
                for command, default in description.default_logs(self.name).items()
            },
            "message": f"Found again as cluster {cluster}; it was submitted before an interruption.",
        }
        return True

    def _update_status(self) -> Observation:
        with condor_watch.asking():
            return condor_watch.observe(self._record, self._client(), self._backend.held_timeout)

    def _stop(self) -> Observation:
        return self._steer("Remove", "JobStatus =!= 4 && JobStatus =!= 3", "stopped by prefect-jobs")

    def _pause(self) -> Observation:
        # For a moment after its inputs were sent, a job is still in HTCondor's own hold, and cannot be given ours.
        deadline = time.monotonic() + SPOOLING_PATIENCE
        while True:
            found = self._steer(
                "Hold", "(JobStatus == 1 || JobStatus == 2 || JobStatus == 7)", "paused by prefect-jobs"
            )
            procs = observation.decode(found.native.get("procs", ()))
            if not any(proc.state == observation.UNEXPANDED for proc in procs.values()):
                return found
            if time.monotonic() > deadline:
                raise JobStateError(f"{self._title()} is still sending its inputs and cannot be paused yet; try again.")
            Event().wait(0.2)

    def _resume(self) -> Observation:
        held = f"JobStatus == 5 && HoldReasonCode =!= {observation.HOLD_SPOOLING}"
        return self._steer("Release", held, "resumed by prefect-jobs")

    def _steer(self, action: Any, which: str, reason: str) -> Observation:
        client = self._client()
        with condor_watch.asking():
            client.act(action, f"{condor_watch.constraint(self._record)} && {which}", reason)
            found = condor_watch.observe(self._record, client, None)
        # The history does not tell who removed a job; here it is known.
        return replace(found, message="Stopped.") if found.status == statuses.ABORTED else found

    def _process_results(self) -> None:
        record = self._record
        notes: list[tuple[int, str]] = []
        directory = Path(self.initial_dir)
        if record.native.get("spool", True):
            client = self._client()
            done = f"{condor_watch.constraint(record)} && JobStatus == 4"
            try:
                waiting = client.query(done, ("ProcId",))
                if waiting:
                    self._make_directory()
                    outputs.prepare(directory, int(record.native.get("total", 1)), ("logs",))
                    client.retrieve(done)
                    self._apply(None, native={"retrieved": True})
                shared = outputs.put_in_place(directory)
                if waiting:
                    client.act("Remove", done, "outputs fetched by prefect-jobs")
            except (CondorError, OSError) as error:
                raise OutputsNotFetched(_first_line(error)) from error
            if not waiting and not record.native.get("retrieved"):
                text = "Its outputs are lost: the job was removed from the access point before they were fetched."
                notes.append((logging.WARNING, text))
                self._fetched["outcome_note"] = text
            for name, kept in shared.items():
                text = f"{len(kept)} processes wrote {name!r}; they are kept as {', '.join(kept[:5])}"
                notes.append((logging.WARNING, text))
        notes.extend(condor_logs.tails(self._record, directory))
        self._fetched.update({"in_queue": None, "messages": tuple(notes)})

    def _get_logs(self) -> dict[str, Any]:
        if self.cluster_id is None:
            return {}
        directory = Path(self.initial_dir)
        procs = range(int(self._record.native.get("total", 1)))
        live = self._record.native.get("in_queue") and self._record.native.get("spool", True)
        if live and not statuses.is_final(self._record.state.as_status):
            outputs.prepare(directory, len(procs), ("logs",))
            try:
                self._client().retrieve(condor_watch.constraint(self._record))
            except (CondorError, SchedulerConnectionError) as error:
                log.warning("The logs of %s are as last fetched: %s", self._title(), error)
        found = {f"Process {proc}": condor_logs.read_logs(self._record, directory, proc) for proc in procs}
        return found["Process 0"] if len(found) == 1 else found

    def _can_resume(self) -> bool:
        return super()._can_resume() or self.statuses["Held"] > 0

    def _clean_up(self) -> None:
        if self.remote_id and self._record.native.get("in_queue"):
            with condor_watch.asking():
                self._client().act("Remove", condor_watch.constraint(self._record), "no longer wanted by prefect-jobs")

    def _directory(self) -> Path | None:
        known = self.spec.get(DIRECTORY)
        return Path(known) if known else None

    # -- inside -----------------------------------------------------------------------------------------

    def _client(self) -> CondorClient:
        block = self.scheduler
        if block is None:
            return client_for(Access())
        client = block.get_client() if hasattr(block, "get_client") else None
        if not isinstance(client, CondorClient):
            raise SchedulerEngineMismatch(
                f"The scheduler {self._record.scheduler!r} is not an HTCondor one, as {self._title()} needs."
            )
        return client

    def _workspace(self) -> str:
        return str(Path(self.workspace or self._backend.default_workspace(self.label, self.user)).absolute())

    def _directory_name(self) -> str:
        return f"{description.slug(self.name)}-{self.id}" if self.id else description.slug(self.name)

    def _make_directory(self) -> Path:
        """The job's own directory; made once, never one that was there before (it may be another's)."""
        known = self.spec.get(DIRECTORY)
        if known:
            Path(known).mkdir(parents=True, exist_ok=True)
            return Path(known)
        workspace = Path(self._workspace())
        workspace.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = workspace / (self._directory_name() + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir()
            except FileExistsError:
                continue
            self.spec[DIRECTORY] = str(path)
            self._take(self._backend.update(self._record.id, self._user_changes), keep=False)
            return path
        raise OSError(f"No name is left for a directory in {workspace}.")


def _arrived(ad: Mapping[str, Any]) -> bool:
    """Whether the inputs of a process are at the access point, or it needs none to be sent."""
    sending = ad.get("HoldReasonCode") == observation.HOLD_SPOOLING or "StageInStart" in ad
    return "StageInFinish" in ad or not sending


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"The number of processes is a whole number from 1, not {value!r}.")
    return value


def _plain(value: Any) -> Any:
    """A value as JSON keeps it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
