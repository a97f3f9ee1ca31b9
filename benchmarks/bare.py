"""HTCondor's bindings and Prefect's client alone, in a process of their own: what an app would do without us.

Run as a module. A line of JSON in, a line of JSON out; see :class:`Bare` for what can be asked for.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.commits import commits, new_name
from benchmarks.parts import Parts

#: Flow runs that the server makes in one call.
_BULK = 100
_TRIES = 8
#: Seconds before the second try of what a busy server refused ("database is locked"); twice as long before each other.
_PAUSE = 0.1
_IDLE = """
universe = vanilla
executable = /bin/sleep
arguments = 1
transfer_executable = False
should_transfer_files = YES
requirements = False
request_memory = 16MB
request_disk = 1MB
+PrefectJobsToken = "{token}"
queue
"""


class Bare:
    """The process, as others see it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, what: str, **values: Any) -> Any:
        """Calls one of the functions below."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("It has no pipes.")
        self._process.stdin.write(json.dumps({"what": what, **values}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def bare(given: Parts) -> Iterator[Bare]:
    """The process, as alice, while the context lasts."""
    environment = {
        **os.environ,
        **given.pool.env(),
        "_CONDOR_SEC_TOKEN_DIRECTORY": str(given.pool.export_token("alice")),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    try:
        yield Bare(process)
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Answers until there is nothing more to read."""
    import htcondor2
    from prefect.client.orchestration import get_client

    schedd = htcondor2.Schedd()
    with get_client(sync_client=True) as api:
        for line in sys.stdin:
            asked = json.loads(line)
            answer = _FUNCTIONS[asked.pop("what")](htcondor2, schedd, api, **asked)
            print(json.dumps(answer), flush=True)


def job(condor: Any, schedd: Any, api: Any, *, text: str, database: str) -> float:
    """Seconds for a job: submitted, its inputs sent, and noted in a database by three commits."""
    with commits(database) as note:
        name = new_name()
        began = time.perf_counter()
        note(name, "Pending")
        note(name, "Pending")
        description = condor.Submit(text)
        schedd.spool(schedd.submit(description, count=1, spool=True))
        note(name, "Submitted")
        return time.perf_counter() - began


def many(condor: Any, schedd: Any, api: Any, *, texts: list[str], deployment: str) -> dict[str, float]:
    """Seconds for many jobs, and of these, for their flow runs."""
    began = time.perf_counter()
    state = _state().model_dump(mode="json", include={"type", "name"})
    for start in range(0, len(texts), _BULK):
        runs = [_run(state) for _ in texts[start : start + _BULK]]
        _bulk(api, deployment, runs)
    made = time.perf_counter() - began
    for text in texts:
        description = condor.Submit(text)
        schedd.spool(schedd.submit(description, count=1, spool=True))
    return {"all": time.perf_counter() - began, "runs": made}


def idle(condor: Any, schedd: Any, api: Any, *, count: int, deployment: str) -> list[tuple[str, int, str, str]]:
    """Makes jobs that never run: token, cluster, flow run, and its state, of each. Without a deployment they have no
    run."""
    found: list[tuple[str, int, str, str]] = []
    state = _state().model_dump(mode="json", include={"type", "name"})
    for start in range(0, count, _BULK):
        size = min(_BULK, count - start)
        if not deployment:
            for _ in range(size):
                token = uuid.uuid4().hex
                found.append((token, int(schedd.submit(condor.Submit(_IDLE.format(token=token))).cluster()), "", ""))
            continue
        runs = _bulk(api, deployment, [_run(state) for _ in range(size)])
        read = api.request(
            "POST", "/flow_runs/filter", json={"flow_runs": {"id": {"any_": runs}}, "limit": size}
        ).json()  # fmt: skip
        for run in read:
            token = uuid.uuid4().hex
            cluster = schedd.submit(condor.Submit(_IDLE.format(token=token))).cluster()
            found.append((token, int(cluster), run["id"], run["state_id"]))
    return found


_FUNCTIONS: dict[str, Callable[..., Any]] = {"job": job, "many": many, "idle": idle}


def _bulk(api: Any, deployment: str, runs: list[dict[str, Any]]) -> list[str]:
    """Ids of new flow runs; on a busy server some of many may fail, and are asked for again."""
    path, made, errors = {"id": deployment}, [], []
    for tries in range(_TRIES):
        if tries:
            time.sleep(_PAUSE * 2 ** (tries - 1))
        answer = api.request("POST", "/deployments/{id}/create_flow_run/bulk", path_params=path, json=runs).json()
        made += [str(one["flow_run_id"]) for one in answer["results"] if one["flow_run_id"]]
        errors = [one["error"] for one in answer["results"] if not one["flow_run_id"]]
        runs = [run for run, one in zip(runs, answer["results"], strict=True) if not one["flow_run_id"]]
        if not runs:
            return made
    raise RuntimeError(f"Prefect does not make the runs: {errors[:3]}")


def _run(state: Any) -> dict[str, Any]:
    return {
        "state": state,
        "name": "bare",
        "tags": ["prefect-jobs", "app:benchmarks", "user:alice", "type:CONDOR"],
        "idempotency_key": uuid.uuid4().hex,
        "parameters": {"name": "bare", "app": "benchmarks"},
        "labels": {"prefect-jobs.job": 0},
    }


def _state() -> Any:
    from prefect.client.schemas.objects import State, StateType

    return State[None](type=StateType.PENDING, name="Submitted")


if __name__ == "__main__":
    main()
