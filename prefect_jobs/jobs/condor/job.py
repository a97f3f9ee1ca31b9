"""CONDOR: a cluster of processes at an HTCondor access point."""

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

from prefect_jobs import statuses
from prefect_jobs.errors import DatabaseError, JobStateError, SchedulerConnectionError
from prefect_jobs.jobs.condor import local_files, submit_commands
from prefect_jobs.jobs.condor import logs as condor_logs
from prefect_jobs.jobs.condor import poll as condor_watch
from prefect_jobs.jobs.condor.access_point import DIRECTORY, AccessPointJob, first_line
from prefect_jobs.jobs.condor.local_files import Places
from prefect_jobs.jobs.condor.submit_commands import SubmitCommands, count_of
from prefect_jobs.jobs.observation import Observation, OutputsNotFetched
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient, CondorError, Submission, Submitted
from prefect_jobs.schedulers.condor.submit import description, outputs, streams

log = logging.getLogger(__name__)

#: Seconds that a pause waits for the access point to have taken the inputs in.
SPOOLING_PATIENCE = 15.0


class CondorJob(AccessPointJob, SubmitCommands):
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
    flow_parameters: ClassVar[tuple[str, ...]] = ("timeout",)
    spec_defaults: ClassVar[Mapping[str, Any]] = submit_commands.DEFAULTS

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The spec from the keyword arguments of ``create_job``.

        Raises:
            ValueError: an unknown template, a bad submit command, a bad number of processes.
        """
        return submit_commands.check(given)

    # -- what HTCondor said -----------------------------------------------------------------------------

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

    # -- hooks ------------------------------------------------------------------------------------------

    def _execute(self, queue: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Submits the cluster.

        Args:
            queue: number of processes, for this submission only.
            options: submit commands, for this submission only.
        """
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"options are submit commands as a dict, not {options!r}.")
        count = self.num_jobs if queue is None else count_of(queue)
        with _links() as links:
            wanted = self._describe(links, count, options or {})
            client = self._client()
            done = self._hand_over(client, wanted.text, count, spool=wanted.spool, what="job")
        if done is not None:
            self._note(client, wanted, done)

    @classmethod
    def _together(cls) -> bool:
        return cls._execute is CondorJob._execute and cls._client is AccessPointJob._client

    @classmethod
    def _execute_many(cls, jobs: Sequence[Any]) -> list[Exception | None]:
        problems: dict[int, Exception] = {}
        clients: dict[str | None, CondorClient | Exception] = {}
        by_client: dict[CondorClient, list[tuple[int, description.Description]]] = {}
        with _links() as links:
            for number, job in enumerate(jobs):
                try:
                    wanted = job._describe(links / str(number), job.num_jobs, {})
                    client = _once(clients, job)
                    by_client.setdefault(client, []).append((number, wanted))
                except DatabaseError:
                    raise
                except Exception as error:  # of this one job: told to whoever executes it
                    problems[number] = error
            for client, items in by_client.items():
                requests = [Submission(wanted.text, jobs[number].num_jobs, wanted.spool) for number, wanted in items]
                for (number, wanted), answer in zip(items, client.submit_all(requests), strict=True):
                    try:
                        done = jobs[number]._taken(answer, "job")
                    except Exception as error:
                        problems[number] = error
                    else:
                        if done is not None:
                            jobs[number]._note(client, wanted, done)
        return [problems.get(number) for number in range(len(jobs))]

    def _describe(self, links: Path, count: int, options: Mapping[str, Any]) -> description.Description:
        """The submit description; ``links`` must be there until it was submitted."""
        directory = self._make_directory()
        links.mkdir(exist_ok=True)
        wanted = description.describe(
            description.Request(
                name=self.name,
                attributes=self.attributes,
                directory=directory,
                search=(Path(self._workspace()), *local_files.search(self.spec.get(local_files.FOLDER))),
                input_files=self.remote_input_files,
                count=count,
                token=self._record.submission_token or "",
                links=links,
                extra=options,
            )
        )
        outputs.clear(directory)  # what an earlier submission left there is not this one's
        outputs.prepare(directory, count if wanted.spool else 0, wanted.folders)
        (directory / "logs").mkdir(exist_ok=True)
        return wanted

    def _settle_paths(self) -> None:
        super()._settle_paths()
        own = [Path(self.spec[DIRECTORY])] if self.spec.get(DIRECTORY) else []
        base: dict[str, Any] = self._record.spec
        if self.id is None:
            base = {**base, "remote_input_files": ()}  # what was not there before may be there now
        local_files.settle(self.spec, base, Places(own, [Path(self.workspace)]))

    def _note(self, client: CondorClient, wanted: description.Description, done: Submitted) -> None:
        self._submitted = {
            "remote_id": done.cluster_id,
            "cluster": done.cluster_id,
            "total": done.num_procs,
            "spool": wanted.spool,
            "in_queue": True,
            "logs": dict(wanted.logs),
            "message": f"Submitted as cluster {done.cluster_id} to {done.schedd or client.access.title}",
        }

    def _found(self) -> bool:
        client, token = self._client(), self._record.submission_token
        mine = f'PrefectJobsToken == "{token}"'
        attributes = (
            "ClusterId", "TotalSubmitProcs", "JobStatus", "HoldReasonCode", "LastHoldReasonCode", "StageInStart",
            "StageInFinish",
        )  # fmt: skip
        ads = client.query(mine, attributes)
        if ads and not any(_arrived(ad) for ad in ads):
            # Its inputs never arrived whole: it cannot run, and is replaced; should they not arrive at this moment.
            client.act("Remove", f"{mine} && {observation.WAITING}", "its inputs were not sent completely")
            ads = client.query(mine, attributes)
        # What was removed before its inputs had arrived was never a job.
        ads = [ad for ad in ads or client.history(mine, attributes, match=1) if _arrived(ad)]
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
        # For a moment after its inputs were sent, a job is still in HTCondor's own hold, and cannot be given ours. That
        # may end between the command and the look.
        at_work = (observation.UNEXPANDED, observation.IDLE, observation.RUNNING)
        deadline = time.monotonic() + SPOOLING_PATIENCE
        while True:
            found = self._steer(
                "Hold", "(JobStatus == 1 || JobStatus == 2 || JobStatus == 7)", "paused by prefect-jobs"
            )
            states = {proc.state for proc in observation.decode(found.native.get("procs", ())).values()}
            if not states.intersection(at_work):
                return found
            if time.monotonic() > deadline:
                if observation.UNEXPANDED not in states:
                    return found
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
                waiting = client.query(done, streams.ATTRIBUTES)
                if waiting:
                    self._make_directory()
                    outputs.prepare(directory, int(record.native.get("total", 1)), ("logs",))
                    streams.add(client, done, waiting)
                    client.retrieve(done)
                    self._apply(None, native={"retrieved": True})
                shared = outputs.put_in_place(directory)
                if waiting:
                    client.act("Remove", done, "outputs fetched by prefect-jobs")
            except (CondorError, OSError) as error:
                raise OutputsNotFetched(first_line(error)) from error
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
                client, mine = self._client(), condor_watch.constraint(self._record)
                done = f"{mine} && JobStatus == 4"
                streams.add(client, done, client.query(done, streams.ATTRIBUTES))
                client.retrieve(mine)
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


def _once(clients: dict[str | None, CondorClient | Exception], job: CondorJob) -> CondorClient:
    """The client for a job's scheduler; where it cannot be had, that is found out once for all of its jobs."""
    name = job._record.scheduler
    if name not in clients:
        try:
            clients[name] = job._client()
        except SchedulerConnectionError as error:
            clients[name] = error
    found = clients[name]
    if isinstance(found, Exception):
        raise found
    return found


@contextmanager
def _links() -> Iterator[Path]:
    """A folder for links to input files, as HTCondor shall see them, while they are sent."""
    with tempfile.TemporaryDirectory(prefix="prefect-jobs-links-") as folder:
        yield Path(folder)


def _arrived(ad: Mapping[str, Any]) -> bool:
    """Whether the inputs of a process are at the access point, or it needs none to be sent."""
    # One that was removed while it waited for them says so no longer as the reason why it is held.
    codes = (ad.get("HoldReasonCode"), ad.get("LastHoldReasonCode"))
    sending = observation.HOLD_SPOOLING in codes or "StageInStart" in ad
    return "StageInFinish" in ad or not sending
