"""RFC 3339 timestamps, as Kubernetes and Jupyter write them."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def parse(text: str | None) -> datetime | None:
    """An aware datetime in UTC; None for nothing. Raises ValueError for anything else.

    A timestamp without a zone is taken as UTC, as Jupyter means it.
    """
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC)


def seconds(moment: datetime) -> str:
    """With whole seconds: what Kubernetes itself writes, as in condition times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def microseconds(moment: datetime) -> str:
    """With microseconds, for deadlines and activity."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
