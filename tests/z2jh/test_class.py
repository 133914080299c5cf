"""helm-values/class.yaml on a real hub: its log-in, its sizes, its hook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml

from demo.install import Images, Installation, kubectl
from hub_service.kinds import PODS
from hub_service.kube.client import Cluster
from tests.e2e.support import House
from tests.z2jh import chart as by_chart
from tests.z2jh.chart import VALUES

CLASS = VALUES / "class.yaml"


@pytest.fixture
def classroom(installation: Installation, images: Images, tmp_path: Path) -> Iterator[Installation]:
    passwords = tmp_path / "passwords.yaml"
    config = {"SharedPasswordAuthenticator": {"user_password": "for-the-students"}}
    passwords.write_text(yaml.safe_dump({"hub": {"config": config}}))
    by_chart.install(images, more_values=[CLASS, passwords])
    yield Installation(installation.url, "for-the-students", installation.namespace)
    by_chart.install(images)


async def test_a_students_hour(classroom: Installation, cluster: Cluster) -> None:
    async with AsyncExitStack() as stack:
        student = await House(classroom, stack).open("student-1")
        kernel = await student.start_kernel("python")
        assert (await student.run(kernel, "print(6 * 7)")).text == "42\n"

        pods = await cluster.list(PODS, classroom.namespace, "component=singleuser-server")
        (pod,) = pods["items"]
        name = pod["metadata"]["name"]
        (notebook,) = pod["spec"]["containers"]
        assert notebook["resources"]["limits"] == {"cpu": "500m", "memory": "134217728"}
        claim = kubectl("-n", classroom.namespace, "get", "pvc", "home-student-1", "-o", "yaml")
        assert yaml.safe_load(claim)["spec"]["resources"]["requests"]["storage"] == "500Mi"
        # The course's address is an example: the hook has said so, and the notebook lives.
        said = kubectl("-n", classroom.namespace, "exec", name, "--", "cat", "course.log")
        assert "git.example.edu" in said
        statistics = kubectl(
            "-n", classroom.namespace, "exec", name, "--", "sh", "-c",
            "cat /sys/fs/cgroup/memory.stat /sys/fs/cgroup/memory/memory.stat 2>/dev/null || true",
        )  # fmt: skip
        used = re.findall(r"^(?:anon|total_rss) (\d+)$", statistics, flags=re.MULTILINE)
        print(f"the notebook's memory, without caches: {int(used[0]) / 2**20:.0f} of 128 MiB")
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
