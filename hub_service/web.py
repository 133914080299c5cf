"""What the service shows to people: their own kernels.

Who is calling is the hub's word (OAuth in a browser, or a token in the Authorization header); only
tokens with access to this service pass. All is read from the reflector's copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from html import escape

from jupyterhub.services.auth import (
    HubOAuth,
    HubOAuthCallbackHandler,
    HubOAuthenticated,
    UserNotAllowed,
)
from tornado.web import Application, HTTPError

from hub_service.answers import Handler, Health, JsonHandler, NotFound, log_request
from hub_service.kinds import Object, condition, name_of, namespace_of, spec_of, status_of
from hub_service.kube import Reflector

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
            (prefix + "health", Health),
            (prefix + "api/kernels", _Kernels),
            (prefix + "oauth_callback", _Callback),
            (prefix, _Page),
        ],
        default_handler_class=NotFound,
        cookie_secret=cookie_secret,
        log_function=log_request,
        kernels=kernels,
        covers=covers,
        is_ready=is_ready,
        hub_auth=hub_auth,
    )


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


class _Identified(HubOAuthenticated, Handler):
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


class _Kernels(JsonHandler, _OwnKernels):
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
