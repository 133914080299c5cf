"""Who the hub's answer lets in, and how long it carries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elastic_spawner.gateway.identity import (
    Confirmation,
    Identity,
    confirmation,
    identify,
    token_of,
)


def user(name: str, *scopes: str) -> dict[str, Any]:
    return {"kind": "user", "name": name, "scopes": list(scopes)}


PASSES = [
    (user("ada", "access:servers!server=ada/"), Identity("ada", "")),
    (user("ada", "access:servers!server=ada/gpu"), Identity("ada", "gpu")),
    (user("a@b.org", "access:servers!server=a@b.org/"), Identity("a@b.org", "")),
    (user("zoë", "access:servers!server=zoë/x"), Identity("zoë", "x")),
    (user("ada", "custom:elastic:kernels"), Identity("ada")),
    (user("ada", "access:servers!user=ada", "custom:elastic:kernels"), Identity("ada")),
    (user("admin", "access:servers", "custom:elastic:kernels"), Identity("admin")),
    (
        {**user("ada", "access:servers!server=ada/"), "groups": ["course", "staff"]},
        Identity("ada", "", groups=frozenset({"course", "staff"})),
    ),
    ({**user("ada", "custom:elastic:kernels"), "groups": "course"}, Identity("ada")),
    ({"kind": "service", "name": "elastic", "scopes": []}, Identity("elastic", is_service=True)),
]
REFUSED = [
    user("ada"),
    user("ada", "access:services!service=elastic", "read:users:name!user=ada"),
    user("ada", "access:servers!server=bob/"),
    user("ada", "access:servers!server=bob/", "access:servers!server=ada/"),
    user("ada", "access:servers!server=ada/", "access:servers!server=ada/gpu"),
    user("ada", "access:servers!user=ada"),
    user("admin", "admin:users", "access:servers"),
    user("ada", "custom:other:kernels", "custom:elastic", "custom:elastic:kernels!user=bob"),
    user("ada", "access:servers!user=bob"),
    user("ada", "access:servers!group=staff"),
    user("ada", "access:servers!server=adam/"),
    user("ada", "users:activity!user=ada"),
    user("", "access:servers"),
    {"kind": "service", "name": "other", "scopes": ["access:servers"]},
    {"kind": "user", "name": "ada"},
    {"kind": "user", "name": "ada", "scopes": "access:servers"},
    {"kind": "user", "name": "ada", "scopes": [None]},
    {"kind": "group", "name": "ada", "scopes": ["access:servers"]},
    {},
]


@pytest.mark.parametrize(("model", "identity"), PASSES)
def test_tokens_of_own_servers_and_for_programs_pass(
    model: dict[str, Any], identity: Identity
) -> None:
    assert identify(model, service_name="elastic") == identity


@pytest.mark.parametrize("model", REFUSED)
def test_others_do_not(model: dict[str, Any]) -> None:
    assert identify(model, service_name="elastic") is None


@pytest.mark.parametrize(
    ("age", "worth"),
    [
        (timedelta(0), Confirmation.FRESH),
        (timedelta(seconds=29.9), Confirmation.FRESH),
        (timedelta(seconds=30), Confirmation.STALE),
        (timedelta(seconds=299), Confirmation.STALE),
        (timedelta(minutes=5), Confirmation.EXPIRED),
    ],
)
def test_an_answer_carries_for_a_while(age: timedelta, worth: Confirmation) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert confirmation(now - age, now) is worth


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("token abc", "abc"),
        ("Token  abc ", "abc"),
        ("Bearer abc", "abc"),
        ("Basic abc", None),
        ("token", None),
        ("token ", None),
        ("abc", None),
        ("", None),
        (None, None),
    ],
)
def test_the_token_of_a_header(header: str | None, token: str | None) -> None:
    assert token_of(header) == token
