"""The Kubernetes API on plain dicts.

kubernetes_asyncio's generated classes are left aside because reading lists into them costs several
times what reading JSON does. Every request has a time-out: without one, a connection whose other
end has gone would be waited on for ever.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from hub_service.kube.access import Access, from_environment
from hub_service.kube.errors import ApiError, unanswered
from hub_service.kube.execute import Executed, execute

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient

Object = dict[str, Any]

JSON = "application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class ResourceType(Protocol):
    """What the client needs to know of a kind."""

    @property
    def group(self) -> str:
        """API group; empty for the core API."""

    @property
    def version(self) -> str:
        """API version."""

    @property
    def plural(self) -> str:
        """Name in URLs."""

    @property
    def kind(self) -> str:
        """Name in objects."""


class Cluster:
    """One API server. Made by `from_environment`, or `of_client`."""

    def __init__(
        self,
        access: Access,
        *,
        request_timeout: float = 15.0,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._access = access
        self._request_timeout = request_timeout
        self._timeout = aiohttp.ClientTimeout(total=request_timeout, sock_connect=5.0)
        self._may_write = may_write

    def guarded(self, may_write: Callable[[], bool]) -> Cluster:
        """The same API server for somebody who may not always write.

        Where `may_write` says no, a write is not sent, but raises ApiError 0, reason NotAllowedNow.
        """
        return Cluster(self._access, request_timeout=self._request_timeout, may_write=may_write)

    @classmethod
    @asynccontextmanager
    async def from_environment(cls, *, request_timeout: float = 15.0) -> AsyncIterator[Cluster]:
        """Connect: see `access.from_environment`. Raises ConfigurationError."""
        async with from_environment() as access:
            yield cls(access, request_timeout=request_timeout)

    @classmethod
    def of_client(cls, client: ApiClient) -> Cluster:
        """On the connections of a client of kubernetes_asyncio's that somebody else has made."""
        return cls(Access(client.configuration, client.rest_client.pool_manager))

    async def get(self, resource: ResourceType, namespace: str | None, name: str) -> Object:
        """One object. ApiError 404 where there is none."""
        return await self._request("GET", _path(resource, namespace, name))

    async def list(
        self,
        resource: ResourceType,
        namespace: str | None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        *,
        only_metadata: bool = False,
    ) -> Object:
        """The list object, with `items` and `metadata.resourceVersion`; None: all namespaces.

        With `only_metadata` the items' contents stay on the server: of Secrets, for example.
        """
        query = _selection(label_selector, field_selector)
        accept = METADATA_LIST if only_metadata else JSON
        result = await self._request("GET", _path(resource, namespace), query=query, accept=accept)
        api_version = f"{resource.group}/{resource.version}".lstrip("/")
        for item in result.get("items") or []:  # the server leaves these out within lists
            item.setdefault("kind", resource.kind)
            item.setdefault("apiVersion", api_version)
        return result

    async def create(
        self,
        resource: ResourceType,
        namespace: str | None,
        body: Object,
        *,
        dry_run: bool = False,
    ) -> Object:
        """Create; ApiError 409 (reason AlreadyExists) where the name is taken.

        With `dry_run` the server says what would come of it, and makes nothing.
        """
        query = {"dryRun": "All"} if dry_run else {}
        return await self._request("POST", _path(resource, namespace), query=query, body=body)

    async def delete(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period: int | None = None,
        propagation: str = "Background",
    ) -> Object:
        """Delete; with `uid`, only that very object (ApiError 409 where it is another by now).

        With `resource_version`, only if it has not been changed since.
        """
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if given := {name: value for name, value in preconditions.items() if value is not None}:
            options["preconditions"] = given
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        return await self._request("DELETE", _path(resource, namespace, name), body=options)

    async def merge_patch(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        body: Object,
        *,
        subresource: str | None = None,
    ) -> Object:
        """JSON merge patch: given keys are set, null removes, lists are replaced whole."""
        path = _path(resource, namespace, name, subresource)
        return await self._request("PATCH", path, body=body, content_type=MERGE_PATCH)

    async def apply(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        body: Object,
        *,
        field_manager: str,
        force: bool = True,
        subresource: str | None = None,
    ) -> Object:
        """Server-side apply; with `force`, fields that others manage are taken over."""
        path = _path(resource, namespace, name, subresource)
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        return await self._request("PATCH", path, query=query, body=body, content_type=APPLY_PATCH)

    async def watch(
        self,
        resource: ResourceType,
        namespace: str | None,
        resource_version: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout: float = 300.0,
        silence: float = 90.0,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Events after `resource_version`: ADDED, MODIFIED, DELETED or BOOKMARK, and the object.

        The server ends the watch after `timeout` seconds. After `silence` seconds without a byte
        the connection is taken for dead (bookmarks come about once a minute), as it is a little
        after `timeout`. Raises ApiError, with status 410 where `resource_version` is too old.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(timeout)),
            **_selection(label_selector, field_selector),
        }
        limits = aiohttp.ClientTimeout(total=timeout + 30, sock_connect=5.0, sock_read=silence)
        try:
            response = await self._send(
                "GET",
                _path(resource, namespace),
                query,
                timeout=limits,
                session=self._access.watches,
            )
            try:
                if response.status != 200:
                    raise _refusal(response.status, await response.read())
                async for line in _lines(response):
                    yield _event(line)
            finally:
                response.close()  # not kept for reuse: there may be more to come on it
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unanswered(error) from error

    async def execute(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        timeout: float = 10.0,
        stdin: bytes | None = None,
    ) -> Executed:
        """Run a command in a container to its end: see `execute.execute`. Raises ApiError."""
        self._check_may_write()
        return await execute(
            self._access, namespace, pod, container, command, timeout=timeout, stdin=stdin
        )

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Object:
        if method != "GET":
            self._check_may_write()
        try:
            response = await self._send(
                method, path, query or {}, body=body, content_type=content_type, accept=accept
            )
            async with response:
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unanswered(error) from error
        if not 200 <= response.status <= 299:
            raise _refusal(response.status, data)
        try:
            result = json.loads(data)
        except ValueError as error:
            raise ApiError(0, "MalformedAnswer", f"{method} {path}: not JSON") from error
        return dict(result)

    def _check_may_write(self) -> None:
        if not self._may_write():
            raise ApiError(0, "NotAllowedNow", "not sent: another may have taken over")

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: aiohttp.ClientTimeout | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept, "Content-Type": content_type}
        headers |= await self._access.authorization()
        return await (session or self._access.session).request(
            method,
            self._access.url(path),
            params=query,
            headers=headers,
            data=None if body is None else json.dumps(body),
            timeout=timeout or self._timeout,
            **self._access.routing,
        )


def _path(
    resource: ResourceType,
    namespace: str | None,
    name: str | None = None,
    subresource: str | None = None,
) -> str:
    parts = ["apis", resource.group] if resource.group else ["api"]
    parts.append(resource.version)
    if namespace is not None:
        parts += ["namespaces", namespace]
    parts.append(resource.plural)
    parts += [part for part in (name, subresource) if part is not None]
    return "/" + "/".join(parts)


def _selection(labels: str | None, fields: str | None) -> dict[str, str]:
    selectors = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in selectors.items() if value}


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    # Not `readline`: it limits the length of a line, and one event can be over a megabyte.
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        if b"\n" not in chunk:
            continue
        *lines, rest = bytes(buffer).split(b"\n")
        buffer = bytearray(rest)
        for line in lines:
            if line.strip():
                yield line


def _event(line: bytes) -> tuple[str, Object]:
    try:
        event = json.loads(line)
        kind, item = str(event["type"]), dict(event["object"])
        if kind != "ERROR":
            _ = item["metadata"]["resourceVersion"]
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError(0, "MalformedEvent", "an event of the watch can't be read") from error
    if kind == "ERROR":
        raise ApiError(
            int(item.get("code") or 500), str(item.get("reason")), str(item.get("message"))
        )
    return kind, item


def _refusal(status: int, data: bytes) -> ApiError:
    """What the server said; its Status object where the body is one."""
    text = data.decode("utf-8", "replace")
    try:
        answer = json.loads(text)
        return ApiError(status, str(answer["reason"]), str(answer["message"]))
    except (ValueError, KeyError, TypeError):
        return ApiError(status, "Unknown", text[:1000])
