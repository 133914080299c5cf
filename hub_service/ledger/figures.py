"""The ledger's figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter

from hub_service.ledger.books import Amounts


class GpuSeconds:
    """Counters of GPU-seconds, by spec, by group and, if `user_figures`, by user."""

    def __init__(self, registry: CollectorRegistry, *, user_figures: bool) -> None:
        text = "GPU-seconds that kernels held, used of these while busy, and gave back (`what`)"
        self._by_spec = Counter(
            "elastic_gpu_seconds", f"{text}.", ["what", "spec"], registry=registry
        )
        self._by_group = Counter(
            "elastic_group_gpu_seconds",
            f"{text}, of the groups that users are in: in each of them.",
            ["what", "group"],
            registry=registry,
        )
        self._by_user = (
            Counter(
                "elastic_user_gpu_seconds",
                f"{text}, of users.",
                ["what", "user"],
                registry=registry,
            )
            if user_figures
            else None
        )

    def add(self, spec: str, user: str, groups: Iterable[str], amounts: Amounts) -> None:
        """Count what was booked."""
        for what, seconds in (
            ("held", amounts.held),
            ("used", amounts.used),
            ("given_back", amounts.given_back),
        ):
            self._by_spec.labels(what, spec).inc(seconds)
            for group in groups:
                self._by_group.labels(what, group).inc(seconds)
            if self._by_user is not None:
                self._by_user.labels(what, user).inc(seconds)
