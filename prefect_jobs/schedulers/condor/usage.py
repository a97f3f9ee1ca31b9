"""What procs have requested and used, by their ads. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
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
    "MemoryProvisioned",
    "DiskProvisioned",
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
_FAR, _WORTH = 4, {"memory": 1024, "disk": 10_240}
#: The step of sizes that are suggested, in MB, and the number of hints.
_LEAST, _HINTS = 128, 10
#: Seconds that a proc must have run before its use is judged: HTCondor measures it about once a minute.
_LONG = 60
#: HTCondor updates the use of memory and disk of running procs by rough steps; smaller changes are no news.
_NEWS = 0.1

Usage = dict[str, Any]


def read_usage(ad: Mapping[str, Any], *, state_since: int | None) -> Usage | None:
    """The usage in an ad, for a JSON column; ``None``: the ad tells nothing.

    Args:
        ad: the attributes of :data:`ATTRIBUTES`, and JobStartDate, JobCurrentStartDate, CompletionDate.
        state_since: the start of the present run, in seconds since 1970; none: it does not run.
    """
    ran = _number(ad.get("JobStartDate")) is not None
    memory = _number(ad.get("MemoryUsage"))
    if memory is None and (kib := _number(ad.get("ResidentSetSize"))) is not None:
        memory = kib / 1024
    cpu = _sum(ad, "CumulativeRemoteUserCpu", "CumulativeRemoteSysCpu")
    last = _sum(ad, "RemoteUserCpu", "RemoteSysCpu")
    asked = {name: _number(ad.get(f"Request{name}")) for name in ("Memory", "Disk")}
    for name in asked if ran else ():
        if asked[name] is None:  # not given, or an expression: what it had is known
            asked[name] = _number(ad.get(f"{name}Provisioned"))
    found: Usage = {
        "cpus": [_number(ad.get("RequestCpus")), _number(ad.get("CpusUsage"), 3) if ran else None],
        "memory": [_up(asked["Memory"]), _up(memory) if ran else None],
        "disk": [_up(asked["Disk"], 1024), _up(_number(ad.get("DiskUsage")), 1024) if ran else None],
        "gpus": [_number(ad.get("RequestGPUs")), _number(ad.get("GPUsAverageUsage"), 3) if ran else None],
    }
    found = {name: pair for name, pair in found.items() if pair != [None, None] and pair != [0, None]}
    wall = _number(ad.get("RemoteWallClockTime"))
    start, end = _number(ad.get("JobCurrentStartDate")), _number(ad.get("CompletionDate"))
    if not wall and start and end:  # the schedd adds the last run a moment after its end
        wall = max(end - start, 0)
    if "cpus" in found and not cpu and not last and (wall or 0) < _LONG:
        found["cpus"] = [found["cpus"][0], None]  # it was not measured yet
    if ran:
        found["wall"] = wall
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


#: Usage and machine of a proc.
Proc = tuple[Usage | None, str | None]


def resources_of(parts: Mapping[Any, Iterable[Proc]], end: datetime | None = None) -> dict[Any, dict[str, Any]]:
    """The resources of parts of a job, and of all of them as ``"total"``, which hides a part of that name.

    Args:
        parts: for each part its procs.
        end: when the job ended; none: it is not over.
    """
    procs = {name: list(each) for name, each in parts.items()}
    found = {name: _together(each, end) for name, each in procs.items()}
    total = _together([proc for each in procs.values() for proc in each], end)
    return {"total": total, **{name: part for name, part in found.items() if name != "total"}}


def hints(parts: Mapping[str, Iterable[Proc]]) -> list[str]:
    """Where requests are far too large, or too small, for people.

    Args:
        parts: the procs that have the same requests, by the name of the node that they are; ``""``: the job itself.
    """
    found: list[str] = []
    for name, procs in parts.items():
        usages = [usage for usage, _ in procs if usage and (_wall(usage, None) or 0) >= _LONG]
        texts = [*(_about(kind, usages) for kind in ("memory", "disk")), _about_cpus(usages)]
        found += [f"Node {name}: {text}" if name else text for text in texts if text]
    return found if len(found) <= _HINTS else [*found[:_HINTS], f"… and {len(found) - _HINTS} more."]


def _about(kind: str, usages: Iterable[Usage]) -> str:
    """A hint about memory or disk; empty: none."""
    known = _known(kind, usages)
    if not known:
        return ""
    asked, used = max(asked for asked, _ in known), max(used for _, used in known)
    enough = max(_LEAST, ceil(used * 1.25 / _LEAST) * _LEAST)
    if used > asked:
        return f"It used {used:,} MB of {kind} and requested {asked:,}: raise request_{kind}."
    if used and asked >= _FAR * used and asked - enough >= _WORTH[kind]:
        return f"It used at most {used:,} of {asked:,} MB of {kind}: request_{kind} = {enough}MB is enough."
    return ""


def _known(kind: str, usages: Iterable[Usage]) -> list[tuple[Any, Any]]:
    """Requests and use, where both are known."""
    pairs = (usage.get(kind) or (None, None) for usage in usages)
    return [(asked, used) for asked, used in pairs if asked is not None and used is not None]


def _about_cpus(usages: Iterable[Usage]) -> str:
    known = _known("cpus", usages)
    asked, used = max((asked for asked, _ in known), default=0), max((used for _, used in known), default=0.0)
    if asked and used > 1.25 * asked:
        return f"It used {used:.1f} CPUs and requested {asked:g}: raise request_cpus, or limit its number of threads."
    if asked > 1 and used and asked >= _FAR * used:
        return f"It used at most {used:.1f} of {asked:g} CPUs: request_cpus = {max(1, ceil(used))} is enough."
    return ""


def _together(procs: list[Proc], end: datetime | None) -> dict[str, Any]:
    known = [usage for usage, _ in procs if usage]
    hosts = {host for _, host in procs if host}
    walls = [_wall(usage, end) for usage in known]
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


def _wall(usage: Usage, end: datetime | None) -> float | None:
    """Seconds on machines, all runs of the proc together. One that was last seen running ran to the end of the job."""
    wall: float | None = usage.get("wall")
    if wall is None or usage.get("since") is None:
        return wall
    running: float = (end or clock.now()).timestamp() - usage["since"]
    return wall + max(0.0, round(running))


def _efficiency(usages: Iterable[Usage], walls: Iterable[float | None]) -> float | None:
    """The part of the requested CPUs that was used, by time."""
    asked_seconds = used_seconds = 0.0
    for usage, wall in zip(usages, walls, strict=True):
        asked, used = usage.get("cpus", (None, None))
        if not asked or not wall or (used is None and not usage.get("cpu")):
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
