"""What the service shows to people: their own kernels, and what they may have.

Who is calling is the hub's word (OAuth in a browser, or a token in the Authorization header); only
tokens with access to this service pass. All is read from the reflector's copy.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import date
from html import escape
from typing import NamedTuple

from jupyterhub.services.auth import (
    HubOAuth,
    HubOAuthCallbackHandler,
    HubOAuthenticated,
    UserNotAllowed,
)
from tornado.web import Application, HTTPError

from hub_service import limits, quota, quota_report, quota_words, timestamps
from hub_service.answers import Handler, Health, JsonHandler, NotFound, log_request
from hub_service.groups import Groups
from hub_service.kinds import Object, condition, name_of, namespace_of, spec_of, status_of
from hub_service.known_groups import KnownGroups
from hub_service.kube import ApiError, Reflector
from hub_service.ledger import report
from hub_service.limits import Policy

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
{kernels}
<h2>Your limits</h2>
{limits}
{problems}
<p>Kernels are stopped in JupyterLab, under Running Terminals and Kernels.
<a href="{hub}">Back to the hub</a></p>
</body>
</html>
"""
_COLUMNS = (
    "owner", "name", "spec", "phase", "state", "idle_since", "gpus", "node",
    "reason", "since", "waiting_behind", "message",
)  # fmt: skip


_LIMIT_COLUMNS = ("resource", "used", "waiting", "limit", "set by", "")


# The JupyterLedgers that there are of some days. Raises ApiError.
LedgerOf = Callable[[Iterable[date]], Awaitable[list[Object]]]


class QuotaView(NamedTuple):
    """What limits rest on: the hub's groups, the administrator's limits and rules."""

    groups: KnownGroups
    policy: Policy
    rules: quota.Rules


def application(
    *,
    prefix: str,
    kernels: Reflector,
    covers: Callable[[str], bool],
    quotas: QuotaView,
    ledger: LedgerOf | None,
    is_ready: Callable[[], bool],
    hub_auth: HubOAuth,
    cookie_secret: bytes,
) -> Application:
    """The service's pages under `prefix`, which begins and ends with a slash.

    covers: whether the service looks after a namespace; the reflector may see others as well.
    ledger: finds days of the ledger; None where it is not kept.
    cookie_secret: the same for all that serve them, as a login may begin at one and end at another.
    """
    return Application(
        [
            (prefix + "health", Health),
            (prefix + "api/kernels", _Kernels),
            (prefix + "api/quota", _Quota),
            (prefix + "api/ledger", _Ledger),
            (prefix + "oauth_callback", _Callback),
            (prefix, _Page),
        ],
        default_handler_class=NotFound,
        cookie_secret=cookie_secret,
        log_function=log_request,
        kernels=kernels,
        covers=covers,
        quotas=quotas,
        ledger=ledger,
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
    @property
    def own_name(self) -> str | None:
        """The user who is calling; a service isn't the user of its name."""
        user = self.current_user
        return user["name"] if user.get("kind", "user") == "user" else None

    @property
    def is_admin(self) -> bool:
        """Whether the caller may see what is others'."""
        return bool(self.current_user.get("admin"))

    def kernels_of(self, user: str | None) -> list[Object]:
        """JupyterKernels of a user, wherever they are."""
        return [item for item in self._all() if user and spec_of(item).get("owner") == user]

    def visible(self) -> list[Object]:
        """Kernels that the caller may see, oldest first; an admin sees all."""
        shown = self._all() if self.is_admin else self.kernels_of(self.own_name)
        return sorted(map(kernel_model, shown), key=lambda model: (model["created"], model["name"]))

    def _all(self) -> Iterator[Object]:
        covers = self.settings["covers"]
        return (item for item in self.settings["kernels"].store if covers(namespace_of(item)))


class _Kernels(JsonHandler, _OwnKernels):
    def get(self) -> None:
        if self.current_user is None:
            raise HTTPError(403, "Log in to the hub, or send Authorization: token <token>.")
        self.finish(json.dumps(self.visible()))


class _Quota(JsonHandler, _OwnKernels):
    async def get(self) -> None:
        if self.current_user is None:
            raise HTTPError(403, "Log in to the hub, or send Authorization: token <token>.")
        user = self.get_query_argument("user", self.own_name)
        if user != self.own_name and not self.is_admin:
            raise HTTPError(403, "Only an administrator may see the limits of others.")
        if not user:
            raise HTTPError(400, "Whose limits? Name a user: ?user=NAME")
        view: QuotaView = self.settings["quotas"]
        groups = await view.groups.recent()
        answer = quota_report.model(
            user, groups, self.kernels_of(user), view.policy, view.rules, timestamps.now()
        )
        if self.is_admin and groups is not None:
            answer["problems"] = [p._asdict() for p in limits.problems(groups.all)]
        self.finish(json.dumps(answer))


class _Ledger(JsonHandler, _OwnKernels):
    async def get(self) -> None:
        if self.current_user is None:
            raise HTTPError(403, "Log in to the hub, or send Authorization: token <token>.")
        fetch: LedgerOf | None = self.settings["ledger"]
        if fetch is None:
            raise HTTPError(404, "No ledger is kept: the setting ledger.enabled is false.")
        query = {name: self.get_query_argument(name, None) for name in report.QUERY}
        try:
            wanted = report.wanted(query, self.own_name, self.is_admin, timestamps.now().date())
        except PermissionError as error:
            raise HTTPError(403, str(error)) from None
        except ValueError as error:
            raise HTTPError(400, str(error)) from None
        try:
            days = await fetch(wanted.days)
        except ApiError as error:
            raise HTTPError(503, "The ledger can't be read at the moment.") from error
        self.finish(json.dumps(report.model(days, wanted)))


class _Page(_OwnKernels):
    async def get(self) -> None:
        if self.current_user is None:
            self.redirect(self.get_login_url())
            return
        view: QuotaView = self.settings["quotas"]
        groups = await view.groups.recent()
        user = self.own_name or ""
        uses = quota_report.uses(user, groups, self.kernels_of(user), view.policy)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            _PAGE.format(
                title="All kernels" if self.is_admin else "Your kernels",
                kernels=_table(
                    (column.replace("_", " ") for column in _COLUMNS),
                    ((model[column] for column in _COLUMNS) for model in self.visible()),
                ),
                limits=_table(_LIMIT_COLUMNS, map(_limit_cells, uses)),
                problems=_problems(groups) if self.is_admin and groups is not None else "",
                hub=escape(f"{self.hub_auth.hub_prefix}home"),
            )
        )


def _limit_cells(use: quota_report.Use) -> tuple[object, ...]:
    most = use.limit.amount if use.limit else None
    words = quota_words.amount_in_words
    return (
        use.resource,
        words(use.resource, use.used),
        words(use.resource, use.waiting) if use.waiting else None,
        limits.UNLIMITED if most is None else words(use.resource, most),
        use.limit.source if use.limit else None,
        "over the limit: nothing is stopped, and nothing more starts" if use.is_over else None,
    )


def _problems(groups: Groups) -> str:
    found = [f"<li>{escape(str(problem))}</li>" for problem in limits.problems(groups.all)]
    if not found:
        return ""
    return f"<h2>Limits of groups that don't count</h2>\n<ul>{''.join(found)}</ul>"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{names}</tr></thead>\n<tbody>{body}</tbody>\n</table>"


def _cell(value: object) -> str:
    return f"<td>{'' if value is None else escape(str(value))}</td>"
