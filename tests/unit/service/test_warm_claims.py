"""A warm pod is claimed once, or not used: what happens where the cluster says no."""

import base64
import copy

import pytest

from hub_service.kinds import name_of, namespace_of
from hub_service.kube import ApiError
from hub_service.kube.execute import Executed
from hub_service.kube.store import Store, key_of
from hub_service.pods import podtemplate
from hub_service.reconcile.kernel_pods import BY_KERNEL, kernel_of
from hub_service.reconcile.starts import UNSCHEDULED
from hub_service.reconcile.warm_claims import BY_POOL, WarmClaims
from hub_service.starts.line import unscheduled
from hub_service.warm import pods as warm
from tests.unit.service.test_warm_pods import a_template, cold, waiting

KERNEL = {
    "metadata": {"name": "kernel-1", "namespace": "users", "uid": "u-1"},
    "spec": {"kernelSpecName": "py", "connectionSecret": "kernel-1"},
}
GPU = a_template({"resources": {"limits": {"nvidia.com/gpu": 1}}})
GONE = ApiError(404, "NotFound", "gone")


class Cluster:
    """Answers as told; remembers what it was asked."""

    def __init__(self, *pods):
        indexes = {BY_POOL: warm.pool_of, BY_KERNEL: kernel_of, UNSCHEDULED: unscheduled}
        self.store = Store(indexes)
        for pod in pods:
            self.store.put(pod)
        self.secret = {"data": {"connection.json": base64.b64encode(b'{"key": "k"}').decode()}}
        self.refusals = {}
        self.no_exec = None
        self.exit_code, self.told, self.deleted = 0, [], []

    def record(self, pod):
        self.store.record(pod)

    async def get(self, _resource, _namespace, _name):
        if isinstance(self.secret, ApiError):
            raise self.secret
        return self.secret

    async def merge_patch(self, _resource, namespace, name, patch):
        if error := self.refusals.get(name):
            raise error
        pod = copy.deepcopy(self.store.get((namespace, name)))
        for field, given in patch["metadata"].items():
            if isinstance(given, dict):
                merged = {**pod["metadata"].get(field, {}), **given}
                pod["metadata"][field] = {k: v for k, v in merged.items() if v is not None}
            else:
                pod["metadata"][field] = given
        pod["metadata"]["resourceVersion"] = str(int(pod["metadata"]["resourceVersion"]) + 1)
        return pod

    async def execute(self, namespace, pod, container, command, *, timeout, stdin):
        self.told.append((pod, container, stdin))
        if self.no_exec is not None:
            raise self.no_exec
        return Executed(self.exit_code, "no such file")

    async def delete(self, _resource, _namespace, name, *, uid):
        self.deleted.append(name)


def claims(cluster):
    return WarmClaims(cluster, cluster)


async def test_a_pod_is_the_kernels_once_its_process_was_told():
    cluster = Cluster(waiting(name="a"), waiting(name="b"))
    pod = await claims(cluster).claim(KERNEL, cold())
    assert name_of(pod) == "a"
    assert warm.is_delivered(pod, 0)
    assert not warm.is_waiting(pod)
    assert [one[:2] for one in cluster.told] == [("a", "kernel")]
    assert cluster.told[0][2] == warm.delivery(cold(), '{"key": "k"}')
    key = f"{namespace_of(pod)}/kernel-1"
    assert [key_of(one) for one in cluster.store.by_index(BY_KERNEL, key)] == [key_of(pod)]
    assert cluster.store.by_index(BY_POOL, "users/py") == [cluster.store.get(("users", "b"))]


@pytest.mark.parametrize("status", [404, 409])
async def test_the_next_one_where_one_is_somebody_elses_by_now(status):
    cluster = Cluster(waiting(name="a"), waiting(name="b"))
    cluster.refusals["a"] = ApiError(status, "x", "the object has been modified")
    assert name_of(await claims(cluster).claim(KERNEL, cold())) == "b"


async def test_one_whose_process_can_not_be_told_is_deleted_and_the_others_stay():
    cluster = Cluster(waiting(name="a"), waiting(name="b"))
    cluster.exit_code = 3
    assert await claims(cluster).claim(KERNEL, cold()) is None
    assert cluster.deleted == ["a"]
    assert [one[0] for one in cluster.told] == ["a"]


async def test_where_no_command_can_be_run_a_start_loses_one_pod():
    cluster = Cluster(waiting(name="a"), waiting(name="b"), waiting(name="c"))
    cluster.no_exec = ApiError(0, "Timeout", "no answer")
    ours = claims(cluster)
    assert await ours.claim(KERNEL, cold()) is None
    assert cluster.deleted == ["a"]
    cluster.no_exec = None
    assert name_of(await ours.claim(KERNEL, cold())) == "b"


async def test_without_the_right_to_run_commands_it_is_not_tried_again(caplog):
    cluster = Cluster(waiting(name="a"), waiting(name="b"))
    cluster.no_exec = ApiError(403, "Refused", "running a command in pod a was refused")
    ours = claims(cluster)
    for _ in range(2):
        assert await ours.claim(KERNEL, cold()) is None
    assert cluster.deleted == ["a"]
    (warning,) = caplog.records
    assert "users/a is not used" in warning.message


async def test_without_the_right_to_it_is_not_tried_again():
    cluster = Cluster(waiting(name="a"))
    cluster.refusals["a"] = ApiError(403, "Forbidden", "may not patch pods")
    ours = claims(cluster)
    assert await ours.claim(KERNEL, cold()) is None
    del cluster.refusals["a"]
    assert await ours.claim(KERNEL, cold()) is None
    assert cluster.told == []


@pytest.mark.parametrize("secret", [GONE, {}, {"data": {}}, {"data": {"connection.json": "%"}}])
async def test_without_a_connection_file_its_own_pod_says_what_is_wrong(secret):
    cluster = Cluster(waiting(name="a"))
    cluster.secret = secret
    assert await claims(cluster).claim(KERNEL, cold()) is None
    assert warm.is_waiting(cluster.store.get(("users", "a")))


async def test_no_gpu_before_others_that_wait_for_one():
    other = cold(GPU)
    other["metadata"] |= {"uid": "o", "resourceVersion": "1"}
    pool = waiting(GPU, name="a")
    assert podtemplate.gpus(pool) == 1
    assert await claims(Cluster(pool, other)).claim(KERNEL, cold(GPU)) is None
    assert await claims(Cluster(pool)).claim(KERNEL, cold(GPU)) is not None
