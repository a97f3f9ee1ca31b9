"""The engine of CONDOR jobs: a cluster of procs at an HTCondor access point."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.errors import DatabaseError, JobStateError, SchedulerConnectionError
from prefect_jobs.folders import TemporaryFolder
from prefect_jobs.jobs import log_file
from prefect_jobs.jobs.condor import foreign, late, live_output, local_files, logs, memory, poll, submit_file
from prefect_jobs.jobs.condor.access_point import AccessPointEngine, first_line, found_text, submitted_text
from prefect_jobs.jobs.condor.ads import of_token
from prefect_jobs.jobs.condor.local_files import Places
from prefect_jobs.jobs.condor.state import CondorState, encode
from prefect_jobs.jobs.condor.submit_commands import SpecView, count_of
from prefect_jobs.jobs.observation import Fetched, Observation, OutputsNotFetched, Submitted
from prefect_jobs.noted import FILE_COUNT, FILES, PROCS
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.access import Cluster, CondorError
from prefect_jobs.schedulers.condor.client import Action, CondorClient
from prefect_jobs.schedulers.condor.submit import description, item_data, outputs, streams
from prefect_jobs.schedulers.condor.submit.input_files import URL
from prefect_jobs.settings import get_settings

log = logging.getLogger(__name__)

#: Seconds that a pause waits for the access point to have spooled the inputs.
SPOOLING_PATIENCE = 15.0
#: The attributes that tell whether the inputs of a submission are spooled.
_ARRIVAL = (
    "ClusterId",
    "TotalSubmitProcs",
    "JobStatus",
    "HoldReasonCode",
    "LastHoldReasonCode",
    "StageInStart",
    "StageInFinish",
    late.MARK,
)
_FETCHED = "outputs fetched by prefect-jobs"


class CondorEngine(AccessPointEngine):
    """Acts on one cluster."""

    @property
    def state(self) -> CondorState:
        """The last known state of the cluster."""
        return CondorState(self.handle.record)

    @property
    def commands(self) -> SpecView:
        """The submit commands."""
        return SpecView(self.handle.drafts.spec)

    @staticmethod
    def held_parts(record: JobRecord) -> bool:
        """Whether a proc is held."""
        return any(proc.state == observation.HELD for proc in CondorState(record).procs.values())

    @staticmethod
    def may_wait(record: JobRecord) -> bool:
        """As :meth:`Engine.may_wait`: a proc is idle."""
        procs = CondorState(record).procs.values()
        return record.state.status == statuses.SUBMITTED or any(proc.state == observation.IDLE for proc in procs)

    def settle(self) -> None:
        """Makes relative paths of local files absolute, by the folder in which the job is created."""
        handle = self.handle
        own = [self.directory] if self.directory else []
        base: dict[str, Any] = handle.record.spec
        if handle.id is None:
            base = {**base, "remote_input_files": ()}  # what was not there before may be there now
        local_files.settle(handle.drafts.spec, base, Places(own, [Path(handle.drafts.workspace)]))

    # -- submission -------------------------------------------------------------------------------------

    def submit(self, queue: int | None = None, options: Mapping[str, Any] | None = None) -> Submitted:
        """Submits the cluster.

        Args:
            queue: number of processes, for this submission only.
            options: submit commands, for this submission only.
        """
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"options are submit commands as a dict, not {options!r}.")
        count = self.commands.num_jobs if queue is None else count_of(queue)
        if self.commands.items and queue is not None:
            raise ValueError(f"{self.handle.title} has items, one for each process: queue={queue!r} is not possible.")
        if count > (most := get_settings().max_processes):
            raise ValueError(item_data.too_many(count, most))
        with ExitStack() as stack:
            wanted = self.describe(_links(stack), count, options or {})
            client = self.client()
            return self.noted(
                client, wanted, self.hand_over(client, wanted.text, count, spool=wanted.spool, items=wanted.items)
            )

    @classmethod
    def submit_many(cls, engines: Sequence["CondorEngine"]) -> list[Submitted | Exception]:
        """Submits the jobs of each access point in as few requests as possible."""
        answers: dict[int, Submitted | Exception] = {}
        clients: dict[str | None, CondorClient | Exception] = {}
        by_client: dict[CondorClient, list[tuple[int, description.Description]]] = {}
        with ExitStack() as stack:
            for number, engine in enumerate(engines):
                try:
                    wanted = engine.describe(_links(stack), engine.commands.num_jobs, {})
                    by_client.setdefault(_client_of(engine, clients), []).append((number, wanted))
                except DatabaseError:
                    raise
                except Exception as error:  # of this one job
                    answers[number] = error
            for client, items in by_client.items():
                requests = [wanted.submission for _, wanted in items]
                for (number, wanted), answer in zip(items, client.submit_all(requests), strict=True):
                    try:
                        answers[number] = engines[number].noted(client, wanted, engines[number].taken(answer))
                    except Exception as error:  # of this one job
                        answers[number] = error
        return [answers[number] for number in range(len(engines))]

    def describe(self, links: Callable[[], Path], count: int, options: Mapping[str, Any]) -> description.Description:
        """The submit description. ``links`` makes a folder for links to input files whose paths HTCondor would split;
        the folder must exist until the files are sent."""
        directory, commands = self.make_directory(), self.commands
        wanted = description.describe(
            description.Request(
                name=self.handle.name,
                attributes=commands.attributes,
                directory=directory,
                search=(self.workspace, *local_files.search(self.handle.drafts.spec.get(local_files.FOLDER))),
                input_files=commands.remote_input_files,
                count=count,
                token=self.handle.token,
                links=links,
                extra=options,
                items=commands.items,
            )
        )
        outputs.clear(directory)  # what an earlier submission left there is not this one's
        procs = count if wanted.spool else 0
        outputs.prepare(directory, procs, wanted.folders, wanted.places, wanted.items)
        (directory / "logs").mkdir(exist_ok=True)
        return wanted

    @staticmethod
    def noted(client: CondorClient, wanted: description.Description, done: Cluster | Submitted) -> Submitted:
        """A submission as it is stored."""
        if isinstance(done, Submitted):
            return done
        native = encode(
            cluster=done.cluster_id,
            total=done.num_procs,
            spool=wanted.spool,
            late=wanted.late or None,
            in_queue=True,
            logs=dict(wanted.logs),
        )
        return Submitted(done.cluster_id, native, submitted_text(done, client))

    def found(self, client: CondorClient) -> Submitted | None:
        """Finds the cluster with the token of the submission."""
        mine = of_token(self.handle.token)
        ads = client.query(mine, _ARRIVAL)
        if ads and not any(_arrived(ad) for ad in ads):
            # Its inputs never arrived whole: it cannot run, and is replaced, unless they arrive at this moment.
            client.act("Remove", f"{mine} && {observation.WAITING}", "its inputs were not sent completely")
            ads = client.query(mine, _ARRIVAL)
        # What was removed before its inputs had arrived was never a job.
        ads = [ad for ad in ads or client.history(mine, _ARRIVAL, match=1) if _arrived(ad)]
        if not ads:
            return None
        cluster = int(ads[0]["ClusterId"])
        default = description.default_logs(self.handle.name)
        native = encode(
            cluster=cluster,
            total=int(ads[0].get("TotalSubmitProcs", len(ads))),
            spool=any("StageInStart" in ad for ad in ads),
            late=late.is_late(ads[0]) or None,
            in_queue=True,
            logs={command: str(self.commands.get_attribute(command) or path) for command, path in default.items()},
        )
        return Submitted(cluster, native, found_text(cluster))

    # -- while it is in the queue -----------------------------------------------------------------------

    def poll(self) -> Observation:
        """Polls the schedd."""
        return poll.observe(self.handle.record, self.client(), self.site.held_timeout)

    def can_release(self, found: Observation | None) -> bool:
        """As :meth:`Engine.can_release`: the job asks for more memory for procs that are held."""
        record = self.handle.record
        if not record.spec.get(memory.OPTION):
            return False
        procs = found.native.get(PROCS) if found is not None else None
        known = self.state.procs if procs is None else observation.decode(procs)
        return memory.is_wanted(record, known.values())

    def release_held(self) -> bool:
        """As :meth:`Engine.release_held`."""
        return memory.raise_all(self.handle, self.client())

    def stop(self) -> Observation:
        """Removes the cluster from the queue."""
        found = self._steer("Remove", "JobStatus =!= 4 && JobStatus =!= 3", "stopped by prefect-jobs")
        # The history does not tell who removed a job; here it is known.
        return replace(found, message="Stopped.") if found.status == statuses.ABORTED else found

    def pause(self) -> Observation:
        """Holds the cluster. While its inputs are being spooled, HTCondor itself holds it, and users cannot."""
        deadline = time.monotonic() + SPOOLING_PATIENCE
        while True:
            found = self._steer(
                "Hold", "(JobStatus == 1 || JobStatus == 2 || JobStatus == 7)", "paused by prefect-jobs"
            )
            states = {proc["state"] for proc in found.native.get("procs", ())}
            # The spooling may end between the command and the question: then it is tried again at once.
            if not states.intersection((observation.UNEXPANDED, observation.IDLE, observation.RUNNING)):
                return found
            if time.monotonic() > deadline:
                if observation.UNEXPANDED not in states:
                    return found
                raise JobStateError(
                    f"{self.handle.title} is still sending its inputs and cannot be paused yet; try again."
                )
            Event().wait(0.2)

    def resume(self) -> Observation:
        """Releases the cluster."""
        held = f"JobStatus == 5 && HoldReasonCode =!= {observation.HOLD_SPOOLING}"
        return self._steer("Release", held, "resumed by prefect-jobs")

    def _steer(self, action: Action, which: str, reason: str) -> Observation:
        client = self.client()
        record = self.handle.record
        client.act(action, late.whole(record, client) or f"{self.mine} && {which}", reason)
        return poll.observe(record, client, None)

    def logs(self) -> dict[str, Any]:
        """The present logs of the procs as texts, if the schedd transfers them."""
        return {name: log_file.texts(value) for name, value in self.log_files().items()}

    def log_files(self) -> dict[str, Any]:
        """As :meth:`logs`, where they are."""
        record, state = self.handle.record, self.state
        if record.remote_id is None:
            return {}
        if record.noted.foreign:
            return foreign.logs(self.client(), self.mine)
        directory, procs = self.initial_dir, range(state.total)
        try:
            self._fetch_logs(directory)
        except (CondorError, SchedulerConnectionError) as error:
            log.warning("The logs of %s are as last fetched: %s", self.handle.title, error)
        found: dict[str, Any] = {f"Process {proc}": logs.files(record, directory, proc) for proc in procs}
        if state.in_queue and not record.final:
            for proc, more in logs.running(record, directory, self.client).items():
                found[f"Process {proc}"].update(more)
        return found["Process 0"] if len(found) == 1 else found

    def _fetch_logs(self, directory: Path) -> None:
        """Fetches the logs so far, if they are at the access point.

        Raises:
            SchedulerConnectionError: it does not answer.
            CondorError: it does not transfer them now.
        """
        state = self.state
        if state.in_queue and state.spool and not self.handle.record.final:
            self._prepare(directory)
            client, done = self.client(), f"{self.mine} && JobStatus == 4"
            streams.add(client, done, client.query(done, streams.ATTRIBUTES))
            client.retrieve(self.mine)

    @staticmethod
    def may_say_more(record: JobRecord) -> bool:
        """As :meth:`Engine.may_say_more`."""
        return live_output.is_due(record)

    def note_output(self) -> None:
        """As :meth:`Engine.note_output`: of the first few procs, and of those that run."""
        record, state = self.handle.record, self.state
        with self.handle.backend.results.lease(record.id) as mine:
            if not mine or not live_output.is_due(record):
                return  # its outputs are being fetched, all of them
            if state.in_queue and state.spool:
                self._prepare(self.initial_dir, live_output.PROCS)
                self.client().retrieve(f"{self.mine} && JobStatus == 2 && ProcId < {live_output.PROCS}")
            live_output.note(self.handle, self.initial_dir)

    # -- the end ----------------------------------------------------------------------------------------

    def fetch(self) -> Fetched:
        """Fetches the outputs, puts them in their place, and removes the cluster from the queue."""
        directory, state = self.initial_dir, self.state
        notes: list[tuple[int, str]] = []
        lost = ""
        if state.spool:
            waiting, shared = self._retrieve(directory)
            if not waiting and not state.retrieved:
                lost = "Its outputs are lost: the job was removed from the access point before they were fetched."
                notes.append((logging.WARNING, lost))
            for name, kept in shared.items():
                text = f"{len(kept)} processes wrote {name!r}; they are kept as {', '.join(kept[:5])}"
                notes.append((logging.WARNING, text))
        native = encode(in_queue=None)
        if not self.handle.record.noted.foreign:
            notes.extend(logs.tails(self.handle.record, directory))
            native[FILES], native[FILE_COUNT] = outputs.largest(directory)
        return Fetched(native=native, messages=tuple(notes), note=lost)

    def _retrieve(self, directory: Path) -> tuple[bool, dict[str, list[str]]]:
        """Fetches outputs.

        Returns:
            Whether there were any at the access point; and what :func:`outputs.put_in_place` returns.

        Raises:
            OutputsNotFetched: not possible now.
        """
        client, done = self.client(), f"{self.mine} && JobStatus == 4"
        try:
            waiting = client.query(done, streams.ATTRIBUTES)
            if waiting:
                self.make_directory()
                self._prepare(directory)
                streams.add(client, done, waiting)
                client.retrieve(done)
                self.handle.apply(None, native=encode(retrieved=True))
            shared = outputs.put_in_place(directory, submit_file.place_of(self.handle.record))
            if waiting:
                client.act("Remove", done, _FETCHED)
        except (CondorError, OSError) as error:
            raise OutputsNotFetched(first_line(error)) from error
        return bool(waiting), shared

    def _prepare(self, directory: Path, most: int | None = None) -> None:
        """Makes the folders into which logs are fetched; of ``most`` procs."""
        state = self.state
        places = [path for path in state.logs.values() if not URL.match(path)]
        count = state.total if most is None else min(state.total, most)
        outputs.prepare(directory, count, ("logs",), places, self.commands.items)

    def clean_up(self) -> None:
        """Removes the cluster from the queue."""
        record = self.handle.record
        if record.remote_id and self.state.in_queue and not record.noted.foreign:
            client = self.client()
            client.act("Remove", late.whole(record, client) or self.mine, "no longer wanted by prefect-jobs")


def _links(stack: ExitStack) -> Callable[[], Path]:
    """Makes a folder for links to input files; it is removed when ``stack`` is left."""
    return lambda: stack.enter_context(TemporaryFolder("links"))


def _client_of(engine: CondorEngine, known: dict[str | None, CondorClient | Exception]) -> CondorClient:
    """The client for a job's scheduler; if it cannot be created, this is tried once for all jobs."""
    name = engine.handle.record.scheduler
    if name not in known:
        try:
            known[name] = engine.client()
        except SchedulerConnectionError as error:
            known[name] = error
    found = known[name]
    if isinstance(found, Exception):
        raise found
    return found


def _arrived(ad: Mapping[str, Any]) -> bool:
    """Whether the inputs of a proc are at the access point, or it needs none."""
    # One that was removed while it waited for them says so no longer as the reason why it is held.
    codes = (ad.get("HoldReasonCode"), ad.get("LastHoldReasonCode"))
    sending = observation.HOLD_SPOOLING in codes or "StageInStart" in ad
    return "StageInFinish" in ad or not sending
