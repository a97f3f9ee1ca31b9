"""What is done in a soak, drawn from its seed: jobs, their lengths and ends, and who is killed when. Pure."""

import hashlib
import random
from dataclasses import dataclass

from prefect_jobs import statuses

KINDS = ("monitor", "schedd", "prefect", "dask")
#: Seconds that the longest job sleeps.
LONGEST = 8.0


@dataclass(frozen=True)
class Size:
    """How much is done."""

    condor: int
    dask: int
    #: Seconds within which jobs come and parts are killed.
    seconds: float
    #: How often each part is killed.
    kills: dict[str, int]
    #: How many of the jobs are submitted by a process that is killed while it does so.
    interrupted: int
    #: Seconds that everything may take to come to its end afterwards.
    patience: float


SHORT = Size(16, 6, 24, {"monitor": 2, "schedd": 1, "prefect": 1, "dask": 1}, 3, 150)
LONG = Size(200, 50, 1000, {"monitor": 45, "schedd": 18, "prefect": 12, "dask": 30}, 30, 300)


@dataclass(frozen=True)
class JobPlan:
    """A job, and how it must end."""

    number: int
    engine: str
    #: Seconds after the beginning.
    arrival: float
    #: Seconds that it sleeps.
    length: float
    #: The exit code of each process; of a Dask job, 1: it raises.
    codes: tuple[int, ...]
    #: What its input holds, which its outputs must hold as well; of a Dask job, its result.
    text: str
    #: Seconds after which the process that submits it is killed; none: it is not.
    interrupted: float | None = None

    @property
    def name(self) -> str:
        """Of the job; there is no other of that name."""
        return f"soak {self.number}"

    @property
    def status(self) -> str:
        """The status that its exit codes demand."""
        if not any(self.codes):
            return statuses.COMPLETE
        return statuses.ERROR if all(self.codes) else statuses.VARIOUS_COMPLETE

    def output(self, process: int) -> str:
        """What a process leaves in ``out-<process>.txt``."""
        return f"{self.text}process {process}\n"

    @property
    def line(self) -> str:
        """The shell's line of each process, which has its number as ``$0``."""
        ends = " ".join(f"{process}) exit {code};;" for process, code in enumerate(self.codes))
        return (
            f"sleep {self.length}; cat {self.input_name} > out-$0.txt; "
            f'echo "process $0" >> out-$0.txt; case $0 in {ends} esac'
        )

    @property
    def input_name(self) -> str:
        """Of the file with the text."""
        return f"input-{self.number}.txt"


def jobs(seed: int, size: Size) -> list[JobPlan]:
    """The jobs, in no order."""
    draw = random.Random(f"{seed} jobs")  # noqa: S311
    count = size.condor + size.dask
    interrupted = set(draw.sample(range(count), size.interrupted))
    made = []
    for number in range(count):
        condor = number < size.condor
        processes = draw.choice((1, 1, 1, 2, 3)) if condor else 1
        made.append(
            JobPlan(
                number=number,
                engine="CONDOR" if condor else "DASK",
                # The others come up to the end: those that are found out about half a minute later come before.
                arrival=draw.uniform(0, (0.4 if number in interrupted else 0.95) * size.seconds),
                length=round(draw.uniform(0, LONGEST), 1) if draw.random() < 0.9 else 0,
                codes=tuple(_code(draw) if condor else int(draw.random() < 0.25) for _ in range(processes)),
                text=_text(f"{seed} {number}", draw.randrange(1, 2000)),
                interrupted=draw.uniform(0, 2.5) if number in interrupted else None,
            )
        )
    return made


def kills(seed: int, size: Size, kind: str) -> list[float]:
    """When a part is killed: seconds after the beginning, in order."""
    draw = random.Random(f"{seed} {kind}")  # noqa: S311
    return sorted(draw.uniform(0.05, 1) * size.seconds for _ in range(size.kills[kind]))


def _code(draw: random.Random) -> int:
    return 0 if draw.random() < 0.7 else draw.randint(1, 5)


def _text(what: str, lines: int) -> str:
    """Lines that no other job has."""
    return f"{hashlib.sha256(what.encode()).hexdigest()[:30]}\n" * lines
