"""Why idle procs wait: how their requirements and requests match the slots of the pool, and a sentence about it.

:func:`analyze_all` runs in the helper, which has the ads; :func:`explain` reads what it has found.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

#: Ads of partitions come and go with the jobs in them; machines that sleep are offline.
_SLOTS = 'SlotType =!= "Dynamic" && Offline =!= true'
#: What is always read of the slots of a pool that has too many.
_READ = ("Name", "State", "PartitionableSlot", *(each for pair in _RESOURCES.values() for each in pair[1:3]))
_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Number of idle procs of a job that are compared with each other.
_LOOKED = 200

Found = dict[str, Any]


@dataclass(frozen=True)
class Pool:
    """What the collector knows of the pool."""

    slots: Sequence[Any]
    #: The same as they are when nothing runs in them.
    empty: Sequence[Any]
    #: Whether their own policies are known.
    policies: bool
    #: Whether there is a negotiator, which starts jobs.
    negotiator: bool
    #: Priority of each user who has used the pool; a smaller one is better.
    priorities: Mapping[str, float]
    #: The users who have idle jobs.
    waiting: frozenset[str]
    #: The number of jobs that the access point may run; ``None``: it runs fewer.
    most: int | None

    @classmethod
    def read(cls, collector: Any, types: Any, name: str, jobs: Iterable[Any] = ()) -> "Pool":
        """Asks the collector.

        Args:
            collector: of the pool.
            types: the types of ads.
            name: the access point's.
            jobs: ads of procs: of the slots of a very large pool, only what these refer to is read.
        """
        users = collector.query(types.Accounting, "IsAccountingGroup =!= true", ["Name", "Priority"])
        submitters = collector.query(types.Submitter, "IdleJobs > 0", ["Name"])
        many = len(collector.query(types.Startd, _SLOTS, ["Name"])) > MOST
        # The policy of a slot may read any of its attributes, so all of them are needed, as far as that is possible.
        named = {name for job in jobs for name in _NAMES.findall(str(job.get("Requirements", "")))}
        slots = collector.query(types.Startd, _SLOTS, sorted({*_READ, *named}) if many else [])[:MOST]
        own = collector.query(types.Schedd, f'Name == "{name}"', ["MaxJobsRunning", "TotalRunningJobs"])
        most, running = (own[0].get(key) if own else None for key in ("MaxJobsRunning", "TotalRunningJobs"))
        full = type(most) is int and type(running) is int and running >= most > 0
        return cls(
            slots=slots,
            empty=[_empty(slot) for slot in slots],
            policies=not many,
            negotiator=bool(collector.query(types.Negotiator, "true", ["Name"])),
            priorities={_user(ad.get("Name")): float(ad.get("Priority", 0)) for ad in users},
            waiting=frozenset(_user(ad.get("Name")) for ad in submitters),
            most=most if full else None,
        )

    def about(self, job: Mapping[str, Any]) -> Found:
        """What matters to a proc besides its requirements; see :func:`explain`."""
        mine = _user(job.get("AccountingGroup") or job.get("User"))
        others = {name: self.priorities[name] for name in self.waiting - {mine} if name in self.priorities}
        own = self.priorities.get(mine)
        return {
            "negotiator": self.negotiator,
            "before": sum(priority < own for priority in others.values()) if own is not None else 0,
            "users": len(others) + 1,
            "most": self.most,
            "rejected": str(job.get("LastRejMatchReason") or ""),
        }


def _user(name: Any) -> str:
    """A user or an accounting group, without the domain, which not all ads have."""
    return str(name).partition("@")[0]


def first_of_most(ads: Sequence[Mapping[str, Any]]) -> str | None:
    """A constraint for the first of those procs that most of the others are like; ``None``: there are none."""
    if not ads:
        return None
    most = Counter(ad.get("AutoClusterId") for ad in ads).most_common(1)[0][0]
    first = next(ad for ad in ads if ad.get("AutoClusterId") == most)
    return f"ClusterId == {int(first['ClusterId'])} && ProcId == {int(first['ProcId'])}"


def analyze_all(
    schedd: Any, name: str, collector: Any, types: Any, constraints: Sequence[str], seconds: float
) -> list[Found | None]:
    """Asks an access point and its collector.

    Args:
        schedd: the access point.
        name: its name.
        collector: the pool's.
        types: HTCondor's types of ads.
        constraints: each matches the procs of one job.
        seconds: after so many, the rest is left out.

    Returns:
        For each constraint what :func:`explain` reads, of the first idle proc of those that most others are like; empty
        if none is idle; ``None`` if there was no time for it.
    """
    until = time.monotonic() + seconds
    found: list[Found | None] = [None] * len(constraints)
    idle: dict[int, Any] = {}
    which = ["ClusterId", "ProcId", "AutoClusterId"]
    for number, constraint in enumerate(constraints):
        if time.monotonic() > until:
            break
        first = first_of_most(schedd.query(f"({constraint}) && JobStatus == 1", which, limit=_LOOKED))
        jobs = schedd.query(first, limit=1) if first else []
        if jobs:
            idle[number] = jobs[0]
        else:
            found[number] = {}
    if not idle:
        return found
    pool = Pool.read(collector, types, name, idle.values())
    known: dict[Any, Found] = {}
    for number, job in idle.items():
        key = job.get("AutoClusterId", number)
        if key not in known and time.monotonic() > until and known:
            continue  # one is told in any case
        if key not in known:
            known[key] = analyze(job, pool)
        found[number] = {**known[key], **pool.about(job)}
    return found


def analyze(job: Any, pool: Pool) -> Found:
    """How a proc, given by its whole ad, matches the slots of a pool."""
    wanted = [number for number, slot in enumerate(pool.empty) if slot.matches(job)]
    could = [number for number in wanted if not pool.policies or job.matches(pool.empty[number])]
    found: Found = {
        "slots": len(pool.slots),
        "wanted": len(wanted),
        "could": len(could),
        "free": sum(_has_room(pool.slots[number]) and bool(pool.slots[number].matches(job)) for number in could),
        "unfit": _unfit(job, pool.empty),
    }
    if not could and not found["unfit"]:
        found["apart"] = _apart(job, pool.empty)
    if not wanted:
        found["clauses"] = _clauses(job, pool.empty)
    return found


def explain(found: Mapping[str, Any]) -> str:
    """A sentence that people can act on; empty: no proc is idle.

    Args:
        found: what :func:`analyze_all` returns for one job. In it ``rejected`` is the negotiator's reason; ``before``
        is the number of users whose priority is better, of ``users``; ``most`` is the number of jobs that the access
        point may run, if it runs so many; ``apart`` are requests that no slot has together.
    """
    if not found:
        return ""
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
    if found.get("apart"):
        parts = [f"{name}: {asked:,}{unit}" for name, asked, unit in found["apart"]]
        return f"No slot of {slots} has all that is requested together ({'; '.join(parts)}). Lower one of these."
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


def _quoted(clause: str) -> str:
    """A clause between backticks, which pages show as code."""
    return clause.replace("`", "'")


def _no_wish(found: Mapping[str, Any]) -> str:
    slots = found["slots"]
    none = [clause for clause, matching in found["clauses"] if not matching]
    if none:
        what = " and ".join(f"`{_quoted(clause)}`" for clause in none[:3])
        word = "requirement" if len(none) == 1 else "requirements"
        return f"No slot of {slots} fulfils the {word} {what}. Change requirements, or ask for such a machine."
    counted = ", ".join(
        f"`{_quoted(clause)}`: {matching}" for clause, matching in found["clauses"][:5] if matching < slots
    )
    return f"No slot of {slots} fulfils all requirements at once (slots that fulfil one of them: {counted or 'none'})."


def _turn(found: Mapping[str, Any]) -> str:
    text = ""
    if found.get("most"):
        text += f" The access point runs {found['most']:,} jobs, as many as it may."
    if found.get("before"):
        text += f" {found['before']} of {found['users']} users have a better priority."
    reason = str(found.get("rejected") or "").strip().rstrip(".")
    if reason and reason != "no match found":
        text += f" The negotiator said: {reason}."
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


def _has_room(slot: Any) -> bool:
    """Whether something may start in a slot now, as far as its state tells."""
    return slot.get("PartitionableSlot") is True or slot.get("State") == "Unclaimed"


def _requests(job: Any) -> dict[str, float]:
    """What a proc requests, by resource."""
    found = {}
    for name, (request, *_) in _RESOURCES.items():
        asked = job.eval(request) if request in job else None
        if type(asked) in (int, float) and asked:
            found[name] = asked
    return found


def _apart(job: Any, slots: Iterable[Any]) -> list[tuple[str, int, str]]:
    """Requests of which each fits somewhere, and all together nowhere: resource, request, unit."""
    asked = _requests(job)
    for slot in slots:
        if all(type(has := slot.get(_RESOURCES[name][1], 0)) in (int, float) and has >= asked[name] for name in asked):
            return []
    return [(name, int(asked[name] // _RESOURCES[name][4]), _RESOURCES[name][3]) for name in asked]


def _unfit(job: Any, slots: Iterable[Any]) -> list[tuple[str, int, int, str]]:
    """Requests that are larger than any slot: resource, request, the largest slot, unit."""
    found = []
    for name, asked in _requests(job).items():
        _, has, _, unit, divisor = _RESOURCES[name]
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
