"""What the service shows to people: their own kernels, and what they may have.

Who is calling is the hub's word (OAuth in a browser, or a token in the Authorization header); only
tokens with access to this service pass. All is read from the reflector's copy.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import date
from typing import NamedTuple

from jupyterhub.services.auth import (
    HubOAuth,
    HubOAuthCallbackHandler,
    HubOAuthenticated,
    UserNotAllowed,
)
from tornado.web import Application, HTTPError

from hub_service import timestamps
from hub_service.api import page
from hub_service.api.answers import Handler, Health, JsonHandler, NotFound, log_request
from hub_service.culling.keeping import Kept, NotKept
from hub_service.hub.known_groups import KnownGroups
from hub_service.kernels.kernel_model import kernel_model
from hub_service.kinds import Object, name_of, namespace_of, spec_of
from hub_service.kube import ApiError, Reflector
from hub_service.ledger import report
from hub_service.quotas import limits, quota, quota_report
from hub_service.quotas.limits import Policy
from hub_service.reconcile.keeping import Keeper

log = logging.getLogger(__name__)

_LOG_IN = (
    "Log in to the hub, or send Authorization: token <token>. A page's form needs its _xsrf too: "
    "reload the page."
)
# Of a JupyterKernel.
_NAME = r"([a-z0-9][a-z0-9.-]*)"

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
    keeper: Keeper,
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
            (f"{prefix}api/kernels/{_NAME}/keep", _Keep),
            (prefix + "api/quota", _Quota),
            (prefix + "api/ledger", _Ledger),
            (prefix + "oauth_callback", _Callback),
            (f"{prefix}kernels/{_NAME}/keep", _KeepForm),
            (prefix, _Page),
        ],
        default_handler_class=NotFound,
        cookie_secret=cookie_secret,
        log_function=log_request,
        kernels=kernels,
        covers=covers,
        quotas=quotas,
        keeper=keeper,
        prefix=prefix,
        ledger=ledger,
        is_ready=is_ready,
        hub_auth=hub_auth,
    )


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
        """Kernels that the caller may see, as the API shows them, oldest first."""
        models = map(kernel_model, self._visible())
        return sorted(models, key=lambda model: (model["created"], model["name"]))

    async def keep(self, name: str) -> Kept | NotKept:
        """Keep a kernel that the caller may see for longer; 404 for others."""
        found = next((item for item in self._visible() if name_of(item) == name), None)
        if found is None:
            raise HTTPError(404, f"There is no kernel {name} of yours.")
        keeper: Keeper = self.settings["keeper"]
        try:
            return await keeper.keep(found)
        except ApiError as error:
            if error.status == 404:
                raise HTTPError(404, f"The kernel {name} has ended.") from error
            log.warning("kernel %s: not kept: %s", name, error)
            raise HTTPError(503, "The cluster did not take it. Try again.") from error

    def _visible(self) -> Iterable[Object]:
        """An admin sees all."""
        return self._all() if self.is_admin else self.kernels_of(self.own_name)

    def _all(self) -> Iterator[Object]:
        covers = self.settings["covers"]
        return (item for item in self.settings["kernels"].store if covers(namespace_of(item)))


class _Kernels(JsonHandler, _OwnKernels):
    def get(self) -> None:
        if self.current_user is None:
            raise HTTPError(403, _LOG_IN)
        self.finish(json.dumps(self.visible()))


class _Quota(JsonHandler, _OwnKernels):
    async def get(self) -> None:
        if self.current_user is None:
            raise HTTPError(403, _LOG_IN)
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
            raise HTTPError(403, _LOG_IN)
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


class _Keep(JsonHandler, _OwnKernels):
    async def post(self, name: str) -> None:
        if self.current_user is None:
            raise HTTPError(403, _LOG_IN)
        answer = await self.keep(name)
        if isinstance(answer, NotKept):
            raise HTTPError(409, answer.message)
        self.finish(
            {
                "name": name,
                "kept_until": timestamps.microseconds(answer.until),
                "extensions": answer.extensions,
                "extensions_left": answer.left,
            }
        )


class _Shown(_OwnKernels):
    async def show(self, told: str = "") -> None:
        """The page, with what came of what was asked for."""
        view: QuotaView = self.settings["quotas"]
        groups = await view.groups.recent()
        user = self.own_name or ""
        self.set_header("Cache-Control", "no-store")
        self.finish(
            page.render(
                title="All kernels" if self.is_admin else "Your kernels",
                told=told,
                kernels=self.visible(),
                keeping=page.Keeping(self.settings["prefix"], self.xsrf_form_html()),
                uses=quota_report.uses(user, groups, self.kernels_of(user), view.policy),
                groups=groups if self.is_admin else None,
                hub=f"{self.hub_auth.hub_prefix}home",
            )
        )


class _Page(_Shown):
    async def get(self) -> None:
        if self.current_user is None:
            self.redirect(self.get_login_url())
        else:
            await self.show()


class _KeepForm(_Shown):
    """What the page's buttons post to; answers with the page."""

    async def post(self, name: str) -> None:
        if self.current_user is None:
            raise HTTPError(403, _LOG_IN)
        answer = await self.keep(name)
        if isinstance(answer, NotKept):
            self.set_status(409)
            await self.show(f"{name}: {answer.message}")
        else:
            await self.show(f"{name} is kept until {answer.until:%Y-%m-%d %H:%M:%S} UTC.")
