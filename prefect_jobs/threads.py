"""Calls in threads of their own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_thread(call: Callable[[], T], name: str, *, daemon: bool = False) -> "Future[T]":
    """Starts a call in a new thread.

    Args:
        call: what to call.
        name: the name of the thread.
        daemon: the program may end before the call does.

    Returns:
        The outcome. ``result()`` waits for it, and raises what the call raised.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # raised again by result()
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=daemon).start()
    return outcome
