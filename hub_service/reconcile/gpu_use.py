"""Asks Prometheus now and then which GPUs are in use, and notes which are not.

One question for all kernels together. What is known is forgotten with the process: the first
question reaches back further.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from hub_service import timestamps
from hub_service.culling import Activity
from hub_service.gpu_use.prometheus import Prometheus, PrometheusError
from hub_service.gpu_use.series import Series
from hub_service.gpu_use.use import Known, Rule, in_use, is_known, observed, pod_of, unused_since
from hub_service.kinds import JUPYTER_KERNELS, Object, is_deleting, namespace_of, status_of
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.reconcile.calls import patch_status_if_there

log = logging.getLogger(__name__)

# Seconds beyond the last answer that a question reaches back: samples come late.
_OVERLAP = 60


class GpuUse:
    """`interval`: seconds between two questions; `lookback`: how far the first reaches back.

    `look_at` is called with kernels whose end is to be thought over.
    """

    def __init__(
        self,
        cluster: Cluster,
        prometheus: Prometheus,
        series: Series,
        rule: Rule,
        *,
        kernels: Reflector,
        covers: Callable[[str], bool],
        look_at: Callable[[Key], None],
        interval: float,
        lookback: int,
    ) -> None:
        self._cluster = cluster
        self._prometheus = prometheus
        self._series = series
        self._rule = rule
        self._kernels = kernels
        self._covers = covers
        self._look_at = look_at
        self._interval = interval
        self._lookback = lookback
        self._known: Known | None = None
        self._was_known = False
        self._complaint = ""

    def observed(self, kernel: Object, activity: Activity) -> Activity:
        """A kernel's activity, with the use of its GPUs."""
        return observed(kernel, activity, self._known, self._rule, timestamps.now())

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(self._interval)

    async def ask(self) -> None:
        """Ask once, and have all that follows from the answer looked at."""
        before = self._known
        try:
            self._known = await self._answer(timestamps.now())
        except (PrometheusError, ValueError) as error:
            if str(error) != self._complaint:
                log.warning("whether GPUs are in use is not known: %s", error)
            self._complaint = str(error)
        else:
            self._complaint = ""
        now_known = is_known(self._known, self._rule, timestamps.now())
        flipped, self._was_known = now_known != self._was_known, now_known
        for kernel in self._kernels.store:
            if pod_of(kernel) is None or not self._covers(namespace_of(kernel)):
                continue
            if flipped or self._has_turned(kernel, before):
                self._look_at(key_of(kernel))
            if self._known is not None and now_known:
                await self._note(kernel, self._known)

    async def _answer(self, now: datetime) -> Known:
        seconds = self._lookback
        if self._known is not None:
            seconds = min(seconds, int((now - self._known.at).total_seconds()) + _OVERLAP)
        used = self._series.moments(await self._prometheus.query(self._series.last_used(seconds)))
        measured = self._series.values(await self._prometheus.query(self._series.measured))
        known = self._known or Known(now)
        return known.followed_by(now, used, frozenset(measured))

    def _has_turned(self, kernel: Object, before: Known | None) -> bool:
        """Whether a kernel's GPUs are in use now and were not, or the other way round."""
        return in_use(kernel, self._known, self._rule) != in_use(kernel, before, self._rule)

    async def _note(self, kernel: Object, known: Known) -> None:
        """Have the status say since when GPUs do nothing, where that has begun or ended."""
        since = unused_since(kernel, known, self._rule)
        noted = status_of(kernel).get("gpusUnusedSince")
        if (since is None) == (noted is None) or is_deleting(kernel):
            return
        patch = {"gpusUnusedSince": timestamps.seconds(since) if since else None}
        try:
            await patch_status_if_there(
                self._cluster, JUPYTER_KERNELS, self._kernels, key_of(kernel), patch
            )
        except ApiError as error:
            log.warning("kernel %s: not noted whether its GPUs are used: %s", key_of(kernel), error)
