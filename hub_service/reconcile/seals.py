"""Questions to gateways that are under way.

A gateway may take seconds to answer, or not answer at all. Asking inside a reconciliation would
hold up other kernels' starts, so it goes on beside, and the answer brings the kernel's key back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from hub_service.gateways.activity import Active, Sealed, Unknown
from hub_service.kube import Key

log = logging.getLogger(__name__)

Answer = Sealed | Active | Unknown
# Asks about one kernel.
Question = Callable[[], Awaitable[Answer]]


class Seals:
    """At most one question for each kernel. `wake` is called with the key when its answer is in."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._answers: dict[Key, Answer] = {}

    def ask(self, key: Key, question: Question) -> None:
        """Ask, unless that is going on."""
        if key not in self._asking:
            self._asking[key] = asyncio.create_task(self._ask(key, question))

    def is_asking(self, key: Key) -> bool:
        """Whether an answer is waited for."""
        return key in self._asking

    def take(self, key: Key) -> Answer | None:
        """The answer, once."""
        return self._answers.pop(key, None)

    def put_back(self, key: Key, answer: Answer) -> None:
        """What the answer is for could not be done yet."""
        self._answers[key] = answer

    def drop(self, key: Key) -> None:
        """The kernel is gone: so is what was asked about it."""
        self._answers.pop(key, None)
        task = self._asking.pop(key, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Give up all questions."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, key: Key, question: Question) -> None:
        try:
            self._answers[key] = await question()
        except Exception as error:
            log.exception("kernel %s: asking its gateway failed", key)
            self._answers[key] = Unknown(str(error))
        self._asking.pop(key, None)
        self._wake(key)
