"""Where the names of the Tethys Platform are now."""

from dataclasses import dataclass

#: The package and the module that have them all.
PACKAGE, MODULE = "prefect_jobs", "tethys"
NEW = f"{PACKAGE}.{MODULE}"

JOB_CLASSES = frozenset({"TethysJob", "BasicJob", "CondorJob", "CondorWorkflow", "DaskJob"})
NODE_CLASSES = frozenset({"CondorWorkflowNode", "CondorWorkflowJobNode"})
SCHEDULER_CLASSES = frozenset({"CondorScheduler", "DaskScheduler"})
APP_CLASS, MANAGER, TABLE, ACTION = "TethysAppBase", "JobManager", "JobsTable", "CustomJobAction"

_GIZMOS = frozenset({TABLE, ACTION})
_BASE = frozenset({APP_CLASS})
_COMPUTE = frozenset(
    {"list_schedulers", "get_scheduler", "create_scheduler", "create_condor_scheduler", "create_dask_scheduler"}
)
_EXCEPTIONS = frozenset({"TethysAppSettingDoesNotExist", "TethysAppSettingNotAssigned"})

#: All names of the new module that Tethys has, too.
KNOWN = (
    JOB_CLASSES
    | NODE_CLASSES
    | SCHEDULER_CLASSES
    | _GIZMOS
    | _BASE
    | _COMPUTE
    | _EXCEPTIONS
    | {MANAGER, "JOB_TYPES", "SchedulerSetting", "DaskJobException"}
)

#: Modules of Tethys that have other names as well, which stay with the portal → the names that are here.
_SHARED = {
    "tethys_sdk.base": _BASE,
    "tethys_sdk.gizmos": _GIZMOS,
    "tethys_sdk.app_settings": frozenset({"SchedulerSetting"}),
    "tethys_apps.exceptions": _EXCEPTIONS,
    "tethys_gizmos.gizmo_options": _GIZMOS,
    "tethys_gizmos.gizmo_options.jobs_table": _GIZMOS,
}
_MODELS = "tethys_compute.models"
#: Modules of Tethys that are replaced as a whole. One module has all names here, so each of these may name any.
_WHOLE = (
    "tethys_sdk.jobs",
    "tethys_compute.job_manager",
    "tethys_compute.scheduler_manager",
    _MODELS,
    f"{_MODELS}.tethys_job",
    f"{_MODELS}.basic_job",
    f"{_MODELS}.condor",
    f"{_MODELS}.condor.condor_job",
    f"{_MODELS}.condor.condor_workflow",
    f"{_MODELS}.condor.condor_workflow_node",
    f"{_MODELS}.condor.condor_workflow_job_node",
    f"{_MODELS}.condor.condor_scheduler",
    f"{_MODELS}.dask",
    f"{_MODELS}.dask.dask_job",
    f"{_MODELS}.dask.dask_scheduler",
    f"{_MODELS}.dask.dask_job_exception",
)
#: Modules of Tethys → the names of theirs that are here.
MODULES: dict[str, frozenset[str]] = {
    **dict.fromkeys(_WHOLE, KNOWN),
    "tethys_sdk.compute": _COMPUTE,
    **_SHARED,
}

#: The packages of the Tethys Platform.
ROOTS = frozenset(
    {
        "tethys_apps",
        "tethys_cli",
        "tethys_compute",
        "tethys_config",
        "tethys_gizmos",
        "tethys_layouts",
        "tethys_portal",
        "tethys_quotas",
        "tethys_sdk",
        "tethys_services",
        "tethys_utils",
    }
)

#: Job templates, as Tethys had them in 2015.
TEMPLATES = frozenset(
    {
        "JobTemplate",
        "BasicJobTemplate",
        "CondorJobTemplate",
        "CondorJobDescription",
        "CondorWorkflowTemplate",
        "CondorWorkflowJobTemplate",
        "JOB_CAST",
    }
)


@dataclass(frozen=True)
class Match:
    """What a dotted path means: a module of the table, the name in it, and the attributes after that."""

    module: str
    name: str | None
    rest: tuple[str, ...]


def match(path: str) -> Match | None:
    """What a dotted path means; ``None`` if it leads into no module of the table.

    The longest module counts. ``name`` is ``None`` if the module itself is meant, or if it has no such name here; then
    ``rest`` has what follows.
    """
    parts = path.split(".")
    for length in range(len(parts), 1, -1):
        module = ".".join(parts[:length])
        names = KNOWN if module == NEW else MODULES.get(module)
        if names is not None:
            rest = tuple(parts[length:])
            return Match(module, rest[0], rest[1:]) if rest and rest[0] in names else Match(module, None, rest)
    return None


def is_shared(module: str) -> bool:
    """Whether a module of Tethys has other names as well, which stay with the portal."""
    return module in _SHARED


def is_portal(module: str) -> bool:
    """Whether a module belongs to the Tethys Platform."""
    return module.partition(".")[0] in ROOTS
