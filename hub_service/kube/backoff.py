"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Delays that double from `first` to `most` seconds, each off by up to a quarter.

    The randomness keeps several clients from coming back at the same moment.
    """

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait now; the following wait is longer."""
        delay = min(self._first * 2.0 ** min(self._failures, 30), self._most)
        self._failures += 1
        return delay * random.uniform(0.75, 1.25)  # noqa: S311 - no secret

    def reset(self) -> None:
        """After success: start from the first delay again."""
        self._failures = 0
