"""Settings, read from ``PREFECT_JOBS_…`` in the environment or a ``.env`` file in the working directory."""

import re
import socket
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from prefect_jobs.errors import PrefectJobsError

#: A number and a unit, and the seconds of each.
_DURATION = re.compile(r"(\d{1,9}(?:\.\d+)?) ?([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST = 36500 * _SECONDS["d"]


class Settings(BaseSettings):
    """The settings of an installation. Every field is a variable ``PREFECT_JOBS_<FIELD>``."""

    model_config = SettingsConfigDict(
        env_prefix="PREFECT_JOBS_", env_file=".env", extra="ignore", env_ignore_empty=True
    )

    #: SQLAlchemy URL; empty: an SQLite file in the Prefect home. Left out of the repr, since it may hold a password.
    database_url: Annotated[str | None, Field(repr=False)] = None
    #: Folder for the workspaces of jobs that name none; relative to the Prefect home, not to the working directory:
    #: a Prefect worker deletes that when the run ends.
    workspace: Path = Path("prefect-jobs-workspace")
    #: Address at which people and jobs reach the web app, for callback URLs that are made without a request.
    public_url: str | None = None
    #: Seconds between two polls of a scheduler.
    poll_interval: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = 2.0
    #: Seconds after which a job held by HTCondor is removed; none: never.
    held_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    #: Seconds after which a job that HTCondor has matched with no machine counts as late; 0: never.
    late_match: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3600.0
    #: For how long a job that is over is kept: seconds, or a number with a unit, ``30d``; none: until it is deleted.
    retention: timedelta | None = None
    #: Number of processes of one HTCondor job, at most: a slip should not fill a pool.
    max_processes: Annotated[int, Field(gt=0)] = 100_000
    #: This machine's name. It identifies the machine whose local HTCondor or Dask cluster runs jobs without a
    #: scheduler block. Set it where host names change: each new container has another one.
    host_name: Annotated[str, Field(min_length=1, max_length=200)] = Field(default_factory=socket.gethostname)
    #: Size in bytes above which a Dask result goes to Prefect result storage.
    result_size_limit: Annotated[int, Field(gt=0)] = 10 * 1024 * 1024
    #: Signs callback URLs; none: they are not protected.
    callback_secret: SecretStr | None = None
    #: Signs web tokens; if not given, one is made and kept in the database.
    secret_key: SecretStr | None = None

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("sqlite:///", "postgresql+psycopg://")) or value in (
            "sqlite:///",
            "sqlite:///:memory:",
        ):
            # Each thread would have its own database in memory.
            raise ValueError("use sqlite:///path or postgresql+psycopg://user:password@host/name")
        return value

    @field_validator("retention", mode="before")
    @classmethod
    def _duration(cls, value: str | float | timedelta | None) -> timedelta | None:
        if value is None:
            return None
        seconds = 0.0
        if isinstance(value, timedelta):
            seconds = value.total_seconds()
        elif parts := _DURATION.fullmatch(str(value).strip().lower()):
            seconds = float(parts[1]) * _SECONDS[parts[2]]
        if not 0 < seconds <= _LONGEST:
            raise ValueError("use seconds, or a number with one of the units s, m, h, d, w: 30d; 100 years at most")
        return timedelta(seconds=seconds)

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            whole = False  # a port that is no number, or half an IPv6 address
        if not whole or parts.query or parts.fragment:
            raise ValueError("use an absolute http:// or https:// address, without ? and #")
        return value.rstrip("/")


class SettingsError(PrefectJobsError):
    """A setting has a value that cannot be used; the message names the variable."""


@cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingsError: names each variable with a bad value. The value itself is not repeated: it may be
            a secret.
    """
    try:
        return Settings()
    except UnicodeDecodeError:
        raise SettingsError("Bad setting. The file .env is not UTF-8 text.") from None
    except ValidationError as error:
        problems = "; ".join(
            f"PREFECT_JOBS_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        )
        # Not chained: pydantic's text repeats the values, and one of them may be a secret.
        raise SettingsError(f"Bad setting. {problems}") from None
