"""A kernel that its gateway has sealed is culled, though the API server fails meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from hub_service.culling import Confirm
from hub_service.gateways.activity import Sealed
from hub_service.kinds import CULLED, Phase, Reason, condition
from hub_service.kube import ApiError, Key
from hub_service.reconcile.kernels import KernelReconciler
from hub_service.reconcile.seals import Seals
from tests.unit.service.kernels import a_kernel

KEY = Key("users", "kernel-1")


class Api:
    """Answers the first write of a status with 500."""

    def __init__(self, item):
        self.item = item
        self.fails = True
        self.deleted = False

    async def merge_patch(self, _resource, _namespace, _name, patch, *, subresource):
        assert subresource == "status"
        if self.fails:
            self.fails = False
            raise ApiError(500, "InternalError", "etcd has no leader")
        present = {**(self.item.get("status") or {}), **patch["status"]}
        self.item = {**self.item, "status": present}
        return self.item

    async def delete(self, _resource, namespace, name, *, uid):
        assert (namespace, name, uid) == (*KEY, self.item["metadata"]["uid"])
        self.deleted = True


async def test_the_gateways_answer_is_kept_until_it_is_written():
    api = Api(a_kernel() | {"status": {"phase": Phase.RUNNING}})
    store = SimpleNamespace(get=lambda _: api.item)
    seals = Seals(lambda _: None)
    seals.put_back(KEY, Sealed())
    removed = []

    async def remove(key):
        removed.append(key)

    verdict = Confirm(datetime(2030, 1, 1, tzinfo=UTC), Reason.IDLE, "It was idle.")
    reconciler = KernelReconciler(
        api,
        kernels=SimpleNamespace(store=store, record=lambda _: None),
        pods=SimpleNamespace(remove=remove),
        admissions=SimpleNamespace(of=lambda _: None),
        starts=None,
        liveness_rule=None,
        heart_lost_since=lambda _: None,
        culling=SimpleNamespace(sealed=lambda _: verdict),
        seals=seals,
        recorder=SimpleNamespace(record=lambda _: None),
    )
    with pytest.raises(ApiError):
        await reconciler.reconcile(KEY)
    assert removed == []
    await reconciler.reconcile(KEY)
    assert condition(api.item, CULLED)["reason"] == Reason.IDLE
    assert (removed, api.deleted) == ([KEY], True)
