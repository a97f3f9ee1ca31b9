"""Pauses between tries, which grow while the tries fail."""

import random


class Backoff:
    """The pauses of one loop: each is twice as long as the one before, up to a limit. For one thread."""

    def __init__(self, first: float, longest: float) -> None:
        """
        Args:
            first: the first pause in seconds.
            longest: the longest one.
        """
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self) -> float:
        """The next pause in seconds: between half and all of its length, so that processes that lost the same service
        do not all retry at once."""
        length = self._next
        self._next = min(self._longest, 2 * length)
        return length * random.uniform(0.5, 1.0)  # noqa: S311  (no secret)

    def reset(self) -> None:
        """After a success: makes the next pause the first one again."""
        self._next = self._first
