"""Who holds GPUs at the moment, and who could but for giving them back. Pure.

Booked is the time up to a change at the change itself, and what goes on whenever `settle` is
called: nothing depends on how often that is.

The measure for what is given back is a notebook server with GPUs of its own. It would hold, from
its start to its end, as many as its kernels ever held at once. What they don't hold of these is
given back, from the server's start to the first kernel as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hub_service.ledger.books import Account, Books

# GPUs by account.
Gpus = Mapping[Account, int]


@dataclass
class _Holding:
    account: Account
    gpus: int
    server: str | None
    began: datetime
    busy: bool
    booked: datetime


@dataclass
class _Server:
    """`would_hold`: GPUs that it would have of its own, by the account that asked for them."""

    uid: str
    began: datetime
    booked: datetime
    would_hold: Counter[Account] = field(default_factory=Counter)


class Holdings:
    """Pods with GPUs and notebook servers, as they come and go.

    `until`: up to when everything was booked before, by another process.
    """

    def __init__(self, books: Books, until: datetime | None = None) -> None:
        self._books = books
        self._until = until
        self._restored: dict[str, Counter[Account]] = {}
        self._pods: dict[str, _Holding] = {}
        self._of_server: dict[str, dict[str, _Holding]] = {}
        self._servers: dict[str, _Server] = {}

    def restore(self, uid: str, would_hold: Gpus) -> None:
        """What another process knew of the server whose pod has that uid."""
        self._restored[uid] = Counter(would_hold)

    def knows(self, pod: str) -> bool:
        """Whether the pod of that uid holds GPUs."""
        return pod in self._pods

    def take(
        self,
        pod: str,
        account: Account,
        gpus: int,
        *,
        server: str | None,
        began: datetime,
        busy: bool,
    ) -> None:
        """The pod of that uid has held GPUs since `began`, for a kernel of `server`, if of any."""
        if pod in self._pods:
            return
        holding = _Holding(account, gpus, server, began, busy, self._since(began))
        self._pods[pod] = holding
        if server is None:
            return
        known = self._servers.get(server)
        if known is not None:
            # Up to when it took them, which may be a while ago when it is seen first.
            self._book_server(known, server, began)
            self._claim(known, server, holding)
        self._of_server.setdefault(server, {})[pod] = holding

    def turn(self, pod: str, *, busy: bool, now: datetime) -> None:
        """The pod's kernel is busy, or it no longer is."""
        holding = self._pods[pod]
        if holding.busy != busy:
            self._book(holding, now)
            holding.busy = busy

    def release(self, pod: str, now: datetime) -> None:
        """The pod is gone, or over."""
        holding = self._pods.get(pod)
        if holding is None:
            return
        self._book(holding, now)
        del self._pods[pod]
        if holding.server is None:
            return
        if holding.server in self._servers:
            self._book_server(self._servers[holding.server], holding.server, now)
        del self._of_server[holding.server][pod]
        if not self._of_server[holding.server]:
            del self._of_server[holding.server]

    def server_started(self, server: str, uid: str, began: datetime, now: datetime) -> None:
        """A notebook server has run since `began`, in the pod of that uid."""
        known = self._servers.get(server)
        if known is not None:
            if known.uid == uid:
                return
            self.server_stopped(server, known.uid, now)
        before = self._restored.pop(uid, None)
        added = _Server(uid, began, self._since(began) if before else began)
        added.would_hold.update(before or {})
        self._servers[server] = added
        for holding in self._of_server.get(server, {}).values():
            self._claim(added, server, holding)

    def server_stopped(self, server: str, uid: str, now: datetime) -> None:
        """That pod of a notebook server is gone, or over."""
        known = self._servers.get(server)
        if known is not None and known.uid == uid:
            self._book_server(known, server, now)
            del self._servers[server]

    def settle(self, now: datetime) -> None:
        """Book all that goes on, up to now."""
        for holding in self._pods.values():
            self._book(holding, now)
        for name, server in self._servers.items():
            self._book_server(server, name, now)

    @property
    def servers(self) -> Iterator[tuple[str, Gpus]]:
        """Uid and what it would hold, of each server whose kernels have ever held GPUs."""
        for server in self._servers.values():
            if server.would_hold:
                yield server.uid, server.would_hold

    def _since(self, began: datetime) -> datetime:
        return began if self._until is None else max(began, self._until)

    def _book(self, holding: _Holding, now: datetime) -> None:
        used = holding.gpus if holding.busy else 0
        self._books.add(holding.account, holding.booked, now, held=holding.gpus, used=used)
        holding.booked = max(holding.booked, now)

    def _book_server(self, server: _Server, name: str, now: datetime) -> None:
        if server.would_hold:
            held = self._held(name)
            for account, gpus in server.would_hold.items():
                spare = max(gpus - held[account], 0)
                self._books.add(account, server.booked, now, given_back=spare)
        server.booked = max(server.booked, now)

    def _claim(self, server: _Server, name: str, holding: _Holding) -> None:
        """Have the server hold enough for a kernel: what is free in it, or more."""
        held = self._held(name, without=holding)
        spare = {account: gpus - held[account] for account, gpus in server.would_hold.items()}
        lacking = max(holding.gpus - max(spare.pop(holding.account, 0), 0), 0)
        for account, gpus in spare.items():
            moved = min(max(gpus, 0), lacking)
            server.would_hold[account] -= moved
            server.would_hold[holding.account] += moved
            lacking -= moved
        server.would_hold[holding.account] += lacking
        server.would_hold = +server.would_hold
        # It would have had these from its start on.
        self._books.add(holding.account, server.began, holding.began, given_back=lacking)

    def _held(self, server: str, *, without: _Holding | None = None) -> Counter[Account]:
        sums: Counter[Account] = Counter()
        for one in self._of_server.get(server, {}).values():
            if one is not without:
                sums[one.account] += one.gpus
        return sums
