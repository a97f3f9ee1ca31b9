"""Prefect's settings for our own calls, made once for all clients of a process."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.context import SettingsContext

_lock = threading.Lock()
#: The context of the last call, and ours that is derived from it: to make one takes longer than some calls.
_derived: "tuple[SettingsContext, SettingsContext] | None" = None


@contextmanager
def without_retries() -> Iterator[None]:
    """Within it, Prefect's client does not repeat requests by itself, which takes minutes. Ours are repeated by their
    own rules."""
    from prefect.context import get_settings_context

    with _changed(get_settings_context()):
        yield


def _changed(present: "SettingsContext") -> "SettingsContext":
    """A context that was not entered yet."""
    global _derived  # noqa: PLW0603  (one for the process)
    from prefect.context import SettingsContext
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

    with _lock:
        if _derived is None or _derived[0] is not present:
            settings = present.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
            _derived = present, SettingsContext(profile=present.profile, settings=settings)
        return _derived[1].model_copy()


def tls_context() -> ssl.SSLContext:
    """What Prefect's settings say about certificates, for all clients of the process: each would read the file again.

    Raises:
        OSError: the file of certificates cannot be read.
    """
    from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_TLS_INSECURE_SKIP_VERIFY

    if PREFECT_API_TLS_INSECURE_SKIP_VERIFY.value():
        return _unverified()
    import certifi

    file = str(PREFECT_API_SSL_CERT_FILE.value() or certifi.where())
    return _verified(file, Path(file).stat().st_mtime_ns)


@lru_cache(1)
def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@lru_cache(1)
def _verified(file: str, changed: int) -> ssl.SSLContext:
    """With the certificates in a file that was changed last at that time."""
    return ssl.create_default_context(cafile=file)
