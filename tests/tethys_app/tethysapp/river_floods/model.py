"""One run of the model."""

import os

from tethys_sdk.compute import list_schedulers

from .app import App

SCRIPTS = os.path.join(os.path.dirname(__file__), "workspaces", "app_workspace")
MODEL = {
    "executable": os.path.join(SCRIPTS, "model.sh"),
    "transfer_executable": True,
    "request_memory": "32MB",
    "output": "model.out",
    "error": "model.err",
}


def write_rain(folder, rain):
    """The input file of a run: one line for each hour."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "rain.txt")
    with open(path, "w") as file:
        file.writelines(f"{hour} {millimetres}\n" for hour, millimetres in enumerate(rain))
    return path


def run_model(user, name, rain, folder):
    """Submits a run for some hours of rain, in millimetres."""
    job_manager = App.get_job_manager()
    job = job_manager.create_job(
        name=name,
        user=user,
        description="{} mm in {} h".format(sum(rain), len(rain)),
        job_type="CONDOR",
        scheduler=App.get_scheduler("pool"),
        attributes=dict(MODEL, arguments=["rain.txt", "levels.txt"]),
        remote_input_files=[write_rain(folder, rain), ""],
        process_results_function="tethysapp.river_floods.results.read_levels",
        extended_properties={"rain": {"total": sum(rain), "hours": len(rain)}},
    )
    job.set_attribute("transfer_output_files", ["levels.txt"])
    job.save()
    job.execute()
    return job


def pools():
    """The names of the schedulers that an administrator has made."""
    return sorted(scheduler.name for scheduler in list_schedulers())
