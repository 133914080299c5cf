"""The ledger of a day as a JupyterLedger. Pure.

One resource for each day in UTC, named like the day: what is written again and again stays small,
and days that are over are never written again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import NamedTuple

from hub_service import timestamps
from hub_service.kinds import JUPYTER_LEDGERS, LABEL_MANAGED_BY, MANAGER, Object, status_of
from hub_service.ledger.books import Account, Amounts, Entry
from hub_service.ledger.holdings import Gpus

# How many days back the last entry is looked for.
LOOK_BACK = 7


class Row(NamedTuple):
    """What was booked for an account on a day, and the groups that its user was in."""

    entry: Entry
    amounts: Amounts
    groups: tuple[str, ...]


def name_of_day(day: date) -> str:
    """The name of a day's resource."""
    return day.isoformat()


def empty(day: date) -> Object:
    """A day's resource, to be created."""
    return {
        "apiVersion": JUPYTER_LEDGERS.api_version,
        "kind": JUPYTER_LEDGERS.kind,
        "metadata": {"name": name_of_day(day), "labels": {LABEL_MANAGED_BY: MANAGER}},
        "spec": {"day": day.isoformat()},
    }


def patch(
    day: date,
    amounts: Mapping[Entry, Amounts],
    changed: Collection[Entry],
    groups: Mapping[str, Iterable[str]],
    servers: Mapping[str, Gpus],
    gone: Iterable[str],
    until: datetime,
) -> Object:
    """The status of a day in which `changed` are new, as a merge patch.

    groups: of users; of those who aren't in it, what was written stays. servers: see
    Holdings.servers; of those whose uids are in `gone`, nothing more is kept.
    """
    users: dict[str, Object] = {}
    totals = Amounts()
    for entry, booked in amounts.items():
        if entry.day != day:
            continue
        totals.add(booked)
        if entry in changed:
            user = users.setdefault(
                entry.account.user,
                {"specs": {}},
            )
            if entry.account.user in groups:
                user["groups"] = sorted(groups[entry.account.user])
            user["specs"][entry.account.spec] = _model(booked)
    present = {
        uid: [
            {"user": account.user, "spec": account.spec, "gpus": gpus}
            for account, gpus in sorted(would_hold.items())
        ]
        for uid, would_hold in servers.items()
    }
    return {
        "until": timestamps.microseconds(until),
        "totals": {**_model(totals), "static": _rounded(totals.static)},
        "users": users,
        "servers": {**{uid: None for uid in gone if uid not in present}, **present},
    }


def until(item: Object) -> datetime | None:
    """Up to when a day was written."""
    return timestamps.parse(status_of(item).get("until"))


def servers(item: Object) -> Iterator[tuple[str, Gpus]]:
    """What Holdings.restore takes."""
    found: Object = status_of(item).get("servers") or {}
    for uid, would_hold in found.items():
        yield uid, Counter({Account(one["user"], one["spec"]): one["gpus"] for one in would_hold})


def rows(item: Object) -> Iterator[Row]:
    """What was booked on a day."""
    day = date.fromisoformat(item["spec"]["day"])
    users: Object = status_of(item).get("users") or {}
    for user, one in users.items():
        for spec, amounts in (one.get("specs") or {}).items():
            entry = Entry(day, Account(user, spec))
            yield Row(entry, _amounts(amounts), tuple(one.get("groups") or ()))


def _model(amounts: Amounts) -> Object:
    return {
        "held": _rounded(amounts.held),
        "used": _rounded(amounts.used),
        "givenBack": _rounded(amounts.given_back),
    }


def _amounts(model: Object) -> Amounts:
    return Amounts(
        float(model.get("held") or 0),
        float(model.get("used") or 0),
        float(model.get("givenBack") or 0),
    )


def _rounded(seconds: float) -> float:
    return round(seconds, 1)
