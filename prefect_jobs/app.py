"""The app that owns jobs, and its scheduler settings."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from prefect_jobs.errors import (
    SchedulerEngineMismatch,
    SchedulerNotAssigned,
    SchedulerSettingDoesNotExist,
)
from prefect_jobs.manager import JobManager
from prefect_jobs.projection.states import tag_of_app
from prefect_jobs.runtime.wiring import get_runtime

_PACKAGE = re.compile(r"^[A-Za-z0-9_.-]+$")


@dataclass(frozen=True)
class SchedulerSetting:
    """A scheduler that an app needs, and the app's name for it."""

    HTCONDOR: ClassVar[str] = "htcondor"
    DASK: ClassVar[str] = "dask"

    name: str
    engine: str = HTCONDOR
    description: str = ""
    required: bool = False

    def __post_init__(self) -> None:
        if self.engine not in (self.HTCONDOR, self.DASK):
            raise ValueError(f"The engine of the setting {self.name!r} is HTCONDOR or DASK, not {self.engine!r}.")


class App:
    """Subclass it with a ``name`` for people and a ``package``, the label of its jobs. You never instantiate it."""

    name: ClassVar[str] = ""
    package: ClassVar[str] = ""

    def scheduler_settings(self) -> Iterable[SchedulerSetting] | None:
        """The schedulers that the app needs; override it."""
        return ()

    @classmethod
    def get_job_manager(cls) -> JobManager:
        """The app's jobs."""
        return JobManager(cls)

    @classmethod
    def get_scheduler(cls, name: str) -> Any:
        """The scheduler block assigned to a setting, or else the saved block with the name of the setting.

        Returns:
            The block; ``None`` if there is none and the setting is not required.

        Raises:
            SchedulerSettingDoesNotExist: the app has no such setting.
            SchedulerNotAssigned: there is none, but the setting is required.
            SchedulerEngineMismatch: the block is of the other engine.
            SchedulerConnectionError: Prefect, which keeps assignments and blocks, cannot be reached.
        """
        setting = cls._setting(name)
        prefect = get_runtime().prefect
        assigned = prefect.read_variable(cls._variable(setting))
        block = prefect.find_scheduler(assigned or setting.name)
        if block is None:
            if assigned:
                raise SchedulerNotAssigned(
                    f"The setting {name!r} of {cls.package} is assigned to the scheduler {assigned!r}, which "
                    f"no longer exists. {cls._how_to_assign(name)}"
                )
            if setting.required:
                raise SchedulerNotAssigned(
                    f"The setting {name!r} of {cls.package} has no scheduler. {cls._how_to_assign(name)}"
                )
            return None
        cls._check_engine(setting, block)
        return block

    @classmethod
    def assign_scheduler(cls, setting: str, scheduler: Any) -> None:
        """Assigns a saved scheduler to a setting, for every machine of the same Prefect server.

        Args:
            setting: the setting's name.
            scheduler: a saved block or its name; ``None`` removes the assignment.

        Raises:
            SchedulerSettingDoesNotExist: the app has no such setting.
            ValueError: no saved scheduler has that name.
            SchedulerEngineMismatch: the scheduler is of the other engine.
        """
        wanted = cls._setting(setting)
        prefect = get_runtime().prefect
        name = getattr(scheduler, "name", scheduler)
        if name is None:
            prefect.write_variable(cls._variable(wanted), "")
            return
        block = prefect.find_scheduler(str(name))
        if block is None:
            raise ValueError(f"There is no saved scheduler {name!r}. Save it first: block.save()")
        cls._check_engine(wanted, block)
        prefect.write_variable(cls._variable(wanted), str(block.name), [tag_of_app(cls.check_package())])

    @classmethod
    def check_package(cls) -> str:
        """The label of the app's jobs.

        Raises:
            ValueError: the app has no valid ``package``.
        """
        if not isinstance(cls.package, str) or not _PACKAGE.match(cls.package) or len(cls.package) > 200:
            raise ValueError(
                f"The package of {cls.__name__} is {cls.package!r}: use letters, digits, '_', '.' and '-'."
            )
        return cls.package

    @classmethod
    def _setting(cls, name: str) -> SchedulerSetting:
        settings = {setting.name: setting for setting in cls().scheduler_settings() or ()}
        if name not in settings:
            valid = ", ".join(map(repr, settings)) or "none"
            raise SchedulerSettingDoesNotExist(f"{cls.package} has no scheduler setting {name!r}. It has: {valid}.")
        return settings[name]

    @classmethod
    def _how_to_assign(cls, setting: str) -> str:
        return f"Assign one: prefect-jobs assign {cls.__module__}:{cls.__qualname__} {setting} NAME"

    @classmethod
    def _check_engine(cls, setting: SchedulerSetting, block: Any) -> None:
        if block.engine != setting.engine:
            raise SchedulerEngineMismatch(
                f"The setting {setting.name!r} of {cls.package} needs a {setting.engine} scheduler; "
                f"{block.name!r} is a {block.engine} one."
            )

    @classmethod
    def _variable(cls, setting: SchedulerSetting) -> str:
        # Prefect's variables have names of lower-case letters, digits and dashes. The digest distinguishes settings
        # whose names would become equal.
        text = f"{cls.check_package()}/{setting.name}"
        readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:150]
        return f"prefect-jobs-{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
