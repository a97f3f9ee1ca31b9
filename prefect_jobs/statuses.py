"""The status vocabulary of the Tethys Jobs API and what each status means to Prefect, as data.

A status has a display name (``"Running"``) and a three-letter code (``"RUN"``). Any other text is a
*custom status*: its code is ``OTH``, its text is kept, and a :class:`StatusClass` gives its meaning.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

#: Prefect's state types that a status can become.
StateType = Literal["PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
TerminalStateType = Literal["COMPLETED", "FAILED", "CANCELLED"]

PENDING = "Pending"
SUBMITTED = "Submitted"
RUNNING = "Running"
VARIOUS = "Various"
PAUSED = "Paused"
RESULTS_READY = "Results-Ready"
COMPLETE = "Complete"
ERROR = "Error"
ABORTED = "Aborted"
VARIOUS_COMPLETE = "Various-Complete"
OTHER = "Other"
#: The custom status of a job that its scheduler, not a person, put on hold.
HELD = "Held"

OTHER_CODE = "OTH"

#: A custom text longer than this is refused.
MAX_STATUS_LENGTH = 255


@dataclass(frozen=True)
class StatusClass:
    """What a status means: the lists that it is in, and the Prefect state type that shows it.

    ``None`` as ``state_type``: the flow run keeps its state type (an unclassified custom status).
    """

    pre_running: bool = False
    running: bool = False
    active: bool = False
    terminal: bool = False
    non_terminal: bool = False
    state_type: StateType | None = None

    def encode(self) -> str:
        """A short text that is stored with the job, so that a process that has not registered the status
        still treats the job correctly."""
        flags = "".join(
            letter
            for letter, on in zip(
                "pratn",
                (self.pre_running, self.running, self.active, self.terminal, self.non_terminal),
                strict=True,
            )
            if on
        )
        return f"{flags}:{self.state_type or ''}"

    @classmethod
    @lru_cache(256)
    def decode(cls, text: str) -> "StatusClass":
        """The inverse of :meth:`encode`."""
        flags, _, state_type = text.partition(":")
        return cls(
            pre_running="p" in flags,
            running="r" in flags,
            active="a" in flags,
            terminal="t" in flags,
            non_terminal="n" in flags,
            state_type=state_type or None,  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Official:
    """One line of the status table."""

    code: str
    name: str
    kind: StatusClass
    #: Name of the Prefect state; official Prefect names where there is one.
    state_name: str


_TABLE: tuple[Official, ...] = (
    Official("PEN", PENDING, StatusClass(pre_running=True, non_terminal=True, state_type="PENDING"), "Pending"),
    Official(
        "SUB",
        SUBMITTED,
        StatusClass(pre_running=True, active=True, non_terminal=True, state_type="PENDING"),
        "Submitted",
    ),
    Official(
        "RUN",
        RUNNING,
        StatusClass(running=True, active=True, non_terminal=True, state_type="RUNNING"),
        "Running",
    ),
    Official(
        "VAR",
        VARIOUS,
        StatusClass(running=True, active=True, non_terminal=True, state_type="RUNNING"),
        "Various",
    ),
    Official("PAS", PAUSED, StatusClass(non_terminal=True, state_type="PAUSED"), "Paused"),
    Official("RES", RESULTS_READY, StatusClass(terminal=True, state_type="RUNNING"), "Results-Ready"),
    Official("COM", COMPLETE, StatusClass(terminal=True, state_type="COMPLETED"), "Completed"),
    Official("ERR", ERROR, StatusClass(terminal=True, state_type="FAILED"), "Failed"),
    Official("ABT", ABORTED, StatusClass(terminal=True, state_type="CANCELLED"), "Cancelled"),
    Official("VCP", VARIOUS_COMPLETE, StatusClass(terminal=True, state_type="FAILED"), "Various-Complete"),
)

BY_CODE: dict[str, Official] = {line.code: line for line in _TABLE}
BY_NAME: dict[str, Official] = {line.name: line for line in _TABLE}

STATUSES: tuple[tuple[str, str], ...] = (
    *((line.code, line.name) for line in _TABLE),
    (OTHER_CODE, OTHER),
)
VALID_STATUSES: list[str] = [code for code, _ in STATUSES]
DISPLAY_STATUSES: list[str] = [name for _, name in STATUSES]
PRE_RUNNING_STATUSES: list[str] = [line.name for line in _TABLE if line.kind.pre_running]
RUNNING_STATUSES: list[str] = [line.name for line in _TABLE if line.kind.running]
ACTIVE_STATUSES: list[str] = [line.name for line in _TABLE if line.kind.active]
NON_TERMINAL_STATUSES: list[str] = [line.name for line in _TABLE if line.kind.non_terminal]
TERMINAL_STATUSES: list[str] = [line.name for line in _TABLE if line.kind.terminal]
#: The key of ``extended_properties`` that has the text of a custom status.
OTHER_STATUS_KEY = "__other_status__"
#: The codes of these official statuses.
NON_TERMINAL_STATUS_CODES: list[str] = [code for code, name in STATUSES if name in NON_TERMINAL_STATUSES]
TERMINAL_STATUS_CODES: list[str] = [code for code, name in STATUSES if name in TERMINAL_STATUSES]

#: Held by the scheduler: shown as paused, still polled.
HELD_CLASS = StatusClass(non_terminal=True, state_type="PAUSED")
UNCLASSIFIED = StatusClass()

#: Custom statuses of this process, by text. The Tethys Jobs API documents this registry as shared state.
_custom: dict[str, StatusClass] = {HELD: HELD_CLASS}


def register_custom_status(status: str, kind: StatusClass) -> None:
    """Makes ``status`` a custom status of the class ``kind`` for this process.

    Raises:
        ValueError: the text is an official status, blank or too long.
    """
    text = check_text(status)
    if text in BY_NAME or text in BY_CODE or text in (OTHER, OTHER_CODE):
        raise ValueError(f"{text!r} is an official status and cannot be registered as a custom one.")
    if text == HELD and kind != HELD_CLASS:
        raise ValueError(f"{HELD!r} is the status of jobs that a scheduler holds; choose another text.")
    previous = _custom.get(text)
    _custom[text] = kind
    _sync_lists(text, previous, kind)


def _sync_lists(text: str, previous: StatusClass | None, kind: StatusClass) -> None:
    """Keeps the public lists (``Job.RUNNING_STATUSES``, …) in step with the registered statuses."""
    for names, flag in (
        (PRE_RUNNING_STATUSES, "pre_running"),
        (RUNNING_STATUSES, "running"),
        (ACTIVE_STATUSES, "active"),
        (NON_TERMINAL_STATUSES, "non_terminal"),
        (TERMINAL_STATUSES, "terminal"),
    ):
        if previous is not None and getattr(previous, flag) and text in names:
            names.remove(text)
        if getattr(kind, flag):
            names.append(text)


def check_text(status: str) -> str:
    """The status text without outer white space.

    Raises:
        ValueError: it is blank, not a string, or longer than 255 characters.
    """
    if not isinstance(status, str) or not status.strip():
        raise ValueError(f"A status is a text, not {status!r}.")
    text = status.strip()
    if len(text) > MAX_STATUS_LENGTH:
        raise ValueError(f"The status {text[:40]!r}… has {len(text)} characters; the limit is {MAX_STATUS_LENGTH}.")
    return text


@dataclass(frozen=True)
class Status:
    """A status as it is stored: the code, the text that people see, and its class."""

    code: str
    text: str
    kind: StatusClass

    @property
    def custom(self) -> bool:
        """Whether this is not one of the official statuses."""
        return self.code == OTHER_CODE


def parse(status: str) -> Status:
    """The status with a display name, a code, or any custom text.

    Raises:
        ValueError: see :func:`check_text`.
    """
    text = check_text(status)
    official = BY_NAME.get(text) or BY_CODE.get(text)
    if official is not None:
        return Status(official.code, official.name, official.kind)
    if text == OTHER_CODE:
        text = OTHER
    return Status(OTHER_CODE, text, _custom.get(text, UNCLASSIFIED))


def is_final(status: Status) -> bool:
    """Whether nothing more happens by itself: all terminal statuses but Results-Ready."""
    return status.kind.terminal and status.text != RESULTS_READY
