"""The part of a job's class about statuses in general: the public lists, and custom statuses."""

from typing import ClassVar

from prefect_jobs import statuses
from prefect_jobs.statuses import StatusClass


class CustomStatuses:
    """Status lists, and registration of custom statuses for this process. The class of a status is stored with
    each job that gets it, so that other processes treat the job correctly without registering anything."""

    STATUSES: ClassVar[tuple[tuple[str, str], ...]] = statuses.STATUSES
    VALID_STATUSES: ClassVar[list[str]] = statuses.VALID_STATUSES
    DISPLAY_STATUSES: ClassVar[list[str]] = statuses.DISPLAY_STATUSES
    PRE_RUNNING_STATUSES: ClassVar[list[str]] = statuses.PRE_RUNNING_STATUSES
    RUNNING_STATUSES: ClassVar[list[str]] = statuses.RUNNING_STATUSES
    ACTIVE_STATUSES: ClassVar[list[str]] = statuses.ACTIVE_STATUSES
    NON_TERMINAL_STATUSES: ClassVar[list[str]] = statuses.NON_TERMINAL_STATUSES
    TERMINAL_STATUSES: ClassVar[list[str]] = statuses.TERMINAL_STATUSES

    #: Display name → code.
    REVERSE_STATUSES: ClassVar[dict[str, str]] = {name: code for code, name in statuses.STATUSES}
    NON_TERMINAL_STATUS_CODES: ClassVar[list[str]] = statuses.NON_TERMINAL_STATUS_CODES
    TERMINAL_STATUS_CODES: ClassVar[list[str]] = statuses.TERMINAL_STATUS_CODES
    #: The key of ``extended_properties`` that has the text of a custom status.
    OTHER_STATUS_KEY: ClassVar[str] = statuses.OTHER_STATUS_KEY

    @classmethod
    def add_custom_pre_running_status(cls, status: str) -> None:
        """Registers a status before the work runs: pre-running, non-terminal, PENDING in Prefect.

        Raises:
            ValueError: an official status, blank, or too long.
        """
        kind = StatusClass(pre_running=True, non_terminal=True, state_type="PENDING")
        statuses.register_custom_status(status, kind)

    @classmethod
    def add_custom_running_status(cls, status: str) -> None:
        """Registers a status of running work: running, active, non-terminal, RUNNING in Prefect.

        Raises:
            ValueError: an official status, blank, or too long.
        """
        kind = StatusClass(running=True, active=True, non_terminal=True, state_type="RUNNING")
        statuses.register_custom_status(status, kind)

    @classmethod
    def add_custom_active_status(cls, status: str) -> None:
        """Registers a status of work that the scheduler has accepted: active, non-terminal, RUNNING in Prefect.

        Raises:
            ValueError: an official status, blank, or too long.
        """
        statuses.register_custom_status(status, StatusClass(active=True, non_terminal=True, state_type="RUNNING"))

    @classmethod
    def add_custom_terminal_status(cls, status: str, state_type: statuses.TerminalStateType = "COMPLETED") -> None:
        """Registers a status of work that is over.

        Args:
            status: the text.
            state_type: what Prefect shows: ``"COMPLETED"``, ``"FAILED"`` or ``"CANCELLED"``.

        Raises:
            ValueError: an official status, blank, too long, or another state type.
        """
        if state_type not in ("COMPLETED", "FAILED", "CANCELLED"):
            raise ValueError(f"state_type is COMPLETED, FAILED or CANCELLED, not {state_type!r}.")
        statuses.register_custom_status(status, StatusClass(terminal=True, state_type=state_type))
