"""Questions to gateways that are under way.

A gateway may take seconds to answer, or not answer at all. Asking inside a reconciliation would
hold up other kernels' starts, so it goes on beside, and the answer brings the kernel's key back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from hub_service.activity import Active, Sealed, Unknown
from hub_service.kube import Key

log = logging.getLogger(__name__)

Answer = Sealed | Active | Unknown
Seal = Callable[[Sequence[str], str, datetime], Awaitable[Answer]]


class Seals:
    """At most one question for each kernel. `wake` is called with the key when its answer is in."""

    def __init__(self, seal: Seal, wake: Callable[[Key], None]) -> None:
        self._seal = seal
        self._wake = wake
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._answers: dict[Key, Answer] = {}

    def ask(
        self, key: Key, gateway_urls: Sequence[str], kernel_id: str, idle_before: datetime
    ) -> None:
        """Ask, unless that is going on."""
        if key not in self._asking:
            question = self._ask(key, gateway_urls, kernel_id, idle_before)
            self._asking[key] = asyncio.create_task(question)

    def is_asking(self, key: Key) -> bool:
        """Whether an answer is waited for."""
        return key in self._asking

    def take(self, key: Key) -> Answer | None:
        """The answer, once."""
        return self._answers.pop(key, None)

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

    async def _ask(
        self, key: Key, gateway_urls: Sequence[str], kernel_id: str, idle_before: datetime
    ) -> None:
        try:
            self._answers[key] = await self._seal(gateway_urls, kernel_id, idle_before)
        except Exception as error:
            log.exception("kernel %s: asking %s failed", key, ", ".join(gateway_urls))
            self._answers[key] = Unknown(str(error))
        self._asking.pop(key, None)
        self._wake(key)
