"""Texts that come back from browsers, signed with the setting ``SECRET_KEY``."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any
from weakref import WeakKeyDictionary

from prefect_jobs.runtime.wiring import Runtime, get_runtime

#: Name of the key that an installation makes itself.
_KEPT = "secret_key"


#: The key of each installation that this process serves: it never changes.
_keys: WeakKeyDictionary[Runtime, bytes] = WeakKeyDictionary()


def _key() -> bytes:
    runtime = get_runtime()
    known = _keys.get(runtime)
    if known is None:
        given = runtime.settings.secret_key
        kept = given.get_secret_value() if given else runtime.store.meta(_KEPT, lambda: secrets.token_hex(32))
        known = _keys[runtime] = kept.encode()
    return known


def _digest(purpose: str, payload: str) -> str:
    return hmac.new(_key(), f"{purpose}:{payload}".encode(errors="replace"), hashlib.sha256).hexdigest()


def sign(purpose: str, value: Any, seconds: float | None = None) -> str:
    """A text for a cookie or an address from which :func:`read` gets the value back.

    Args:
        purpose: what it is for; a text for one purpose is none for another.
        value: any JSON; it can be read by the browser.
        seconds: for how long it is valid; ``None``: for ever.
    """
    until = None if seconds is None else int(time.time() + seconds)
    packed = json.dumps([until, value], separators=(",", ":"), ensure_ascii=False).encode()
    payload = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    return f"{payload}.{_digest(purpose, payload)}"


def read(purpose: str, text: str) -> Any:
    """The value of a signed text; ``None``: it was not signed for this purpose, or is not valid any more."""
    payload, _, signature = text.partition(".")
    if not hmac.compare_digest(_digest(purpose, payload).encode(), signature.encode(errors="replace")):
        return None
    until, value = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return value if until is None or time.time() < until else None
