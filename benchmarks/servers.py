"""From the login to a notebook that answers: plain KubeSpawner, a shared gateway, one's own.

One hub starts all three, in turn, so that they are of the same minutes.
"""

from __future__ import annotations

import statistics
import time

from demo.client import Person
from demo.install import Installation

# The hub has one spawner class; which user gets which spawner is decided here, for the benchmark.
HUB_CONFIG = """
from kubespawner import KubeSpawner
from elastic_spawner import ElasticSpawner

class PlainForSome(KubeSpawner):
    def __new__(cls, *args, **kwargs):
        plain = kwargs["user"].name.startswith("plain")
        return (KubeSpawner if plain else ElasticSpawner)(*args, **kwargs)

c.JupyterHub.spawner_class = PlainForSome
c.KubeSpawner.namespace = c.ElasticSpawner.namespace
c.KubeSpawner.start_timeout = 180
# What the users' namespace asks of its pods.
c.KubeSpawner.container_security_context = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
c.ElasticSpawner.profile_list = [
    {"display_name": "Shared", "slug": "shared", "default": True},
    {"display_name": "Own", "slug": "own", "kubespawner_override": {"gateway_mode": "per-user"}},
]
"""
_KINDS = {"plain": "", "shared": "shared", "per_user": "own"}


async def compare(installation: Installation, rounds: int) -> dict[str, float]:
    """Seconds from the login to an opened JupyterLab, medians by kind; one start before counts not.

    A round's volumes and accounts are gone before the next.
    """
    seconds: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    async with Person(installation.url, "admin", installation.password) as admin:
        await admin.login()
        for turn in range(rounds + 1):
            for kind, profile in _KINDS.items():
                name = f"{kind.replace('_', '-')}-{turn}"
                async with Person(installation.url, name, installation.password) as person:
                    started = time.monotonic()
                    await person.login()
                    lines = await person.start_server(profile=profile)
                    taken = time.monotonic() - started
                    _check(kind, lines)
                    await person.stop_server()
                if turn:
                    seconds[kind].append(taken)
            if turn:
                last = ", ".join(f"{kind} {taken[-1]:.2f} s" for kind, taken in seconds.items())
                print(f"  servers {turn}: {last}", flush=True)
            await admin.delete_others()
    figures = {f"login_to_notebook_s_{kind}": _median(taken) for kind, taken in seconds.items()}
    return figures | {"login_rounds": rounds}


def _check(kind: str, lines: list[str]) -> None:
    """The start was of that kind: only a server with a gateway of its own speaks of one."""
    speaks = any(line.startswith("gateway: ready") for line in lines)
    if speaks != (kind == "per_user"):
        raise RuntimeError(f"a start of kind {kind} said: {lines}")


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 2)
