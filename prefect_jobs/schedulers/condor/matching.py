"""Why idle procs wait: how their requirements and requests match the slots of the pool, and a sentence about it.

:func:`analyze_all` runs in the helper, which has the ads; :func:`explain` reads what it has found.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: Slots that are compared at most.
MOST = 5000
#: Resource → attribute of the request, of the slot, and of the whole machine of a partitionable slot; unit; divisor.
_RESOURCES = {
    "cpus": ("RequestCpus", "Cpus", "TotalSlotCpus", "", 1),
    "memory": ("RequestMemory", "Memory", "TotalSlotMemory", " MB", 1),
    "disk": ("RequestDisk", "Disk", "TotalSlotDisk", " MB", 1024),
    "gpus": ("RequestGPUs", "GPUs", "TotalSlotGPUs", "", 1),
}
#: Clauses that the requests tell better.
_ABOUT_REQUESTS = ("RequestCpus", "RequestMemory", "RequestDisk", "RequestGPUs")

#: Ads of partitions come and go with the jobs in them.
_PARENTS = 'SlotType =!= "Dynamic"'

Found = dict[str, Any]


@dataclass(frozen=True)
class Pool:
    """What the collector knows of the pool."""

    slots: Sequence[Any]
    #: Whether there is a negotiator, which starts jobs.
    negotiator: bool
    #: Priority of each user who has used the pool; a smaller one is better.
    priorities: Mapping[str, float]
    #: The users who have idle jobs.
    waiting: frozenset[str]
    #: The number of jobs that the access point may run; ``None``: it runs fewer.
    most: int | None

    @classmethod
    def read(cls, collector: Any, types: Any, schedd: Mapping[str, Any]) -> "Pool":
        """Asks the collector.

        Args:
            collector: of the pool.
            types: the types of ads.
            schedd: the access point's ad.
        """
        users = collector.query(types.Accounting, "IsAccountingGroup =!= true", ["Name", "Priority"])
        submitters = collector.query(types.Submitter, "IdleJobs > 0", ["Name"])
        most, running = schedd.get("MaxJobsRunning"), schedd.get("TotalRunningJobs")
        full = type(most) is int and type(running) is int and running >= most > 0
        return cls(
            slots=collector.query(types.Startd, _PARENTS),
            negotiator=bool(collector.query(types.Negotiator, "true", ["Name"])),
            priorities={str(ad.get("Name")): float(ad.get("Priority", 0)) for ad in users},
            waiting=frozenset(str(ad.get("Name")) for ad in submitters),
            most=most if full else None,
        )

    def about(self, job: Mapping[str, Any]) -> Found:
        """What matters to a proc besides its requirements; see :func:`explain`."""
        mine = str(job.get("AccountingGroup") or job.get("User"))
        others = {name: self.priorities[name] for name in self.waiting - {mine} if name in self.priorities}
        own = self.priorities.get(mine)
        return {
            "negotiator": self.negotiator,
            "before": sum(priority < own for priority in others.values()) if own is not None else 0,
            "users": len(others) + 1,
            "most": self.most,
            "rejected": str(job.get("LastRejMatchReason") or ""),
            "rejected_at": int(job.get("LastRejMatchTime") or 0),
        }


def first_of_most(ads: Sequence[Mapping[str, Any]]) -> str | None:
    """A constraint for the first of those procs that most of the others are like; ``None``: there are none."""
    if not ads:
        return None
    most = Counter(ad.get("AutoClusterId") for ad in ads).most_common(1)[0][0]
    first = next(ad for ad in ads if ad.get("AutoClusterId") == most)
    return f"ClusterId == {int(first['ClusterId'])} && ProcId == {int(first['ProcId'])}"


def analyze_all(schedd: Any, ad: Any, collector: Any, types: Any, constraints: Sequence[str]) -> list[Found]:
    """Asks an access point and its collector.

    Args:
        schedd: the access point.
        ad: its ad.
        collector: the pool's.
        types: HTCondor's types of ads.
        constraints: each matches the procs of one job.

    Returns:
        For each constraint ``idle``, the number of idle procs; and, if there are some, what :func:`explain` reads, of
        the first of those that most others are like.
    """
    pool: Pool | None = None
    found: list[Found] = []
    known: dict[Any, Found] = {}
    for constraint in constraints:
        idle = schedd.query(f"({constraint}) && JobStatus == 1", ["ClusterId", "ProcId", "AutoClusterId"])
        first = first_of_most(idle)
        jobs = schedd.query(first, limit=1) if first else []
        if not jobs:
            found.append({"idle": 0})
            continue
        pool = pool or Pool.read(collector, types, ad)
        key = jobs[0].get("AutoClusterId", first)
        if key not in known:
            known[key] = analyze(jobs[0], pool.slots)
        found.append({"idle": len(idle), **known[key], **pool.about(jobs[0])})
    return found


def analyze(job: Any, slots: Sequence[Any]) -> Found:
    """How a proc matches slots.

    Args:
        job: the proc's whole ad, a ClassAd.
        slots: ads of static and partitionable slots.
    """
    empty = [_empty(slot) for slot in slots[:MOST]]
    wanted = [slot for slot in empty if slot.matches(job)]
    could = [number for number, slot in enumerate(empty) if slot.matches(job) and job.matches(slot)]
    found: Found = {
        "slots": len(empty),
        "wanted": len(wanted),
        "could": len(could),
        "free": sum(bool(slots[number].matches(job) and job.matches(slots[number])) for number in could),
        "unfit": _unfit(job, empty),
    }
    if not wanted:
        found["clauses"] = _clauses(job, empty)
    return found


def explain(found: Mapping[str, Any]) -> str:
    """A sentence that people can act on.

    Args:
        found: what :func:`analyze_all` returns for one job. In it ``rejected`` is the negotiator's reason, at
        ``rejected_at``, in seconds since 1970; ``before`` is the number of users whose priority is better, of
        ``users``; ``most`` is the number of jobs that the access point may run, if it runs so many.
    """
    slots = found["slots"]
    if not slots:
        return "The pool has no machine that takes jobs: its collector knows no slot."
    if found["unfit"]:
        parts = [
            f"{name}: {asked:,}{unit} requested, the largest slot has {most:,}{unit}"
            for name, asked, most, unit in found["unfit"]
        ]
        names = " and ".join(f"request_{name}" for name, *_ in found["unfit"])
        return f"No slot of {slots} is large enough ({'; '.join(parts)}). Lower {names}."
    if not found["wanted"]:
        return _no_wish(found)
    if not found["could"]:
        return (
            f"{found['wanted']} of {slots} slots fulfil its requirements, but none of them takes it: their own START "
            "expressions, which the pool's administrators set, refuse it."
        )
    text = f"{found['could']} of {slots} slots can run it"
    if not found["free"]:
        text += ", all are busy. It starts when one of them has room."
    elif found.get("negotiator") is False:
        text += f", {found['free']} now; but the pool has no negotiator, so nothing is started."
    else:
        text += f", {found['free']} have room now. The negotiator gives it one in its next round, about once a minute."
    return text + _turn(found)


def clauses_of(text: str) -> list[str]:
    """The parts of an expression that all must be true."""
    text = _bare(text.strip())
    parts = _split(text)
    return [text] if len(parts) == 1 else [clause for part in parts for clause in clauses_of(part)]


def _no_wish(found: Mapping[str, Any]) -> str:
    slots = found["slots"]
    none = [clause for clause, matching in found["clauses"] if not matching]
    if none:
        what = " and ".join(f"`{clause}`" for clause in none[:3])
        word = "requirement" if len(none) == 1 else "requirements"
        return f"No slot of {slots} fulfils the {word} {what}. Change requirements, or ask for such a machine."
    counted = ", ".join(f"`{clause}`: {matching}" for clause, matching in found["clauses"][:5] if matching < slots)
    return f"No slot of {slots} fulfils all requirements at once (slots that fulfil one of them: {counted or 'none'})."


def _turn(found: Mapping[str, Any]) -> str:
    text = ""
    if found.get("most"):
        text += f" The access point runs {found['most']:,} jobs, as many as it may."
    if found.get("before"):
        text += f" {found['before']} of {found['users']} users have a better priority."
    reason = str(found.get("rejected") or "").strip().rstrip(".")
    if reason and reason != "no match found":
        at = datetime.fromtimestamp(found.get("rejected_at") or 0, UTC)
        text += f" The negotiator said at {at:%Y-%m-%d %H:%M} UTC: {reason}."
    return text


def _empty(slot: Any) -> Any:
    """A slot as it is when nothing runs in it."""
    if slot.get("PartitionableSlot") is not True:
        return slot
    found = type(slot)()
    found.update(slot)
    for _, name, total, _, _ in _RESOURCES.values():
        if type(slot.get(total)) in (int, float):
            found[name] = slot[total]
    return found


def _unfit(job: Any, slots: Iterable[Any]) -> list[tuple[str, int, int, str]]:
    """Requests that are larger than any slot: resource, request, the largest slot, unit."""
    found = []
    for name, (request, has, _, unit, divisor) in _RESOURCES.items():
        asked = job.eval(request) if request in job else None
        if type(asked) not in (int, float) or not asked:
            continue
        there = [value for slot in slots if type(value := slot.get(has, 0)) in (int, float)]
        if there and max(there) < asked:
            found.append((name, int(asked // divisor), int(max(there) // divisor), unit))
    return found


def _clauses(job: Any, slots: Sequence[Any]) -> list[tuple[str, int]]:
    """Each clause of the requirements that does not tell of requests, with the number of slots that fulfil it."""
    found = []
    for clause in clauses_of(str(job.get("Requirements", "true"))):
        if any(name in clause for name in _ABOUT_REQUESTS):
            continue
        trial = type(job)()
        trial.update(job)
        trial["Requirements"] = type(job)(f"[Requirements = {clause}]").lookup("Requirements")
        found.append((clause, sum(bool(slot.matches(trial)) for slot in slots)))
    return found


def _split(text: str) -> list[str]:
    """At each ``&&`` outside of brackets and texts; not where ``||`` or ``?`` binds less."""
    parts, depth, start, quote = [], 0, 0, ""
    for number, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[number - 1] != "\\" else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif depth == 0 and (text.startswith("||", number) or (letter == "?" and text[number - 1] != "=")):
            return [text]
        elif depth == 0 and text.startswith("&&", number):
            parts.append(text[start:number])
            start = number + 2
    return [*parts, text[start:]]


def _bare(text: str) -> str:
    """Without the brackets around all of it."""
    while text.startswith("(") and _closes(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _closes(text: str) -> int:
    """The position of the bracket that closes the first one."""
    depth, quote = 0, ""
    for number, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[number - 1] != "\\" else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter == ")":
            depth -= 1
            if not depth:
                return number
    return -1
