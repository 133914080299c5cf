"""Kernels of the gateway's tests: real ipykernel processes on loopback addresses.

Of the hub service and the kubelet only what the gateway sees is done: the kernels' state is written
with the service's own functions.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hub_service import kinds, timestamps
from hub_service.kernels import inplace, interrupt, kernel_status, liveness, restart
from hub_service.kernels import kernel as kernels
from hub_service.kernels.podstate import PodState
from hub_service.kinds import Object
from hub_service.kube import ApiError, Cluster, Key, Reflector
from hub_service.starts.judge import Verdict
from tests.gateway.support import DEADLINE

NEVER = liveness.Rule(timeout=0, restarts=0)


class Kernels:
    """Stands in for the hub service and the kubelet, for one namespace.

    refuse: by owner, the message with which admission refuses.
    hold: owners whose kernels stay pending.
    gates: by owner, what their kernels wait for before they get a node.
    deadlines: by owner, what their kernels fail with at the gate.
    mute: owners whose kernels' containers run, and nothing in them answers.
    addresses: of the pods to come.
    pods: ipykernel processes by name of the pod they stand for.
    deaf: owners whose kernels' interrupts and restarts in place fail, with this message.
    """

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.refuse: dict[str, str] = {}
        self.hold: set[str] = set()
        self.gates: dict[str, asyncio.Event] = {}
        self.deadlines: dict[str, str] = {}
        self.mute: set[str] = set()
        self.deaf: dict[str, str] = {}
        self.pods: dict[str, asyncio.subprocess.Process] = {}
        self._cluster, self._namespace, self._folder = cluster, namespace, str(folder)
        # Ports are the same for every kernel: two runs at a time must not meet.
        network = f"127.{random.randrange(1, 255)}.{random.randrange(255)}"
        self.addresses = (f"{network}.{number}" for number in itertools.count(2))
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: set[tuple[str, int]] = set()
        self._interrupts: set[str] = set()
        self._again: set[str] = set()
        self.cache = Reflector(cluster, kinds.JUPYTER_KERNELS, namespace, on_change=self._on_change)

    def of(self, kernel_id: str) -> Object:
        """The JupyterKernel as it is; without a spec of its own once it is gone."""
        return self.cache.store.get((self._namespace, f"kernel-{kernel_id}")) or {"spec": {}}

    async def until(self, kernel_id: str, predicate: Callable[[Object | None], bool]) -> None:
        await self.cache.wait_for((self._namespace, f"kernel-{kernel_id}"), predicate, DEADLINE)

    def _on_change(self, key: Key, old: Object | None, new: Object | None) -> None:
        item = new or old
        assert item is not None
        if new is not None and (asked := interrupt.asked(new)) and asked not in self._interrupts:
            self._interrupts.add(asked)
            self._begin(self._interrupt(new, asked))
        if new is not None and (asked := restart.asked(new)) and asked not in self._interrupts:
            self._interrupts.add(asked)
            self._begin(self._restart(new))
        step = (kinds.uid_of(item), -1 if new is None else kernels.incarnation(item))
        if step in self._seen:
            return
        self._seen.add(step)
        self._begin(self._end(item) if new is None else self._start(new))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _interrupt(self, item: Object, interrupt_id: str) -> None:
        problem = self.deaf.get(kinds.spec_of(item)["owner"])
        await self.write(item, interrupt.status_of_begun(interrupt_id))
        if problem is None:
            self.pods[kernels.pod_of_incarnation(item)].send_signal(signal.SIGINT)
        await self.write(item, interrupt.status_of_outcome(interrupt_id, problem))

    async def _restart(self, item: Object) -> None:
        """What the service and the supervisor in the container do, with their own decisions."""
        name, now = kernels.pod_of_incarnation(item), timestamps.now()
        stuck = self.deaf.get(kinds.spec_of(item)["owner"])
        decision = (
            restart.Refuse(kinds.spec_of(item)["restart"]["id"], stuck)
            if stuck
            else restart.decide(item, kernels.desired_pod(item), None, NEVER, now)
        )
        assert decision is not None
        item = await self.write(item, restart.status_of_begun(decision, item, now))
        if isinstance(decision, restart.Deliver):
            await self.restart(name, decision.grace)
            problem = None
        else:
            problem = decision.message
        await self.write(item, restart.status_of_outcome(decision, problem))

    async def restart(self, name: str, grace: float) -> None:
        """Run the command of a pod again."""
        process = self.pods[name]
        self._again.add(name)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _end(self, item: Object) -> None:
        for name, process in self.pods.items():
            if name.startswith(kinds.name_of(item)) and process.returncode is None:
                process.kill()
                await process.wait()

    async def _start(self, item: Object) -> None:
        owner = kinds.spec_of(item)["owner"]
        refused = self.refuse.get(owner)
        admission = kernel_status.of_admission(
            item,
            admitted=refused is None,
            reason=kinds.Reason.QUOTA_EXCEEDED if refused else kinds.Reason.WITHIN_QUOTA,
            message=refused or "",
            now=timestamps.now(),
        )
        item = await self.write(item, admission)
        if refused or owner in self.hold:
            return
        pod, ip = kernels.desired_pod(item), next(self.addresses)
        if gate := self.gates.get(owner):
            await self.waits(item, "Waiting for a GPU.")
            await gate.wait()
        if sentence := self.deadlines.get(owner):
            pod["status"] = {"phase": "Failed", "reason": "TooLarge", "message": sentence}
            await self.write(item, kernel_status.of_pod(item, pod, timestamps.now()))
            return
        secret = await self._cluster.get(
            kinds.SECRETS, self._namespace, kinds.spec_of(item)["connectionSecret"]
        )
        content = json.loads(base64.b64decode(secret["data"][kinds.CONNECTION_KEY])) | {"ip": ip}
        name = kinds.name_of(pod)
        self.pods[name] = await self._run(pod, content)
        pod["status"] = {
            "phase": "Running",
            "podIP": ip,
            "containerStatuses": [{"name": "kernel", "state": {"running": {}}, "ready": True}],
        }
        item = await self.write(item, kernel_status.of_pod(item, pod, timestamps.now()))
        code = await self.pods[name].wait()
        while name in self._again:
            self._again.remove(name)
            self.pods[name] = await self._run(pod, content)
            code = await self.pods[name].wait()
        if kernels.incarnation(self.of(item["spec"]["kernelID"])) != kernels.incarnation(item):
            return  # replaced meanwhile
        ended = {"exitCode": code, "reason": "OOMKilled" if code == -9 else "Error"}
        pod["status"]["phase"] = "Succeeded" if code == 0 else "Failed"
        pod["status"]["containerStatuses"][0]["state"] = {"terminated": ended}
        await self.write(item, kernel_status.of_pod(item, pod, timestamps.now()))

    async def _run(self, pod: Object, connection: Object) -> asyncio.subprocess.Process:
        container = pod["spec"]["containers"][0]
        path = Path(self._folder, f"{kinds.name_of(pod)}.json")
        await asyncio.to_thread(path.write_text, json.dumps(connection))
        command = inplace.kernel_command(container)
        words = [word.replace(kinds.CONNECTION_FILE, str(path)) for word in command]
        if pod["metadata"]["labels"][kinds.LABEL_OWNER] in self.mute:
            words[1:] = ["-c", "import signal; signal.pause()"]
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        return await asyncio.create_subprocess_exec(
            sys.executable,  # the gateway's own has an ipykernel for its tests
            *words[1:],
            env={"PATH": os.environ["PATH"], "HOME": self._folder, **environment},
            stdout=asyncio.subprocess.DEVNULL,
        )

    async def waits(self, item: Object, sentence: str) -> Object:
        """Have a kernel's status say what it waits for."""
        now = timestamps.now()
        state = PodState(kinds.Phase.PENDING, kinds.Reason.UNSCHEDULABLE, sentence)
        status = kernel_status.of_pod(item, kernels.desired_pod(item), now, Verdict(state, now))
        return await self.write(item, status)

    async def write(self, item: Object, status: Object) -> Object:
        try:
            return await self._cluster.merge_patch(
                kinds.JUPYTER_KERNELS,
                self._namespace,
                kinds.name_of(item),
                {"status": status},
                subresource="status",
            )
        except ApiError as error:
            if error.status != 404:
                raise
            return item

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Kernels]:
        watch = asyncio.create_task(self.cache.run())
        try:
            await self.cache.synced(DEADLINE)
            yield self
        finally:
            watch.cancel()
            for process in self.pods.values():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(watch, *self._tasks, return_exceptions=True)
