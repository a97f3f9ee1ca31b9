"""Jobs at one access point, polled together."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import islice

from prefect_jobs.errors import DatabaseError, SchedulerConnectionError
from prefect_jobs.jobs.condor import limits, poll, spooling
from prefect_jobs.jobs.condor.access_point import AccessPointEngine
from prefect_jobs.jobs.condor.ads import around, key_of, key_of_ad, of_keys
from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.jobs.condor.followed import Followed
from prefect_jobs.jobs.condor.loaded import Loaded
from prefect_jobs.jobs.condor.state import CondorState
from prefect_jobs.jobs.group import Group, Load
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.schedulers.condor import observation, usage
from prefect_jobs.schedulers.condor.access import CondorError
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.observation import Proc

log = logging.getLogger(__name__)

#: Seconds in which the whole queue is asked for; other requests are for changes only. A large one is asked for in
#: slices of so many jobs, with so many seconds at least between two of them.
FULL, SLICE, _BETWEEN = 15.0, 4_000, 3.75
#: Number of jobs in a slice while jobs are new here, as at the start: for each slice the schedd goes through all jobs.
_FIRST = 12_500
#: Seconds between two polls while several slices are due at once since jobs are new here, as at the start.
_HURRY = 0.2
#: Seconds between two requests for what running procs use; their starters report it every five minutes.
USAGE = 300.0
#: Seconds by which requests for changes overlap: a schedd notes a change a moment after it happened.
_OVERLAP = 5
#: The attributes that show whether a proc has changed.
_LIGHT = (
    "ClusterId", "ProcId", "JobStatus", "LastJobStatus", "HoldReasonCode", "PrefectJobsToken", "QDate", "ServerTime",
)  # fmt: skip
#: The attributes that show for how long a proc has waited for its first machine.
_WAITING = ("JobStatus", "EnteredCurrentStatus", "NumJobStarts", "ClusterId", "QDate", "PrefectJobsToken", "ServerTime")
_IDLE = 1
_OURS = "PrefectJobsToken =!= undefined"
#: Number of jobs in one request.
_CHUNK = 200
#: Number of jobs that one poll searches in the history, and of those that have changed and are read in it.
_LOST, _MOST = 50, 4_000

#: Procs by the keys of their jobs, and by number.
Procs = dict[str, dict[int, Proc]]


class CondorGroup(Group):
    """Jobs at one access point under one identity."""

    def __init__(self) -> None:
        super().__init__()
        #: Job → what is kept of it, and its id by the key of its ads.
        self._followed: dict[int, Followed] = {}
        self._by_key: dict[str, int] = {}
        #: Jobs that are new here: what changed long ago is news of them.
        self._new: set[int] = set()
        #: Jobs that may need action without any news.
        self._special: set[int] = set()
        self._foreign: set[str] = set()
        #: The whole queue is asked for in slices: the next one, and when it is due.
        self._slice = 0
        self._next_slice = 0.0
        #: Jobs that are to be searched in the history.
        self._left: list[int] = []
        #: How many slices are due without a pause between them, and of how many.
        self._hurry = self._parts = 0
        #: Whether that is since jobs are new here, and whether they are due once more afterwards.
        self._soon = False
        self._repeat = False
        #: The size of the slices until then.
        self._first = _FIRST
        #: When a round of requests for what running procs use is due, and of how many slices they are still to come.
        self._next_usage = time.monotonic() + USAGE
        self._usage_left = 0
        #: The constraint that matches all jobs; empty: it is to be made again.
        self._matching = _OURS
        #: The schedd's time at the last request, and at the last one for changes, and what that said.
        self._time = self._asked = 0
        self._told: Procs = {}
        #: The same of the last one all of whose news were written.
        self._since = 0
        self._recent: Procs = {}
        #: Procs that have changed, of jobs that the next polls read.
        self._later: Procs = {}
        #: Whether the whole queue was asked for once.
        self._looked = False

    # -- the jobs -----------------------------------------------------------------------------------------

    def keeps(self, job: AnyJob) -> bool:
        """As :meth:`Group.keeps`: jobs that poll themselves."""
        return not isinstance(job.engine, CondorEngine) or job.polls_itself()

    def follow(self, job: AnyJob) -> None:
        """As :meth:`Group.follow`."""
        record = job.handle.record
        before = self._followed.get(record.id)
        if before is not None and before.version == record.version:
            return
        one = Followed.of(record)
        if before is None or before.key != one.key:
            self.drop(record.id)
            self._new.add(record.id)
        self._note(one)
        self._by_key[one.key] = record.id
        if one.foreign and one.key not in self._foreign:
            self._foreign.add(one.key)
            self._matching = ""

    def drop(self, job_id: int) -> None:
        """As :meth:`Group.drop`."""
        one = self._followed.pop(job_id, None)
        self._new.discard(job_id)
        self._failed.discard(job_id)
        self._special.discard(job_id)
        if one is None:
            return
        self._by_key.pop(one.key, None)
        self._later.pop(one.key, None)
        if one.key in self._foreign:
            self._foreign.discard(one.key)
            self._matching = ""

    def _ours(self) -> str:
        """The constraint that matches all jobs, and perhaps some work that is not followed."""
        if not self._matching:
            self._matching = f"({_OURS} || {around(self._foreign)})" if self._foreign else _OURS
        return self._matching

    # -- polls --------------------------------------------------------------------------------------------

    def poll(self, jobs: Sequence[AnyJob], stop: Callable[[], bool] = bool) -> dict[int, Observation]:
        """As :meth:`Group.poll`."""
        self._failed.clear()
        others = [job for job in jobs if self.keeps(job)]
        light = {job.handle.record.id: job for job in jobs if not self.keeps(job)}
        found: list[tuple[AnyJob, Observation]] = []
        if light:
            for job_id in self._followed.keys() - light.keys():
                self.drop(job_id)
            for job in light.values():
                self.follow(job)
            found = self._poll(lambda ids: [light[job_id] for job_id in ids if job_id in light], stop)
        return {**{job.handle.record.id: news for job, news in found}, **self._each(others, stop)}

    def poll_followed(self, load: Load, stop: Callable[[], bool] = bool) -> list[tuple[AnyJob, Observation]]:
        """As :meth:`Group.poll_followed`: one request for changes, and, now and then, one for a slice of the queue."""
        self._failed -= self._followed.keys()
        return self._poll(load, stop) if self._followed else []

    def seen(self, job: AnyJob, news: Observation) -> None:
        """As :meth:`Group.seen`."""
        record = job.handle.record
        if record.id in self._followed:
            self._note(Followed.of(replace(record, native={**record.native, **news.native})))

    def _note(self, one: Followed) -> None:
        self._followed[one.job_id] = one
        (self._special.add if one.held_since or one.waits_for_inputs else self._special.discard)(one.job_id)

    def unmatched(self, jobs: Sequence[AnyJob]) -> dict[int, float]:
        """As :meth:`Group.unmatched`, for jobs of which each proc is idle and has never run."""
        by_token = {key_of(job.handle.record): job.engine for job in jobs if isinstance(job.engine, CondorEngine)}
        if not by_token:
            return {}
        client = next(iter(by_token.values())).client()
        idle: dict[str, list[float]] = {}
        for ad in client.query(of_keys(list(by_token)), _WAITING):
            never = ad.get("JobStatus") == _IDLE and not ad.get("NumJobStarts")
            since = float(ad.get("EnteredCurrentStatus") or 0)
            waited = float(ad.get("ServerTime") or 0) - since if never and since else -1.0
            idle.setdefault(key_of_ad(ad), []).append(waited)
        return {
            by_token[token].handle.record.id: min(waited)
            for token, waited in idle.items()
            if min(waited) >= 0 and len(waited) == by_token[token].state.total
        }

    def why_waiting(self, jobs: Sequence[AnyJob]) -> dict[int, str]:
        """As :meth:`Group.why_waiting`."""
        engines = [job.engine for job in jobs if isinstance(job.engine, AccessPointEngine)]
        if not engines:
            return {}
        found = engines[0].client().why_idle([engine.own_procs for engine in engines])
        return {engine.handle.record.id: text for engine, text in zip(engines, found, strict=True) if text is not None}

    def pause(self, seconds: float) -> float:
        """As :meth:`Group.pause`: a large queue is read soon at first."""
        return min(seconds, _HURRY) if self._soon else seconds

    def written(self) -> None:
        """As :meth:`Group.written`."""
        self._recent, self._since = self._told, self._asked

    @property
    def catching_up(self) -> bool:
        """As :attr:`Group.catching_up`."""
        return bool(self._followed) and (self._soon or not (self._time or self._looked))

    def look_again(self) -> None:
        """As :meth:`Group.look_again`."""
        if self._soon:
            self._repeat = True  # a job that fails each time must not keep us from the end of the first slices
        else:
            self._hurry = self._parts = self._slices()
        # What is asked for is everything: nothing need be told again.
        self._since, self._recent, self._told, self._later = self._asked, {}, {}, {}

    def _slices(self) -> int:
        """The number of slices of the queue."""
        return max(1, math.ceil(len(self._followed) / (self._first if self._soon else SLICE)))

    def _poll(self, load: Load, stop: Callable[[], bool]) -> list[tuple[AnyJob, Observation]]:
        jobs = Loaded(load)
        first = jobs.one(self._followed)
        if first is None:
            return []
        client, timeout = first.client(), first.site.held_timeout
        seen, missing = self._ask_for_news(client, jobs)
        # Jobs missing in the queue are searched in the history, one by one; if there are many, some in each poll.
        lost = [
            each for each in dict.fromkeys([*self._left, *missing, *self._due(jobs, timeout)]) if each in self._followed
        ]
        lost, self._left = lost[:_LOST], lost[_LOST:]
        # What is lost is searched in the history, too: a part of it may be over.
        known = {key: procs for key, procs in seen.items() if self._by_key.get(key) not in (None, *lost)}
        jobs.read([*(self._by_key[key] for key in known), *lost])
        found: list[tuple[AnyJob, Observation]] = []
        for key, procs in known.items():
            job = jobs.get(self._by_key[key])
            if job is not None and not stop():
                found += self._one(job, client, procs, timeout)
        for job_id in lost:
            job = jobs.get(job_id)
            if job is not None and not stop():
                found += self._one(job, client, None, timeout)
        return found

    def _due(self, jobs: Loaded, timeout: float | None) -> list[int]:
        """Jobs without news that need action."""
        held = [one for one in map(self._followed.get, sorted(self._special)) if one is not None]
        found = [one.job_id for one in held if limits.is_given_up(one.held_since, timeout)]
        waiting = [one.job_id for one in held if one.waits_for_inputs and one.job_id not in found]
        jobs.read(waiting)
        for job in map(jobs.get, waiting):
            record = None if job is None else job.handle.record
            if record is None or not spooling.is_forgotten(record, CondorState(record).procs.values()):
                continue
            if not spooling.refused_lately(record):
                found.append(record.id)
        return found

    def _ask_for_news(self, client: CondorClient, jobs: Loaded) -> tuple[Procs, list[int]]:
        """Procs that may have changed, and jobs of which some procs are no longer in the queue."""
        seen: Procs = {}
        if self._time:
            # From the last answer whose news were written; where that was long ago, the slices say more.
            self._since = max(self._since or self._time, self._time - int(FULL))
            since = f"EnteredCurrentStatus >= {self._since - _OVERLAP} && {self._ours()}"
            recent = self._ask(client, since, (*observation.PROJECTION, "ServerTime"))
            # What was written of the last answer need not be read again.
            seen = {key: procs for key, procs in recent.items() if self._recent.get(key) != procs}
            self._told, self._asked = recent, self._time
        for key, procs in seen.items():
            self._later[key] = {**self._later.get(key, {}), **procs}
        # Of very many, the next polls read the rest. What is not written is asked for again, or found in its slice.
        seen = {key: self._later.pop(key) for key in list(islice(self._later, _MOST))}
        fresh = [key for key in self._keys(self._new) if key not in seen]
        # At first, too: but where none of our jobs is in the queue, it does not tell its time, and one round is enough.
        if len(fresh) > _CHUNK or not (self._time or self._looked or self._soon):
            self._soon = True  # asking for each of them would take longer
            self._hurry = self._parts = self._slices()
        else:
            seen.update(self._of(client, fresh))
        self._new.clear()
        lost: list[int] = []
        if self.reading and not self._time:
            self._of(client, fresh[:_CHUNK])  # for the schedd's time
            self._next_slice = self._next_slice or time.monotonic() + FULL
        # While ever more jobs are read, the slices that they are in would be asked for again.
        if (self._hurry and not self.reading) or time.monotonic() >= self._next_slice:
            number = self._parts if self._hurry else self._slices()
            part = self._slice % number
            which = self._ours() if number == 1 else f"ClusterId % {number} == {part} && {self._ours()}"
            mine = [one for one in self._followed.values() if one.cluster % number == part]
            more, lost = self._ask_for_slice(client, which, mine, {*seen, *self._later})
            self._next_slice = time.monotonic() + max(FULL / number, _BETWEEN)
            seen.update({key: procs for key, procs in more.items() if key not in seen})
            for key, procs in self._new_usage(client, jobs, which, number).items():
                seen.setdefault(key, procs)
        return seen, lost

    def _ask_for_slice(
        self, client: CondorClient, which: str, mine: Iterable[Followed], known: Collection[str]
    ) -> tuple[Procs, list[int]]:
        """As :meth:`_ask_for_news`, of a part of the queue, by what the rows have; without procs that are known."""
        try:
            everything = self._states(client, which)
        except SchedulerConnectionError:
            if self._soon:  # perhaps it was too much
                self._first = SLICE
                self._hurry = self._parts = self._slices()
            raise
        self._slice, self._hurry = self._slice + 1, max(0, self._hurry - 1)
        if self._soon and not self._hurry:
            self._soon, self._looked = False, True
            if self._repeat:
                self._repeat = False
                self.look_again()
        differing = [one for one in mine if one.differs(everything.get(one.key, {}))]
        changed = [one for one in differing if one.key in everything and one.key not in known]
        if len(changed) > _CHUNK:
            keys = {one.key for one in changed}
            seen = self._ask(client, which, observation.PROJECTION)
            seen = {key: procs for key, procs in seen.items() if key in keys}
        else:
            seen = self._of(client, [one.key for one in changed])
        return seen, [one.job_id for one in differing if one.is_lost(everything.get(one.key, {}))]

    def _keys(self, job_ids: Iterable[int]) -> list[str]:
        return [self._followed[job_id].key for job_id in sorted(job_ids)]

    def _new_usage(self, client: CondorClient, jobs: Loaded, which: str, number: int) -> Procs:
        """Procs of a slice of which it is news what they use, now and then."""
        if time.monotonic() >= self._next_usage:
            self._next_usage, self._usage_left = time.monotonic() + USAGE, number
        if not self._usage_left or self._soon:
            return {}
        self._usage_left -= 1  # before: what takes too long is not repeated at once
        running = self._ask(client, f"{which} && JobStatus == 2", (*observation.PROJECTION, "ServerTime"))
        jobs.read([self._by_key[key] for key in running if key in self._by_key])
        found: Procs = {}
        for key, procs in running.items():
            job = jobs.get(self._by_key.get(key, 0))
            known = {} if job is None else CondorState(job.handle.record).procs
            if any(usage.differs(known[number].usage, proc.usage) for number, proc in procs.items() if number in known):
                found[key] = procs
        return found

    def _one(
        self, job: AnyJob, client: CondorClient, procs: dict[int, Proc] | None, timeout: float | None
    ) -> list[tuple[AnyJob, Observation]]:
        record = job.handle.record
        try:
            if procs is None:
                found = poll.observe(record, client, timeout)
            else:
                found = poll.observe_changed(record, procs, client, timeout)
        except (CondorError, SchedulerConnectionError) as error:
            self._failed.add(record.id)
            self.look_again()
            log.warning("Job %s could not be polled: %s", record.id, error)
            return []
        except DatabaseError:
            raise
        except Exception:  # of this one job: the others have news
            self._failed.add(record.id)
            log.exception("Job %s could not be polled", record.id)
            return []
        return [(job, replace(found, version=record.version))]

    def _of(self, client: CondorClient, tokens: Sequence[str]) -> Procs:
        """All procs of jobs by their tokens, many in one request."""
        found: Procs = {}
        for start in range(0, len(tokens), _CHUNK):
            which = of_keys(tokens[start : start + _CHUNK])
            found.update(self._ask(client, which, observation.PROJECTION))
        return found

    def _states(self, client: CondorClient, constraint: str) -> dict[str, dict[int, tuple[str, int | None]]]:
        """States of procs, and codes of holds, by the keys of their jobs, and by number."""
        found: dict[str, dict[int, tuple[str, int | None]]] = {}
        for ad in client.query(constraint, _LIGHT):
            self._time = max(self._time, int(ad.get("ServerTime") or 0))
            number, state, hold_code = observation.read_state(ad)
            found.setdefault(key_of_ad(ad), {})[number] = state, hold_code
        return found

    def _ask(self, client: CondorClient, constraint: str, projection: Sequence[str]) -> Procs:
        found: Procs = {}
        for ad in client.query(constraint, projection):
            self._time = max(self._time, int(ad.get("ServerTime") or 0))
            proc = observation.read_ad(ad, queued=True)
            found.setdefault(key_of_ad(ad), {})[proc.proc] = proc
        return found
