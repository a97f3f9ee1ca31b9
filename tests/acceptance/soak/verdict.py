"""Whether everything in a soak has ended as it had to. Each check gives what disagrees, and nothing if all is well."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect_jobs import CondorJob, DaskJob, ResultUnavailable, statuses
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.base import Job
from tests.acceptance.soak import work
from tests.acceptance.soak.plan import JobPlan
from tests.support import prefect_http

_WHICH = ("ClusterId", "ProcId", "PrefectJobsToken")
_ATTRIBUTES = (
    *_WHICH,
    "JobStatus",
    "LastJobStatus",
    "NumJobStarts",
    "StageInFinish",
    "CompletionDate",
    "ExitCode",
    work.MARK,
)
_STATE_TYPES = {statuses.COMPLETE: "COMPLETED", statuses.ERROR: "FAILED", statuses.VARIOUS_COMPLETE: "FAILED"}
_PAGE = 200


def outcome(plan: JobPlan, job: Job) -> Iterator[str]:
    """Its status, why it is that, and its outputs or its result."""
    if job.cached_status != plan.status:
        yield f"it is {job.cached_status!r} ({job.status_message.strip()[-300:]}), not {plan.status!r}"
        return
    if isinstance(job, DaskJob):
        if plan.status == statuses.ERROR and work.failure(plan) not in job.status_message:
            yield f"it failed for another reason than planned: {job.status_message[-300:]}"
        if plan.status == statuses.COMPLETE:
            try:
                if job.result != plan.text:
                    yield "its result is another one than planned"
            except ResultUnavailable as error:
                yield f"its result is not there: {error}"
    if isinstance(job, CondorJob):
        codes = {process: code for process, code in enumerate(plan.codes)}
        if job.exit_codes != codes:
            yield f"exit codes {job.exit_codes}, not {codes}"
        for process in codes:
            path = Path(job.initial_dir) / f"out-{process}.txt"
            if not path.is_file():
                yield f"{path.name} is not there"
            elif (found := path.read_text()) != plan.output(process):
                yield f"{path.name} has {len(found)} characters of another content than planned"


def history(plans: Iterable[JobPlan], jobs: Mapping[int, Job], pool: CondorScheduler) -> Iterator[str]:
    """Each token is in the history once, and nothing else is: no doubles, nothing left in the queue."""
    client = pool.get_client()
    ours = "PrefectJobsToken =!= undefined"
    for ad in client.query(ours, _ATTRIBUTES):
        yield f"still in the queue: {ad}"
    by_job: dict[int, list[dict[str, Any]]] = {}
    for ad in client.history(ours, _ATTRIBUTES):
        if _never_a_job(ad):
            continue
        by_job.setdefault(int(ad.get(work.MARK, -1)), []).append(ad)
    for plan in plans:
        if plan.engine == "CONDOR":
            yield from _once(plan, jobs.get(plan.number), by_job.pop(plan.number, []))
    for ads in by_job.values():
        yield f"in the history, and of no job: {ads}"


def _once(plan: JobPlan, job: Job | None, ads: list[dict[str, Any]]) -> Iterator[str]:
    if not isinstance(job, CondorJob):
        return  # that it is not there is told elsewhere
    expected = {(job.cluster_id, process, job.handle.record.submission_token) for process in range(len(plan.codes))}
    # A schedd that is killed while it moves a process to the history notes it there once more: the same run of it.
    runs = {tuple(ad.get(name) for name in (*_WHICH, "NumJobStarts", "CompletionDate")) for ad in ads}
    found = [run[: len(_WHICH)] for run in runs]
    if len(found) != len(expected) or set(found) != expected:
        yield f"{plan.name}: the history has {sorted(found)}, not {sorted(expected)}"
    for ad in ads:
        if ad["ProcId"] < len(plan.codes) and ad.get("ExitCode") != plan.codes[ad["ProcId"]]:
            yield f"{plan.name}: process {ad['ProcId']} has exit code {ad.get('ExitCode')} in the history"


def _never_a_job(ad: Mapping[str, Any]) -> bool:
    """Whether its inputs never arrived, so that it was removed and never ran."""
    return ad["JobStatus"] == 3 and not ad.get("NumJobStarts") and "StageInFinish" not in ad


def shown(jobs: Mapping[int, Job], plans: Iterable[JobPlan], api_url: str) -> list[str]:
    """Whether Prefect shows each job as it is, in one run each."""
    runs = {run["id"]: run for run in _runs(api_url)}
    wrong = []
    for plan in plans:
        job = jobs.get(plan.number)
        if job is None:
            continue
        run = runs.pop(str(job.flow_run_id), None)
        if run is None:
            wrong.append(f"{plan.name}: Prefect has no run of it ({job.flow_run_id})")
        elif run["state_type"] != _STATE_TYPES.get(job.cached_status) or run["name"] != plan.name:
            wrong.append(f"{plan.name} is {job.cached_status}; its run {run['name']!r} is {run['state']}")
    wrong += [f"a run of no job: {run['id']} {run['name']!r} {run['state_type']}" for run in runs.values()]
    return wrong


def _runs(api_url: str) -> Iterator[dict[str, Any]]:
    with prefect_http(api_url) as api:
        for offset in range(0, 100_000, _PAGE):
            question = {
                "flow_runs": {"tags": {"all_": ["prefect-jobs"]}},
                "sort": "ID_DESC",
                "limit": _PAGE,
                "offset": offset,
            }
            found = api.post("/flow_runs/filter", json=question).raise_for_status().json()
            yield from found
            if len(found) < _PAGE:
                return
