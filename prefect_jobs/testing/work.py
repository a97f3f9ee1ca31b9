"""The work of one submission at a fake scheduler."""

import traceback
from dataclasses import dataclass, field
from typing import Any

from prefect_jobs import clock

#: HTCondor's numbers for JobStatus.
IDLE, RUNNING, REMOVED, COMPLETED, HELD = 1, 2, 3, 4, 5
OVER = (REMOVED, COMPLETED)
UNSET: Any = object()


@dataclass
class Leaf:
    """A part of a Dask job's work."""

    begun: bool = False
    over: bool = False
    result: Any = None
    exception: BaseException | None = None

    def seen(self) -> dict[str, Any]:
        """In the form of a Dask scheduler's answer."""
        if self.exception is not None:
            said = f"{type(self.exception).__name__}: {self.exception}"
            trace = "".join(traceback.format_exception(self.exception))
            return {"state": "erred", "error": said, "traceback": trace, "blamed": "leaf", "begun": True}
        return {"state": "memory" if self.over else "processing", "begun": self.begun}


@dataclass
class Work:
    """The work of one submission at a fake scheduler."""

    cluster: int
    #: Ads of procs, by node (none: the job itself) and number.
    ads: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    #: For a workflow: the ad of DAGMan's job.
    dagman: dict[str, Any] | None = None
    #: For a Dask job: the parts of its work, and the Dask objects that they compute.
    leaves: list[Leaf] = field(default_factory=list)
    graph: list[Any] = field(default_factory=list)
    #: Files that are fetched once the work is over, by their path in the job directory.
    outputs: dict[str, bytes] = field(default_factory=dict)
    #: Standard output and error, by node, proc and command (``output``, ``error``).
    streams: dict[tuple[str, int, str], str] = field(default_factory=dict)

    def start(self, node: str, proc: int) -> None:
        """A proc begins to run."""
        ad = self.ads.setdefault((node, proc), self.new(node, proc))
        ad.update(JobStatus=RUNNING, JobStartDate=now(), RemoteHost="slot1@fake", EnteredCurrentStatus=now())

    def add(self, node: str, proc: int) -> None:
        """A proc is in the queue."""
        self.ads[node, proc] = self.new(node, proc)

    def new(self, node: str, proc: int) -> dict[str, Any]:
        # Each try of a node is a new cluster.
        number = self.cluster + 1 + len(self.ads) if node else self.cluster
        ad = {"ClusterId": number, "ProcId": proc, "JobStatus": IDLE, "EnteredCurrentStatus": now()}
        return {**ad, "DAGNodeName": node, "DAGManJobId": self.cluster} if node else ad


def now() -> int:
    """The present time in seconds since 1970, as HTCondor writes it."""
    return int(clock.now().timestamp())


def over(work: Work) -> bool:
    """Whether no part of it is active."""
    if work.dagman is not None:
        return work.dagman["JobStatus"] in OVER
    if work.graph:
        return not work.leaves or all(leaf.over or leaf.exception is not None for leaf in work.leaves)
    return all(ad["JobStatus"] in OVER for ad in work.ads.values())


def finish_leaves(work: Work, result: Any, exception: BaseException | None) -> None:
    """Ends the parts of a Dask job: with the given outcome, or with what they compute."""
    for number, leaf in enumerate(work.leaves):
        leaf.begun = leaf.over = True
        leaf.exception = exception
        if exception is None and result is UNSET:
            try:
                leaf.result = _computed(work.graph[number])
            except Exception as error:  # as on a worker
                leaf.exception = error
        elif exception is None:
            leaf.result = result


def _computed(thing: Any) -> Any:
    result: Any = thing.compute(scheduler="synchronous") if hasattr(thing, "compute") else thing.result()
    return result
