"""GPUs of a pod template, as the scheduler counts them."""

import pytest

from hub_service.pods.podtemplate import gpus


def container(restart=None, **resources):
    item = {"name": "c", "resources": resources}
    return {**item, "restartPolicy": restart} if restart else item


@pytest.mark.parametrize(
    ("containers", "init", "count"),
    [
        ([], [], 0),
        ([{"name": "no resources"}], [], 0),
        ([container(limits={"cpu": "2", "memory": "1Gi"})], [], 0),
        ([container(limits={"nvidia.com/gpu": 1})], [], 1),
        ([container(limits={"nvidia.com/gpu": "2"})], [], 2),
        ([container(limits={"nvidia.com/gpu": 1}, requests={"nvidia.com/gpu": 1})], [], 1),
        ([container(limits={"nvidia.com/mig-1g.5gb": 1, "amd.com/gpu": 1})], [], 2),
        ([container(limits={"gpu.intel.com/i915": 1})], [], 1),
        ([container(limits={"amd.com/gpu": 1}), container(limits={"amd.com/gpu": 1})], [], 2),
        ([container(limits={"amd.com/gpu": 1})], [container(limits={"amd.com/gpu": 3})], 3),
        (
            [container(limits={"amd.com/gpu": 1})],
            [container("Always", limits={"amd.com/gpu": 1})],
            2,
        ),
        ([container(limits={"nvidia.com/gpu": "many"})], [], 0),
    ],
)
def test_gpus(containers, init, count):
    assert gpus({"spec": {"containers": containers, "initContainers": init}}) == count


def test_no_spec():
    assert gpus({}) == 0
