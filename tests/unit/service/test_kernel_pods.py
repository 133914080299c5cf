"""Which pod is a kernel's."""

from types import SimpleNamespace

from hub_service.kernels import kernel
from hub_service.kinds import ANNOTATION_CLAIMED_FOR, name_of
from hub_service.kube.store import Store
from hub_service.reconcile.kernel_pods import BY_KERNEL, kernel_of, own_pod
from tests.unit.service.kernels import a_kernel


def found(item, *pods):
    store = Store({BY_KERNEL: kernel_of})
    for pod in pods:
        store.put(pod)
    pod = own_pod(SimpleNamespace(store=store), item)
    return name_of(pod) if pod else None


def a_pod(item, name=None, **metadata):
    pod = kernel.desired_pod(item)
    pod["metadata"] |= {"uid": "p", "resourceVersion": "1", **metadata}
    pod["metadata"]["name"] = name or name_of(pod)
    return pod


def warm(item, incarnation):
    return a_pod(item, "python-warm-1", annotations={ANNOTATION_CLAIMED_FOR: str(incarnation)})


def test_the_one_of_its_name():
    item = a_kernel(incarnation=1)
    assert found(item, a_pod(item), a_pod(a_kernel())) == "kernel-1-1"


def test_one_that_was_warm_and_has_become_it():
    item = a_kernel(incarnation=1)
    assert found(item, warm(item, 1)) == "python-warm-1"


def test_none_that_was_claimed_and_not_told():
    item = a_kernel()
    assert found(item, a_pod(item, "python-warm-1")) is None


def test_none_of_an_earlier_incarnation_or_another_kernel_of_its_name():
    item = a_kernel(incarnation=1)
    assert found(item, warm(item, 0)) is None
    earlier = a_kernel()
    earlier["metadata"]["uid"] = "u-0"
    assert found(a_kernel(), a_pod(earlier), warm(earlier, 0)) is None
