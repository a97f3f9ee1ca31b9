"""The pages."""

from django.shortcuts import redirect, render
from tethys_sdk.gizmos import Button, CustomJobAction, JobsTable
from tethys_sdk.routing import controller

from .analysis import compare
from .app import App
from .model import run_model
from .results import levels_of
from .scenario import run_scenario


def has_levels(job):
    """Whether the levels of a job can be drawn."""
    return job.type == "CondorJob" and job.cached_status == "Complete"


@controller(name="home", url="river-floods")
def home(request):
    """The jobs of the user."""
    jobs = App.get_job_manager().list_jobs(user=request.user, order_by="-id", filters={"label": App.package})
    table = JobsTable(
        jobs=jobs,
        column_fields=("id", "name", "description", "creation_time", "run_time"),
        hover=True,
        striped=True,
        condensed=False,
        results_url="river_floods:levels",
        refresh_interval=5000,
        actions=[
            "run",
            "resubmit",
            "log",
            CustomJobAction("Levels", "river_floods:levels", enabled_callback=has_levels),
            "delete",
        ],
    )
    compare_button = Button(display_text="Compare", href="compare/", style="success")
    return render(request, "river_floods/home.html", {"jobs_table": table, "compare_button": compare_button})


@controller(name="new", url="river-floods/new")
def new(request):
    """Submits what was filled in."""
    rain = [float(value) for value in request.POST["rain"].split()]
    run = run_scenario if "scenario" in request.POST else run_model
    run(request.user, request.POST["name"], rain, request.POST["folder"])
    return redirect("river_floods:home")


@controller(name="compare", url="river-floods/compare")
def start_comparison(request):
    """Submits a comparison of all runs."""
    compare(request.user)
    return redirect("river_floods:home")


@controller(name="levels", url="river-floods/levels/{job_id}")
def levels(request, job_id):
    """The levels of one run."""
    job = App.get_job_manager().get_job(job_id=job_id, user=request.user)
    if job is None or job.user != request.user:
        return redirect("river_floods:home")
    return render(request, "river_floods/levels.html", {"job": job, "levels": levels_of(job)})
