"""The gateway's REST API. Every handler asks the hub who is calling before it does anything.

Enterprise Gateway's and jupyter_server's own handlers are not served: they know one token for all,
let anybody reach any kernel, and hold one request's environment where another's start reads it.
Sessions are kept by notebook servers themselves; what is served of them is there for the server
that comes after another.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

from tornado import web

from elastic_spawner.gateway import sessions
from elastic_spawner.gateway.channels import ChannelsHandler
from elastic_spawner.gateway.environment import (
    filter_environment,
    start_timeout,
    working_directory,
)
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.jsonerrors import JSONErrors
from elastic_spawner.gateway.kernelmanager import ElasticKernelManager
from elastic_spawner.gateway.kernels import ElasticMappingKernelManager
from elastic_spawner.gateway.kernelspecs import SpecCatalog
from elastic_spawner.gateway.proxy import KernelStart
from elastic_spawner.gateway.runtime import Runtime
from hub_service import timestamps
from hub_service.gateways.activity import Why
from hub_service.kernels.saving import Outcome


class JSONHandler(JSONErrors, web.RequestHandler):
    """Answers in JSON."""

    @property
    def runtime(self) -> Runtime:
        """What the gateway's parts share."""
        runtime: Runtime = self.settings["runtime"]
        return runtime


class AuthenticatedHandler(JSONHandler):
    """Knows its caller.

    serves_service: whether the hub service may call; for everything else only users may.
    """

    serves_service = False
    caller: Identity

    @property
    def kernels(self) -> ElasticMappingKernelManager:
        """All kernels of the gateway."""
        manager: ElasticMappingKernelManager = self.settings["kernel_manager"]
        return manager

    @property
    def catalog(self) -> SpecCatalog:
        """The specs that the caller may use."""
        return self.runtime.catalog.seen_by(self.caller)

    async def prepare(self) -> None:
        """Identify the caller; KernelError 401, 403 or 503."""
        self.caller = await self.runtime.caller(self.request.headers.get("Authorization"))
        if self.caller.is_service != self.serves_service:
            raise KernelError(403, "NotForThisCaller", "This is not for you to call.")
        if kernel_id := self.path_kwargs.get("kernel_id"):
            await self.kernels.find(kernel_id, self.caller)

    def kernel(self, kernel_id: str) -> ElasticKernelManager:
        """A kernel of the caller's; KernelError 404."""
        return self.kernels.owned(kernel_id, self.caller)

    def body(self) -> dict[str, Any]:
        """The JSON object of the request's body, {} for none; KernelError 400 for anything else."""
        if not self.request.body.strip():
            return {}
        try:
            value = json.loads(self.request.body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise KernelError(400, "BadRequest", "The request's body must be a JSON object.")
        return value


class KernelsHandler(AuthenticatedHandler):
    """/api/kernels: the caller's kernels, and starting one."""

    _starting: asyncio.Task[ElasticKernelManager] | None = None

    def get(self) -> None:
        """List the caller's kernels."""
        models = [manager.model() for manager in self.kernels.owned_by(self.caller)]
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(models))

    async def post(self) -> None:
        """Start a kernel of the spec `name`, with `env` as far as the spec declares it.

        All else in the body is of no effect: a client chooses neither a kernel's id nor what it
        runs in.

        A start that takes longer than `answer_after` is answered while it goes on: the model's
        execution_state is `starting` then, and `reason` says what it waits for.
        """
        start = self.kernels.start_owned(self._start(self.body()), self.runtime.answer_after)
        self._starting = asyncio.create_task(start)
        try:
            manager = await self._starting
        except asyncio.CancelledError as error:
            if self.runtime.is_stopping:
                message = "The gateway is stopping: start the kernel again."
                raise KernelError(503, "StartGivenUp", message) from error
            # Or the client has gone, and nobody reads this.
            message = "The kernel was shut down while it started."
            raise KernelError(410, "KernelDeleted", message) from error
        self.set_status(201)
        self.set_header("Location", f"/api/kernels/{manager.kernel_id}")
        self.finish(manager.model())

    def on_connection_close(self) -> None:
        """The client has gone: a kernel that it will never know of is not started for it."""
        if self.runtime.is_stopping:
            return  # it hasn't: another process of the gateway goes on with the kernel
        if self._starting is not None and not self._starting.done():
            self.settings["log"].info("a start is given up: %s has gone", self.caller.name)
            self._starting.cancel()

    def _start(self, body: dict[str, Any]) -> KernelStart:
        catalog = self.catalog
        name = catalog.default_name() if body.get("name") is None else body["name"]
        env = {} if body.get("env") is None else body["env"]
        if not isinstance(name, str) or not isinstance(env, dict):
            raise KernelError(400, "BadRequest", "name must be a string and env an object.")
        try:
            known = {
                "KERNEL_USERNAME": self.caller.name,
                "KERNEL_NAME": name,
                "KERNEL_NAMESPACE": self.runtime.namespace_of_kernels(self.caller),
                "KERNEL_LANGUAGE": catalog.model(name)["spec"]["language"],
            }
            environment = filter_environment(env, catalog.declared_variables(name), known)
            timeout = start_timeout(env, self.runtime.start_timeout)
            folder = working_directory(env)
        except ValueError as error:
            raise KernelError(400, "BadRequest", f"{error}.") from error
        return KernelStart(
            self.caller, name, environment.accepted, timeout, tuple(environment.dropped), folder
        )


class KernelHandler(AuthenticatedHandler):
    """/api/kernels/<id>: one kernel."""

    def get(self, kernel_id: str) -> None:
        """Its model."""
        self.finish(self.kernel(kernel_id).model())

    async def delete(self, kernel_id: str) -> None:
        """End it."""
        manager = self.kernel(kernel_id)
        await self.kernels.shutdown_kernel(manager.kernel_id)
        self.set_status(204)


class KernelSessionsHandler(AuthenticatedHandler):
    """/api/kernels/<id>/sessions: which notebooks a kernel runs for; its model shows them."""

    async def put(self, kernel_id: str) -> None:
        """Replace them."""
        manager = self.kernel(kernel_id)
        try:
            text = sessions.annotation(self.body())
        except ValueError as error:
            raise KernelError(400, "BadRequest", str(error)) from error
        await manager.keep_sessions(text)
        self.set_status(204)


class InterruptHandler(AuthenticatedHandler):
    """/api/kernels/<id>/interrupt."""

    async def post(self, kernel_id: str) -> None:
        """Interrupt the running cell."""
        await self.kernel(kernel_id).interrupt_kernel()
        self.set_status(204)


class RestartHandler(AuthenticatedHandler):
    """/api/kernels/<id>/restart."""

    async def post(self, kernel_id: str) -> None:
        """Give the kernel a new process; answers once that does."""
        manager = self.kernel(kernel_id)
        await self.kernels.restart_owned(manager)
        self.finish(manager.model())


class CullHandler(AuthenticatedHandler):
    """/api/kernels/<id>/cull, for the hub service."""

    serves_service = True

    async def post(self, kernel_id: str) -> None:
        """Seal the kernel if it has been idle since `idle_before`; or one `step` of that.

        hold, 200 {"sealed": false, "held": true}: what is sent for it waits, until it is sealed or
        released, or for half a minute. release: it is passed on. save: the kernel, which is held,
        runs what its spec names for that, 200 {"saved": {"succeeded", "message"}}; hold, asked
        again, is refused then if a cell waits. seal, as without a step:

        200 {"sealed": true}: it takes no more messages and was asked to end. 409 {"sealed":
        false, "execution_state", "last_activity"}: it has not been idle that long.

        `reason` and `message` are why, for its user; `saved` is what save has answered. With
        `unless_connected` it is neither held nor sealed while a notebook is connected to it.
        """
        body = self.body()
        try:
            idle_before = timestamps.parse(body.get("idle_before"))
        except (TypeError, ValueError):
            idle_before = None
        if idle_before is None:
            raise KernelError(400, "BadRequest", "idle_before must be an RFC 3339 time.")
        step = body.get("step", "seal")
        if step not in ("hold", "release", "save", "seal"):
            raise KernelError(400, "BadRequest", "step must be hold, release, save or seal.")
        manager = self.kernels.any(kernel_id)
        sealing = manager.sealing
        keeps_it = body.get("unless_connected") is True and self.kernels.connections(kernel_id)
        if step == "release" or (keeps_it and not sealing.sealed):
            sealing.release()
        elif step == "save" and (saved := await sealing.save()):
            self.finish({"saved": asdict(saved)})
            return
        elif step == "hold" and sealing.hold(idle_before):
            self.finish({"sealed": sealing.sealed, "held": sealing.held})
            return
        elif (step == "save" and sealing.sealed) or (
            step == "seal" and sealing.seal(idle_before, _why(body), _saved(body))
        ):
            self.finish({"sealed": True, "held": False})
            return
        self.set_status(409)
        self.finish(
            {
                "sealed": False,
                "execution_state": manager.execution_state,
                "last_activity": timestamps.microseconds(manager.last_activity),
            }
        )


def _why(body: dict[str, Any]) -> Why | None:
    return Why(str(body["reason"]), str(body.get("message", ""))) if body.get("reason") else None


def _saved(body: dict[str, Any]) -> Outcome | None:
    saved = body.get("saved")
    if not isinstance(saved, dict):
        return None
    return Outcome(saved.get("succeeded") is True, str(saved.get("message", "")))


class KernelSpecsHandler(AuthenticatedHandler):
    """/api/kernelspecs: the specs on offer."""

    def get(self) -> None:
        """The list; or one spec, where jupyter_server asks for one in its broken way.

        With KERNEL_USERNAME set it appends `?user=NAME` to the URL first and the spec's name
        after that: /api/kernelspecs?user=NAME/SPEC.
        """
        own = f"{self.caller.name}/"
        asked = unquote(self.request.query.removeprefix("user="))
        if self.request.query.startswith("user=") and asked.startswith(own):
            self.finish(self.catalog.model(asked.removeprefix(own)))
        else:
            self.finish(self.catalog.models())


class KernelSpecHandler(AuthenticatedHandler):
    """/api/kernelspecs/<name>: one spec."""

    def get(self, name: str) -> None:
        """Its model."""
        self.finish(self.catalog.model(name))


class HealthHandler(JSONHandler):
    """/api/health, for probes: no token needed."""

    def get(self) -> None:
        """200 once the caches are filled, 503 before."""
        ready = self.runtime.is_synced
        self.set_status(200 if ready else 503)
        self.finish({"ready": ready})


class NotFoundHandler(AuthenticatedHandler):
    """Everything else."""

    async def prepare(self) -> None:
        """404 for callers, whatever the method; who is none learns nothing."""
        await super().prepare()
        raise KernelError(404, "NotFound", "The gateway has nothing under this URL.")


_ID = r"(?P<kernel_id>[0-9a-fA-F-]{36})"

ROUTES: list[tuple[str, type[web.RequestHandler]]] = [
    (r"/api/health", HealthHandler),
    (r"/api/kernels", KernelsHandler),
    (rf"/api/kernels/{_ID}", KernelHandler),
    (rf"/api/kernels/{_ID}/sessions", KernelSessionsHandler),
    (rf"/api/kernels/{_ID}/interrupt", InterruptHandler),
    (rf"/api/kernels/{_ID}/restart", RestartHandler),
    (rf"/api/kernels/{_ID}/cull", CullHandler),
    (rf"/api/kernels/{_ID}/channels", ChannelsHandler),
    (r"/api/kernelspecs", KernelSpecsHandler),
    (r"/api/kernelspecs/(?P<name>[^/]+)", KernelSpecHandler),
    (r".*", NotFoundHandler),
]
