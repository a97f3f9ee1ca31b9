"""Calls to Prefect besides showing jobs there: blocks, variables, addresses."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from prefect_jobs import folders
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.projection import loading
from prefect_jobs.projection.loading import PATIENCE
from prefect_jobs.projection.prefect_api import PrefectApi, PrefectAway, retried
from prefect_jobs.projection.projector import Projector
from prefect_jobs.projection.states import tag_of_app
from prefect_jobs.runtime.lookup import BLOCK_TTL, Lookup, answered

T = TypeVar("T")


class PrefectAccess:
    """Prefect's API, for calls that a user waits for."""

    def __init__(self, projector: Projector) -> None:
        self.lookup = Lookup(projector)
        #: App and engine → when they were read (monotonic), and the names of the schedulers.
        self._assigned: dict[tuple[str, str], tuple[float, list[str]]] = {}

    def ask(self, question: Callable[[PrefectApi], T], patience: float = PATIENCE) -> T:
        """The answer of Prefect's API. A call is repeated while Prefect is busy.

        Raises:
            SchedulerConnectionError: Prefect cannot be reached within ``patience`` seconds.
        """

        def ask() -> T:
            api = PrefectApi()
            try:
                return retried(lambda: question(api), patience)
            finally:
                api.close()

        try:
            return answered(ask, patience)
        except PrefectAway as error:
            raise SchedulerConnectionError(str(error)) from error

    def scheduler(self, name: str) -> Any:
        """The saved block of that name; see :meth:`Lookup.get`."""
        return self.lookup.get(name)

    def find_scheduler(self, name: str) -> Any:
        """The saved block of that name, or ``None``; see :meth:`Lookup.find`."""
        return self.lookup.find(name)

    def read_variable(self, name: str) -> str | None:
        """A Prefect variable."""
        return self.ask(lambda api: api.read_variable(name))

    def write_variable(self, name: str, value: str, tags: Iterable[str] = ()) -> None:
        """Sets a Prefect variable."""
        self.ask(lambda api: api.write_variable(name, value, tags))

    def assigned(self, label: str, engine: str) -> list[str]:
        """The schedulers of an engine that are assigned to settings of an app; read again after some seconds.

        Raises:
            SchedulerConnectionError: Prefect cannot be reached.
        """
        known = self._assigned.get((label, engine))
        if known is not None and time.monotonic() - known[0] < BLOCK_TTL:
            return known[1]
        names = self.ask(lambda api: api.variables(tag_of_app(label)))
        blocks = {name: self.lookup.find(name) for name in names}
        found = [name for name, block in blocks.items() if block is not None and block.engine == engine]
        self._assigned[label, engine] = (time.monotonic(), found)
        return found

    def flow_run_url(self, flow_run_id: str) -> str | None:
        """The URL of a flow run, if a UI is configured."""
        return self._url(f"runs/flow-run/{flow_run_id}")

    def deployment_url(self, deployment_id: str) -> str | None:
        """The URL of a deployment, if a UI is configured."""
        return self._url(f"deployments/deployment/{deployment_id}")

    @staticmethod
    def _url(path: str) -> str | None:
        base = None if "prefect.settings" in sys.modules else _plain_ui_url()
        try:
            base = base or loading.answer(_ui_url, strict=True)
        except TimeoutError:
            return None
        return f"{base.rstrip('/')}/{path}" if base else None


def _plain_ui_url() -> str | None:
    """The address of the UI, where the environment alone tells it: to load Prefect for it takes a second. ``None``:
    only Prefect knows it."""
    if url := os.environ.get("PREFECT_UI_URL"):
        return url
    url = os.environ.get("PREFECT_API_URL", "")
    if not url.endswith("/api") or "prefect.cloud" in url:
        return None
    profiles = os.environ.get("PREFECT_PROFILES_PATH") or folders.prefect_home() / "profiles.toml"
    for file in (Path(profiles), *map(Path, (".env", "prefect.toml", "pyproject.toml"))):
        try:
            if "ui_url" in file.read_text(errors="replace").lower():
                return None
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return url.removesuffix("/api")


def _ui_url() -> str:
    from prefect.settings import PREFECT_UI_URL

    return str(PREFECT_UI_URL.value() or "")
