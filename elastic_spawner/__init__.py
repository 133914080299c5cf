"""Notebook pods without a GPU, and the way from them to kernels that have one.

`configure` and `ElasticSpawner` are for the hub's process; `elastic_spawner.gateway` runs in the
gateway's, where JupyterHub is not installed. Hence the imports on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elastic_spawner.configuration import configure
    from elastic_spawner.spawner import ElasticSpawner

__all__ = ["ElasticSpawner", "configure"]


def __getattr__(name: str) -> Any:
    if name == "configure":
        from elastic_spawner.configuration import configure

        return configure
    if name == "ElasticSpawner":
        from elastic_spawner.spawner import ElasticSpawner

        return ElasticSpawner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
