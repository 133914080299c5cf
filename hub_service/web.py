"""What the service shows: health for everybody, and to people their own kernels.

Who is calling is the hub's word (OAuth in a browser, or a token in the Authorization header); only
tokens with access to this service pass. All is read from the reflector's copy.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from html import escape
from http.client import responses
from typing import Any

from jupyterhub.services.auth import (
    HubOAuth,
    HubOAuthCallbackHandler,
    HubOAuthenticated,
    UserNotAllowed,
)
from tornado.web import Application, HTTPError, RequestHandler

from hub_service.kinds import Object, condition, name_of, namespace_of, spec_of, status_of
from hub_service.kube import Reflector

log = logging.getLogger(__name__)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Kernels</title>
<style>
body {{ font-family: sans-serif; margin: 2rem }}
table {{ border-collapse: collapse }}
th, td {{ text-align: left; padding: .3rem .8rem; border-bottom: 1px solid #ccc }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
<thead><tr>{head}</tr></thead>
<tbody>{rows}</tbody>
</table>
<p>Kernels are stopped in JupyterLab, under Running Terminals and Kernels.
<a href="{hub}">Back to the hub</a></p>
</body>
</html>
"""
_COLUMNS = (
    "owner", "name", "spec", "phase", "state", "idle_since", "gpus", "node",
    "reason", "since", "waiting_behind", "message",
)  # fmt: skip


def application(
    *,
    prefix: str,
    kernels: Reflector,
    covers: Callable[[str], bool],
    is_ready: Callable[[], bool],
    hub_auth: HubOAuth,
    cookie_secret: bytes,
) -> Application:
    """The service's pages under `prefix`, which begins and ends with a slash.

    covers: whether the service looks after a namespace; the reflector may see others as well.
    cookie_secret: the same for all that serve them, as a login may begin at one and end at another.
    """
    return Application(
        [
            (prefix + "health", _Health),
            (prefix + "api/kernels", _Kernels),
            (prefix + "oauth_callback", _Callback),
            (prefix, _Page),
        ],
        default_handler_class=_NotFound,
        cookie_secret=cookie_secret,
        log_function=_log_request,
        kernels=kernels,
        covers=covers,
        is_ready=is_ready,
        hub_auth=hub_auth,
    )


def health_application(is_ready: Callable[[], bool]) -> Application:
    """All that is served where there is no hub that could say who is calling: /health."""
    return Application(
        [("/health", _Health)],
        default_handler_class=_NotFound,
        log_function=_log_request,
        is_ready=is_ready,
    )


def metrics_application(rendered: Callable[[], bytes], content_type: str) -> Application:
    """/metrics, for a port that is reached from inside the cluster only."""
    return Application(
        [("/metrics", _Metrics)],
        default_handler_class=_NotFound,
        log_function=_log_request,
        rendered=rendered,
        content_type=content_type,
    )


def _log_request(handler: RequestHandler) -> None:
    """One line a request, without its query: a login's code and people's tokens can be in that."""
    request, status = handler.request, handler.get_status()
    level = logging.DEBUG if status < 400 else logging.WARNING
    log.log(level, "%d %s %s", status, request.method, request.path)


def kernel_model(kernel: Object) -> Object:
    """A JupyterKernel as the API shows it; times in RFC 3339, None where there is nothing."""
    spec, status = spec_of(kernel), status_of(kernel)
    activity: Object = status.get("activity") or {}
    start: Object = status.get("start") or {}
    decisive = _decisive_condition(kernel)
    return {
        "id": spec.get("kernelID"),
        "name": name_of(kernel),
        "namespace": namespace_of(kernel),
        "owner": spec.get("owner"),
        "server": spec.get("server"),
        "spec": spec.get("kernelSpecName"),
        "gateway": (spec.get("gateway") or {}).get("name"),
        "phase": status.get("phase") or "Pending",
        "reason": decisive.get("reason"),
        "message": decisive.get("message"),
        "since": start.get("since") or decisive.get("lastTransitionTime"),
        "deadline": start.get("deadline"),
        "waiting_behind": start.get("waitingBehind"),
        "gpus": status.get("gpus", 0),
        "node": status.get("nodeName"),
        "pod": status.get("podName"),
        "state": activity.get("executionState"),
        "last_activity": activity.get("lastActivity"),
        "idle_since": activity.get("idleSince"),
        "created": kernel["metadata"].get("creationTimestamp"),
    }


def _decisive_condition(kernel: Object) -> Object:
    """The condition that the phase rests on."""
    for kind in ("Culled", "Failed", "Succeeded", "Running", "Admitted"):
        entry = condition(kernel, kind)
        if entry is not None:
            return entry
    return {}


class _Handler(RequestHandler):
    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Without the request's query, as in `_log_request`."""
        if not isinstance(value, HTTPError):
            log.error(
                "%s %s failed", self.request.method, self.request.path, exc_info=(typ, value, tb)
            )


class _Json(_Handler):
    """Answers, errors included, are JSON."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        message = error.log_message if isinstance(error, HTTPError) else None
        message = message or responses.get(status_code, "Unknown")
        self.finish(json.dumps({"status": status_code, "message": message}))


class _NotFound(_Json):
    def prepare(self) -> None:
        raise HTTPError(404, "There is no such page.")


class _Health(_Json):
    def get(self) -> None:
        ready = self.settings["is_ready"]()
        self.set_status(200 if ready else 503)
        self.finish(json.dumps({"ready": ready}))


class _Metrics(_Handler):
    def get(self) -> None:
        self.set_header("Content-Type", self.settings["content_type"])
        self.finish(self.settings["rendered"]())


class _Identified(HubOAuthenticated, _Handler):
    """Knows who is calling before its method runs; `current_user` is the hub's user model."""

    def initialize(self) -> None:
        self.hub_auth = self.settings["hub_auth"]

    async def prepare(self) -> None:
        # Not by the property `current_user`, which would ask the hub while blocking the loop.
        model = await self.hub_auth.get_user(self, sync=False)
        try:
            self.current_user = self.check_hub_user(model) if model else None
        except UserNotAllowed:
            raise HTTPError(403, f"{model['name']} has no access to this service.") from None


class _Callback(_Identified, HubOAuthCallbackHandler):
    """Ends the login that the hub began."""


class _OwnKernels(_Identified):
    def visible(self) -> list[Object]:
        """Kernels that the caller may see, oldest first; an admin sees all."""
        user = self.current_user
        covers = self.settings["covers"]
        shown: Iterable[Object] = (
            item for item in self.settings["kernels"].store if covers(namespace_of(item))
        )
        if not user.get("admin"):
            # A service isn't the user of its name.
            own = user["name"] if user.get("kind", "user") == "user" else None
            shown = [item for item in shown if own and spec_of(item).get("owner") == own]
        return sorted(map(kernel_model, shown), key=lambda model: (model["created"], model["name"]))


class _Kernels(_Json, _OwnKernels):
    def get(self) -> None:
        if self.current_user is None:
            raise HTTPError(403, "Log in to the hub, or send Authorization: token <token>.")
        self.finish(json.dumps(self.visible()))


class _Page(_OwnKernels):
    def get(self) -> None:
        if self.current_user is None:
            self.redirect(self.get_login_url())
            return
        head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in _COLUMNS)
        rows = "".join(_row(model) for model in self.visible())
        who = "All kernels" if self.current_user.get("admin") else "Your kernels"
        self.set_header("Cache-Control", "no-store")
        self.finish(
            _PAGE.format(
                title=who, head=head, rows=rows, hub=escape(f"{self.hub_auth.hub_prefix}home")
            )
        )


def _row(model: Object) -> str:
    cells = (model[column] for column in _COLUMNS)
    texts = ("" if cell is None else escape(str(cell)) for cell in cells)
    return f"<tr>{''.join(f'<td>{text}</td>' for text in texts)}</tr>"
