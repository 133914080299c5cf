"""What the gateway's process must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.gateway.support import ROOT


@pytest.mark.parametrize(
    "module",
    [
        "kubernetes",  # two seconds of imports, and a client that blocks the loop
        "enterprise_gateway.services.processproxies.k8s",  # connects to the cluster on import
        "jupyterhub",
        "pydantic",
    ],
)
def test_it_is_not_loaded(module: str) -> None:
    code = (
        "import sys, elastic_spawner.gateway.__main__\n"
        "assert 'elastic_spawner.gateway.proxy' in sys.modules\n"
        f"sys.exit({module!r} in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_an_environment_that_cannot_be_used_is_told_in_one_line() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "elastic_spawner.gateway"],
        cwd=ROOT,
        env={"HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert "ELASTIC_NAMESPACE is not set" in line
