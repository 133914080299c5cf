"""What the ledger takes from pods and kernels as they change, and what it writes."""

import asyncio
from contextlib import contextmanager
from datetime import timedelta

import pytest

from hub_service import timestamps
from hub_service.hub.groups import Group, Groups
from hub_service.kinds import JUPYTER_KERNELS, name_of, status_of
from hub_service.kube import ApiError, key_of
from hub_service.kube.store import Store
from hub_service.ledger import document
from hub_service.ledger.books import Account
from hub_service.reconcile.ledger import Ledger

GROUPS = Groups([Group("staff", frozenset({"ada"}), {})])


class Copy:
    """A reflector's copy, changed by the test."""

    def __init__(self):
        self.store = Store()
        self.listeners = []
        self.followed = asyncio.Event()

    @contextmanager
    def subscribed(self, listener):
        self.listeners.append(listener)
        self.followed.set()
        yield
        self.listeners.remove(listener)

    def set(self, item):
        change = self.store.put(item)
        for listener in self.listeners:
            listener(*change)

    def remove(self, item):
        change = self.store.remove(item)
        for listener in self.listeners:
            listener(*change)


class Days:
    """JupyterLedgers without a cluster: merge patches as the API server applies them."""

    def __init__(self):
        self.items = {}
        self.fails = False
        self.patches = 0
        self.meanwhile = lambda: None

    async def get(self, day):
        return self.items.get(day)

    async def last(self, _today):
        return self.items[max(self.items)] if self.items else None

    async def create(self, day):
        if self.fails:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        self.items[day] = document.empty(day)

    async def patch(self, day, status):
        if self.fails:
            raise ApiError(0, "NoAnswer", "no answer")
        self.patches += 1
        self.meanwhile()
        self.items[day]["status"] = merged(status_of(self.items[day]), status)

    async def delete_before(self, day):
        self.items = {one: item for one, item in self.items.items() if one >= day}
        return 0

    def amounts(self):
        return {
            row.entry.account: row.amounts
            for item in self.items.values()
            for row in document.rows(item)
        }


def merged(old, patch):
    result = dict(old)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(old.get(name) or {}, value) if isinstance(value, dict) else value
    return result


VERSION = iter(range(1, 1000))


def ago(minutes):
    return timestamps.seconds(timestamps.now() - timedelta(minutes=minutes))


def a_kernel(state, name="kernel-1", owner="ada"):
    return {
        "metadata": {
            "name": name, "namespace": "users", "uid": f"uid-of-{name}",
            "resourceVersion": str(next(VERSION)),
        },
        "spec": {"owner": owner, "server": "", "kernelSpecName": "gpu"},
        "status": {"activity": {"executionState": state}},
    }  # fmt: skip


def a_pod(kernel, minutes=10, node="node", gpus="1", phase="Running"):
    owner = {"kind": JUPYTER_KERNELS.kind, "name": name_of(kernel), "controller": True, "uid": "x"}
    return {
        "metadata": {
            "name": name_of(kernel), "namespace": "users", "uid": f"pod-of-{name_of(kernel)}",
            "ownerReferences": [owner], "resourceVersion": str(next(VERSION)),
        },
        "spec": {
            "nodeName": node,
            "containers": [{"name": "kernel", "resources": {"limits": {"nvidia.com/gpu": gpus}}}],
        },
        "status": {
            "phase": phase,
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(minutes)}
            ],
        },
    }  # fmt: skip


def a_server(minutes, owner="ada"):
    return {
        "metadata": {
            "name": f"jupyter-{owner}", "namespace": "users", "uid": "server",
            "resourceVersion": str(next(VERSION)),
            "labels": {"app.kubernetes.io/component": "singleuser-server"},
            "annotations": {"hub.jupyter.org/username": owner},
        },
        "spec": {"nodeName": "node"},
        "status": {"phase": "Running", "startTime": ago(minutes)},
    }  # fmt: skip


class Keeping:
    """A ledger at work."""

    def __init__(self, days):
        self.days, self.noted = days, []
        self.kernels, self.pods, self.servers = Copy(), Copy(), Copy()
        self.ledger = Ledger(
            days,
            kernels=self.kernels,
            pods=self.pods,
            notebook_pods=self.servers,
            covers=lambda namespace: namespace == "users",
            groups=lambda: GROUPS,
            retention=timedelta(days=400),
            note=lambda account, amounts, groups: self.noted.append((account, set(groups))),
        )

    async def __aenter__(self):
        self.task = asyncio.create_task(self.ledger.run())
        await asyncio.wait_for(self.kernels.followed.wait(), 10)
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    """It is around noon in UTC: what began half an hour ago began today."""
    real, start = timestamps.now, timestamps.now()
    shift = start.replace(hour=12, minute=0, second=0, microsecond=0) - start
    monkeypatch.setattr(timestamps, "now", lambda: real() + shift)


@pytest.fixture
def days():
    return Days()


def minutes(amounts):
    values = amounts.held, amounts.used, amounts.given_back
    return [pytest.approx(seconds / 60, abs=0.1) for seconds in values]


async def test_it_books_what_is_there_and_what_changes_and_writes_at_its_end(days):
    keeping = Keeping(days)
    kernel = a_kernel("busy")
    keeping.kernels.set(kernel)
    keeping.pods.set(a_pod(kernel, 10))
    keeping.servers.set(a_server(30))
    async with keeping:
        waits = a_kernel("starting", "kernel-2")
        keeping.kernels.set(waits)
        keeping.pods.set(a_pod(waits, node=None))
        no_gpu = a_kernel("busy", "kernel-3")
        keeping.kernels.set(no_gpu)
        keeping.pods.set(a_pod(no_gpu, gpus="0"))
        await keeping.ledger.write()
        (item,) = days.items.values()
        assert item["status"]["users"]["ada"]["groups"] == ["staff"]
        assert item["status"]["servers"] == {"server": [{"user": "ada", "spec": "gpu", "gpus": 1}]}
        keeping.kernels.set(a_kernel("idle"))
        keeping.pods.remove(keeping.pods.store.get(key_of(kernel)))
        keeping.servers.remove(keeping.servers.store.get(("users", "jupyter-ada")))
    assert [*days.amounts()] == [Account("ada", "gpu")]
    assert minutes(days.amounts()["ada", "gpu"]) == [10, 10, 20]
    (item,) = days.items.values()
    assert item["status"]["servers"] == {}
    assert (Account("ada", "gpu"), {"staff"}) in keeping.noted


async def test_the_next_one_goes_on_and_books_nothing_twice(days):
    kernel, server = a_kernel("idle"), a_server(30)
    pod = a_pod(kernel, 10)
    for _ in range(3):
        keeping = Keeping(days)
        keeping.kernels.set(kernel)
        keeping.servers.set(server)
        keeping.pods.set(pod)
        async with keeping:
            await keeping.ledger.write()
    assert minutes(days.amounts()["ada", "gpu"]) == [10, 0, 20]


async def test_a_pod_that_is_over_holds_nothing_though_it_is_there(days):
    kernel = a_kernel("idle")
    keeping = Keeping(days)
    keeping.kernels.set(kernel)
    keeping.pods.set(a_pod(kernel, 10, phase="Failed"))
    async with keeping:
        await keeping.ledger.write()
    assert days.items == {}


async def test_without_the_definition_it_goes_on_and_writes_all_once_it_is_there(days, caplog):
    days.fails = True
    kernel = a_kernel("busy")
    keeping = Keeping(days)
    keeping.kernels.set(kernel)
    keeping.pods.set(a_pod(kernel, 10))
    async with keeping:
        for _ in range(2):
            with pytest.raises(ApiError):
                await keeping.ledger.write()
        days.fails = False
        await keeping.ledger.write()
    assert minutes(days.amounts()["ada", "gpu"]) == [10, 10, 0]


async def test_what_could_not_be_written_is_written_the_next_time(days):
    kernel = a_kernel("busy")
    keeping = Keeping(days)
    keeping.kernels.set(kernel)
    keeping.pods.set(a_pod(kernel, 10))
    async with keeping:
        await keeping.ledger.write()
        written = days.patches
        days.fails = True
        keeping.pods.remove(keeping.pods.store.get(key_of(kernel)))
        with pytest.raises(ApiError):
            await keeping.ledger.write()
        days.fails = False
        await keeping.ledger.write()
        assert days.patches == written + 1
        # Nothing happens: nothing is written.
        await keeping.ledger.write()
        assert days.patches == written + 1


async def test_a_warm_pod_is_nobodys_until_it_is_claimed(days):
    kernel = a_kernel("idle")
    warm, claimed = a_pod(kernel, 10), a_pod(kernel, 10)
    reference = {"kind": "JupyterKernelSpec", "name": "gpu", "controller": True, "uid": "s"}
    warm["metadata"] |= {
        "ownerReferences": [reference],
        "labels": {"kubeflow.tkestack.io/kernel-spec": "gpu"},
    }
    keeping = Keeping(days)
    keeping.servers.set(a_server(30))
    keeping.pods.set(warm)
    async with keeping:
        keeping.kernels.set(kernel)
        keeping.pods.set(claimed)
        await keeping.ledger.write()
    assert minutes(days.amounts()["", "gpu"]) == [10, 0, 0]
    assert minutes(days.amounts()["ada", "gpu"]) == [0, 0, 30]


async def test_what_comes_for_a_past_day_while_that_is_written_is_counted_once(days):
    yesterday = timestamps.now().date() - timedelta(days=1)
    bobs, eves = (a_kernel("idle", f"kernel-of-{name}", name) for name in ("bob", "eve"))
    days.items[yesterday] = document.empty(yesterday) | {
        "status": {"users": {"eve": {"specs": {"gpu": {"givenBack": 600.0}}}}}
    }
    keeping = Keeping(days)
    for name in ("bob", "eve"):
        server = a_server(24 * 60, name)
        server["metadata"]["uid"] = f"server-of-{name}"
        keeping.servers.set(server)

    def eve_starts_too():
        days.meanwhile = lambda: None
        keeping.kernels.set(eves)
        keeping.pods.set(a_pod(eves, 10))

    async with keeping:
        keeping.kernels.set(bobs)
        keeping.pods.set(a_pod(bobs, 10))
        days.meanwhile = eve_starts_too
        for _ in range(3):
            await keeping.ledger.write()
    booked = {row.entry.account.user: row.amounts for row in document.rows(days.items[yesterday])}
    assert minutes(booked["bob"]) == [0, 0, 12 * 60]
    assert minutes(booked["eve"]) == [0, 0, 10 + 12 * 60]
    totals = days.items[yesterday]["status"]["totals"]
    assert totals["givenBack"] == pytest.approx(60 * (10 + 24 * 60), abs=20)
