"""Work in a queue that was submitted without us: found, and taken over as a job. It is followed and steered; it is
never removed unasked, fetched, edited or run again."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from prefect_jobs import clock
from prefect_jobs.errors import PrefectJobsError, SubmissionError
from prefect_jobs.jobs.condor.ads import foreign_token
from prefect_jobs.jobs.condor.late import MARK, is_late
from prefect_jobs.jobs.condor.state import encode
from prefect_jobs.jobs.log_file import ForeignLog
from prefect_jobs.noted import ADOPTED, FOREIGN, Happened, Noted
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import addresses
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.transition import Accepted, Intent, transition

#: The attributes of the work that are read when it is taken over.
PROJECTION = (
    "ClusterId", "ProcId", "QDate", "GlobalJobId", "Owner", "User", "JobUniverse", "Cmd", "Args", "Arguments",
    "TotalSubmitProcs", MARK, "JobBatchName", "Iwd", "Out", "Err", "UserLog",
    "PrefectJobsToken", "DAGManJobId", "DAGNodeName",
)  # fmt: skip
_LIGHT = ("ClusterId", "QDate", "GlobalJobId", "ServerTime")
#: Number of clusters in one request.
_AT_ONCE = 200
#: JobUniverse of a DAGMan: "scheduler".
_SCHEDULER = 7
_ID = re.compile(r"\s*(\d{1,18})(?:\.0)?\s*\Z", re.ASCII)
_DAG = re.compile(r"(?:^|\s)-dag\s+'?([^\s']+)", re.IGNORECASE)
#: Longest name of a job that is named after its work.
_LONGEST = 200
#: Names of logs in the answer, and their attributes.
_LOGS = {"log": "UserLog", "output": "Out", "error": "Err"}


def cluster_of(remote_id: Any) -> int:
    """The cluster of an id at HTCondor, ``123`` or ``123.0``.

    Raises:
        ValueError: it cannot be one.
    """
    found = _ID.match(str(remote_id)) if isinstance(remote_id, int | str) and not isinstance(remote_id, bool) else None
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{remote_id!r} is not the id of a cluster at HTCondor, such as '123' or '123.0'.")
    return int(found[1])


@dataclass(frozen=True)
class Work:
    """Work at an access point."""

    #: The ads of its procs, at least one.
    ads: Sequence[Mapping[str, Any]]

    @property
    def first(self) -> Mapping[str, Any]:
        """The ad of its first proc."""
        return min(self.ads, key=lambda ad: int(ad.get("ProcId", 0)))

    @property
    def cluster(self) -> int:
        """Its cluster."""
        return int(self.first["ClusterId"])

    @property
    def is_dag(self) -> bool:
        """Whether it is a DAGMan."""
        words = f"{self.first.get('Cmd', '')} {self.first.get('Arguments') or self.first.get('Args') or ''}"
        return int(self.first.get("JobUniverse", 0)) == _SCHEDULER and "condor_dagman" in words

    @property
    def dag_file(self) -> Path | None:
        """The DAG file of a DAGMan."""
        found = _DAG.search(str(self.first.get("Arguments") or self.first.get("Args") or ""))
        return Path(os.path.normpath(Path(str(self.first.get("Iwd") or "/"), found[1]))) if found else None

    @property
    def name(self) -> str:
        """A name for it: the batch's, or the program's."""
        batch = str(self.first.get("JobBatchName") or "").strip()
        program = self.dag_file.name if self.dag_file else PurePosixPath(str(self.first.get("Cmd") or "")).name
        return (batch or program or f"cluster {self.cluster}")[:_LONGEST]

    @property
    def token(self) -> str:
        """The token of a job that has it."""
        return foreign_token(self.first)

    @property
    def total(self) -> int:
        """The number of its procs."""
        return max(int(self.first.get("TotalSubmitProcs") or 1), *(int(ad.get("ProcId", 0)) + 1 for ad in self.ads))


def look(client: CondorClient, cluster: int) -> Work:
    """Finds a cluster in the queue, or in the history.

    Raises:
        SubmissionError: it is in neither.
        SchedulerConnectionError: the schedd does not answer.
    """
    which = f"ClusterId == {cluster}"
    ads = client.query(which, PROJECTION) or client.history(which, PROJECTION)
    if not ads:
        raise SubmissionError(f"Cluster {cluster} is in neither the queue nor the history of {client.access.title}.")
    newest = max(int(ad.get("QDate", 0)) for ad in ads)  # an old pool may have had that number, too
    return Work([ad for ad in ads if int(ad.get("QDate", 0)) == newest])


def new(
    client: CondorClient, owner: str, is_known: Callable[[Sequence[str]], set[str]], since: int | None = None
) -> tuple[list[Work], int | None]:
    """The work of a user in the queue that was submitted without us and that no job has. Jobs that are nodes of a DAG
    belong to it.

    Args:
        client: of the access point.
        owner: the user.
        is_known: the tokens, of some, that jobs have.
        since: only what was submitted since that time, by the schedd's clock.

    Returns:
        The work, and the time of the answer by the schedd's clock; ``None``: nothing there told it.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    if not re.fullmatch(r"[\w.+-]+", owner):
        return [], None
    which = (
        f'Owner == "{owner}" && PrefectJobsToken =?= undefined && DAGManJobId =?= undefined '
        "&& JobStatus =!= 3 && JobStatus =!= 4"
    )
    there = client.query(which if since is None else f"QDate >= {since} && {which}", _LIGHT)
    tokens = {foreign_token(ad): int(ad["ClusterId"]) for ad in there}
    known = is_known(list(tokens))
    clusters = sorted({cluster for token, cluster in tokens.items() if token not in known})
    found: dict[int, list[Mapping[str, Any]]] = {}
    for start in range(0, len(clusters), _AT_ONCE):
        some = ",".join(map(str, clusters[start : start + _AT_ONCE]))
        for ad in client.query(f"member(ClusterId, {{{some}}})", PROJECTION):
            found.setdefault(int(ad["ClusterId"]), []).append(ad)
    asked = max((int(ad["ServerTime"]) for ad in there if "ServerTime" in ad), default=None)
    return [Work(ads) for ads in found.values()], asked


def check_ours(work: Work, identity: str | None) -> None:
    """Checks that we may steer work.

    Args:
        work: the work.
        identity: who we are there.

    Raises:
        SubmissionError: it is another user's.
    """
    owner = str(work.first.get("User") or work.first.get("Owner"))
    if identity is None or owner.partition("@")[0] != identity.partition("@")[0]:
        us = identity or "an unknown user"
        raise SubmissionError(
            f"Cluster {work.cluster} belongs to {owner}, and the scheduler lets us in as {us}: it is not ours to "
            "steer. Use a scheduler block with a token of its owner."
        )


def filled(record: JobRecord, work: Work, origin: Mapping[str, Any]) -> JobRecord:
    """The record of a job that is to be written for work.

    Args:
        record: the draft.
        work: the work.
        origin: what the job's engine notes of this machine.
    """
    first = work.first
    since = datetime.fromtimestamp(int(first["QDate"]), UTC).isoformat(timespec="seconds")
    message = f"Taken over as cluster {work.cluster}; {first.get('Owner')} submitted it at {since}."
    state = transition(transition(record.state, Intent(), clock.now()), Accepted(message), clock.now())
    native = {
        **origin,
        **encode(cluster=work.cluster, total=work.total, spool=False, late=is_late(work.first) or None, in_queue=True),
        FOREIGN: True,
    }
    event = Happened(ADOPTED, {"remote_id": str(work.cluster)})
    return replace(
        record,
        state=state,
        submission_token=work.token,
        remote_id=str(work.cluster),
        native={**native, **Noted(native).with_events([event])},
    )


def write(insert: Callable[[], None], known: Callable[[], JobRecord | None]) -> JobRecord | None:
    """Writes a job for work that no other job has; returns the job that has it, if there is one by now."""
    try:
        insert()
    except PrefectJobsError:
        found = known()
        if found is None:
            raise
        return found
    return None


def is_here(client: CondorClient) -> bool:
    """Whether the access point is this machine, so that paths there are paths here."""
    host = client.access.host
    return host is None or addresses.is_this_machine(host)


def logs(client: CondorClient, constraint: str) -> dict[str, Any]:
    """The logs of each proc, in the folder of the one who submitted it."""
    ads = client.query(constraint, PROJECTION) or client.history(constraint, PROJECTION)
    here = is_here(client)
    ads.sort(key=lambda ad: int(ad.get("ProcId", 0)))
    found = {f"Process {ad.get('ProcId', 0)}": of_ad(ad, here=here) for ad in ads}
    return next(iter(found.values())) if len(found) == 1 else found


def of_ad(ad: Mapping[str, Any], *, here: bool) -> dict[str, ForeignLog]:
    """The logs of a proc by its ad; ``here``: whether the access point is this machine."""
    home, owner = str(ad.get("Iwd") or "/"), str(ad.get("Owner"))
    return {
        name: ForeignLog(Path(os.path.normpath(Path(home, str(ad[attribute])))), owner, here=here)
        for name, attribute in _LOGS.items()
        if ad.get(attribute) and ad[attribute] != "/dev/null"
    }
