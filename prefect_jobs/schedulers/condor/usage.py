"""What procs have requested and used, by their ads. Pure."""

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from prefect_jobs import clock

#: The attributes that a poll requests (HTCondor manual, "Job ClassAd Attributes").
ATTRIBUTES = (
    "RequestCpus",
    "RequestMemory",
    "RequestDisk",
    "RequestGPUs",
    "CpusUsage",
    "MemoryUsage",
    "ResidentSetSize",
    "DiskUsage",
    "GPUsAverageUsage",
    "RemoteWallClockTime",
    "RemoteUserCpu",
    "RemoteSysCpu",
    "CumulativeRemoteUserCpu",
    "CumulativeRemoteSysCpu",
)
#: The resources that a proc may request. Memory and disk are in MB.
RESOURCES = ("cpus", "memory", "disk", "gpus")
#: A request is far too large if a fraction of this is enough, and the difference is worth it (MB; CPUs).
_FAR, _WORTH = 4, {"memory": 1024, "disk": 10_240, "cpus": 1}
#: Seconds that a proc must have run before its use of CPUs is judged.
_LONG = 60
#: HTCondor updates the use of memory and disk of running procs by rough steps; smaller changes are no news.
_NEWS = 0.1

Usage = dict[str, Any]


def read_usage(ad: Mapping[str, Any], *, state_since: int | None) -> Usage | None:
    """The usage in an ad, for a JSON column; ``None``: the ad tells nothing.

    Args:
        ad: the attributes of :data:`ATTRIBUTES`, and JobStartDate.
        state_since: the start of the present run, in seconds since 1970; none: it does not run.
    """
    ran = _number(ad.get("JobStartDate")) is not None
    memory = _number(ad.get("MemoryUsage"))
    if memory is None and (kib := _number(ad.get("ResidentSetSize"))) is not None:
        memory = kib / 1024
    cpu = _sum(ad, "CumulativeRemoteUserCpu", "CumulativeRemoteSysCpu")
    last = _sum(ad, "RemoteUserCpu", "RemoteSysCpu")
    found: Usage = {
        "cpus": [_number(ad.get("RequestCpus")), _number(ad.get("CpusUsage"), 3) if ran else None],
        "memory": [_up(_number(ad.get("RequestMemory"))), _up(memory) if ran else None],
        "disk": [_up(_number(ad.get("RequestDisk")), 1024), _up(_number(ad.get("DiskUsage")), 1024) if ran else None],
        "gpus": [_number(ad.get("RequestGPUs")), _number(ad.get("GPUsAverageUsage"), 3) if ran else None],
    }
    found = {name: pair for name, pair in found.items() if pair != [None, None] and pair != [0, None]}
    if ran:
        found["wall"] = _number(ad.get("RemoteWallClockTime"))
        found["cpu"] = round(max(cpu, last), 1)
        found["since"] = state_since
    return {name: value for name, value in found.items() if value is not None} or None


def differs(before: Usage | None, now: Usage | None) -> bool:
    """Whether there is news of a running proc that is worth a write."""
    for name in RESOURCES:
        (_, old), (_, new) = ((usage or {}).get(name) or (None, None) for usage in (before, now))
        if new is not None and (old is None or abs(new - old) > max(_NEWS * max(old, new), 0.05)):
            return True
    return False


def resources_of(usages: Mapping[Any, Iterable[tuple[Usage | None, str | None]]]) -> dict[Any, dict[str, Any]]:
    """The resources of parts of a job, and of all of them as ``"total"``.

    Args:
        usages: for each part the usage and the machine of each of its procs.
    """
    parts = {name: list(procs) for name, procs in usages.items()}
    return {
        "total": _together([proc for procs in parts.values() for proc in procs]),
        **{name: _together(procs) for name, procs in parts.items()},
    }


def hints(resources: Mapping[Any, Mapping[str, Any]]) -> list[str]:
    """Where requests are far too large, or too small, for people."""
    parts = [part for name, part in resources.items() if name != "total"]
    found: list[str] = []
    for name, unit in (("memory", "MB"), ("disk", "MB")):
        pairs = [(part[name]["requested"], part[name]["used"]) for part in parts]
        known = [(asked, used) for asked, used in pairs if asked is not None and used is not None]
        if not known:
            continue
        asked, used = max(asked for asked, _ in known), max(used for _, used in known)
        enough = ceil(used * 1.25 / 128) * 128
        if used > asked:
            found.append(f"It used {used:,} {unit} of {name} and requested {asked:,}: raise request_{name}.")
        elif asked >= _FAR * used and asked - used >= _WORTH[name]:
            text = f"It used at most {used:,} of {asked:,} {unit} of {name}: request_{name} = {enough}{unit} is enough."
            found.append(text)
    busy = [part for part in parts if part["cpus"]["used"] is not None and (part["wall_seconds"] or 0) >= _LONG]
    if busy:
        asked, used = (max(part["cpus"][key] or 0 for part in busy) for key in ("requested", "used"))
        if asked and used > 1.25 * asked:
            found.append(
                f"It used {used:.1f} CPUs and requested {asked:g}: raise request_cpus, or limit its number of threads."
            )
        elif asked > 1 and asked >= _FAR * used:
            text = f"It used at most {used:.1f} of {asked:g} CPUs: request_cpus = {max(1, ceil(used))} is enough."
            found.append(text)
    return found


def _together(procs: list[tuple[Usage | None, str | None]]) -> dict[str, Any]:
    known = [usage for usage, _ in procs if usage]
    hosts = {host for _, host in procs if host}
    walls = [_wall(usage) for usage in known]
    found: dict[str, Any] = {
        name: {
            "requested": _total(usage.get(name, (None, None))[0] for usage in known),
            "used": _total(usage.get(name, (None, None))[1] for usage in known),
        }
        for name in RESOURCES
    }
    return {
        **found,
        "wall_seconds": _total(walls),
        "cpu_seconds": _total(usage.get("cpu") for usage in known),
        "efficiency": _efficiency(known, walls),
        "host": next(iter(hosts)) if len(hosts) == 1 else None,
    }


def _wall(usage: Usage) -> float | None:
    """Seconds on machines, all runs of the proc together."""
    wall: float | None = usage.get("wall")
    if wall is None or usage.get("since") is None:
        return wall
    running: float = clock.now().timestamp() - usage["since"]
    return wall + max(0.0, round(running))


def _efficiency(usages: Iterable[Usage], walls: Iterable[float | None]) -> float | None:
    """The part of the requested CPUs that was used, by time."""
    asked_seconds = used_seconds = 0.0
    for usage, wall in zip(usages, walls, strict=True):
        asked, used = usage.get("cpus", (None, None))
        if not asked or not wall:
            continue
        # Of a run that is over, the seconds are exact; of others, HTCondor reports an average now and then.
        seconds = usage.get("cpu") or 0.0
        if usage.get("since") is not None or not seconds:
            seconds = (used or 0.0) * wall
        asked_seconds += asked * wall
        used_seconds += seconds
    return min(1.0, round(used_seconds / asked_seconds, 3)) if asked_seconds else None


def _total(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if known else None


def _sum(ad: Mapping[str, Any], *names: str) -> float:
    return sum(_number(ad.get(name)) or 0.0 for name in names)


def _number(value: Any, digits: int | None = None) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if digits is None else round(value, digits)


def _up(value: Any, unit: int = 1) -> int | None:
    return None if value is None else ceil(value / unit)
