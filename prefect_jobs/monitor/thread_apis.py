"""A client of Prefect's API for each thread that needs one: opening a client takes longer than a call."""

import threading

from prefect_jobs.projection.prefect_api import PrefectApi


class ThreadApis:
    """The clients, by thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def get(self) -> PrefectApi:
        """The client of the calling thread."""
        api: PrefectApi | None = getattr(self._local, "api", None)
        if api is None:
            api = self._local.api = PrefectApi()
        return api

    def close(self) -> None:
        """Closes the client of the calling thread."""
        api: PrefectApi | None = getattr(self._local, "api", None)
        if api is not None:
            self._local.api = None
            api.close()
