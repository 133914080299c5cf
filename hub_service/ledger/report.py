"""The ledger as the API tells it: sums by day, user, group or spec. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from hub_service import timestamps
from hub_service.kinds import Object
from hub_service.ledger import document
from hub_service.ledger.books import Amounts
from hub_service.ledger.document import Row

DIMENSIONS = ("day", "user", "group", "spec")
# What can be asked for.
QUERY = ("from", "to", "by", "user", "group", "spec")
# Of one answer.
MOST_DAYS = 92
_DEFAULT_DAYS = 7
# Nobody means an earlier one.
_FIRST_YEAR = 2000


class Wanted(NamedTuple):
    """What somebody asks for: sums of those days, by what, and of whom; None: of all."""

    days: list[date]
    by: tuple[str, ...]
    user: str | None
    group: str | None
    spec: str | None


def wanted(
    query: Mapping[str, str | None], own_name: str | None, admin: bool, today: date
) -> Wanted:
    """What the query of a request asks for, by whoever is called `own_name`.

    Raises ValueError with a sentence that says what is wrong, and PermissionError with one for
    what only an administrator may see.
    """
    by = query.get("by") or "day,spec"
    user = query.get("user")
    if not admin:
        if user not in (None, own_name) or query.get("group") or "group" in by or not own_name:
            raise PermissionError("Only an administrator may see the ledger of others.")
        user = own_name
    days = _days(query.get("from"), query.get("to"), today)
    return Wanted(days, _dimensions(by), user, query.get("group"), query.get("spec"))


def model(days: Iterable[Object], asked: Wanted) -> Object:
    """Sums over JupyterLedgers, and of all that counts.

    A user who is in several groups counts in each of them, one who is in none as None: sums by
    group may come to more than all.
    """
    items = list(days)
    sums: dict[tuple[str | None, ...], Amounts] = {}
    total = Amounts()
    for row in _rows(items, asked):
        total.add(row.amounts)
        groups: Sequence[str | None] = row.groups or (None,) if "group" in asked.by else (None,)
        for group in groups:
            if asked.group not in (None, group) and "group" in asked.by:
                continue
            values = {
                "day": row.entry.day.isoformat(),
                "user": row.entry.account.user or None,
                "group": group,
                "spec": row.entry.account.spec or None,
            }
            sums.setdefault(tuple(values[name] for name in asked.by), Amounts()).add(row.amounts)
    ordered = sorted(sums.items(), key=lambda item: [text or "" for text in item[0]])
    untils = [moment for item in items if (moment := document.until(item)) is not None]
    return {
        "unit": "GPU-seconds",
        "from": asked.days[0].isoformat(),
        "to": asked.days[-1].isoformat(),
        "until": timestamps.seconds(max(untils)) if untils else None,
        "by": list(asked.by),
        "rows": [{**dict(zip(asked.by, key, strict=True)), **_model(one)} for key, one in ordered],
        "total": _model(total),
    }


def _rows(items: Iterable[Object], asked: Wanted) -> Iterator[Row]:
    for item in items:
        for row in document.rows(item):
            account = row.entry.account
            if (
                asked.user in (None, account.user)
                and asked.spec in (None, account.spec)
                and (asked.group is None or asked.group in row.groups)
            ):
                yield row


def _model(amounts: Amounts) -> Object:
    return {
        "held": round(amounts.held, 1),
        "used": round(amounts.used, 1),
        "given_back": round(amounts.given_back, 1),
        "static": round(amounts.static, 1),
    }


def _days(start: str | None, end: str | None, today: date) -> list[date]:
    """The days from one to the other; the last seven where nothing is said."""
    last = _day("to", end) if end else today
    first = _day("from", start) if start else last - timedelta(days=_DEFAULT_DAYS - 1)
    if first > last:
        raise ValueError(f"from={first} is after to={last}.")
    count = (last - first).days + 1
    if count > MOST_DAYS:
        raise ValueError(f"from={first} to={last} are {count} days: ask for {MOST_DAYS} at most.")
    return [first + timedelta(days=n) for n in range(count)]


def _day(name: str, text: str) -> date:
    wrong = f"{name}={text}: write a day such as 2026-01-31."
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(wrong) from None
    if day.year < _FIRST_YEAR:
        raise ValueError(wrong)
    return day


def _dimensions(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := [name for name in names if name not in DIMENSIONS]:
        raise ValueError(f"by={unknown[0]}: write some of {', '.join(DIMENSIONS)}, with commas.")
    return names
