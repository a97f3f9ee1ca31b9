"""Statistics over the runs of a user, on the Dask cluster."""

import statistics

from dask.delayed import delayed
from tethys_sdk.jobs import CondorJob, DaskJob

from .app import App
from .results import levels_of, round_result


def compare(user):
    """Submits the comparison of all runs that are complete."""
    runs = CondorJob.objects.filter(user=user, label=App.package, _status="COM").order_by("id")
    peaks = [delayed(max)(levels_of(run)) for run in runs]
    result = delayed(dict)(
        mean=delayed(statistics.mean)(peaks),
        spread=delayed(statistics.pstdev)(peaks),
    )
    job = App.get_job_manager().create_job(
        name="comparison of {} runs".format(runs.count()),
        user=user,
        job_type=DaskJob,
        scheduler=App.get_scheduler("cluster"),
        process_results_function=round_result,
    )
    job.execute(result)
    return job
