"""What is done with the outputs of a run. The portal calls it when the run is over."""

import os


def levels_of(job):
    """The water levels of a run, in metres."""
    with open(os.path.join(job.initial_dir, "levels.txt")) as file:
        return [float(line.split()[1]) for line in file]


def read_levels(job):
    """Keeps the peak with the job."""
    levels = levels_of(job)
    job.extended_properties["peak"] = max(levels)
    if max(levels) > 1000:
        job._status = "ERR"
        job.status_message = "The model has diverged"
    else:
        job.status_message = "Peak {:.1f} m".format(max(levels))
    job.save()


def round_result(result):
    """The statistics as people read them."""
    return {name: round(value, 2) for name, value in result.items()}
