"""Who may lose a gateway of their own, and when; what the hub's answers mean for it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from hub_service.gateways.user_gateways import Keep, Remove, decide, is_one_users
from hub_service.hub.client import _servers
from hub_service.kinds import ANNOTATION_SERVER, LABEL_MANAGED_BY, MANAGER, SPAWNER

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
AGAIN = NOW + timedelta(minutes=2)


def gateway(server=None, **metadata):
    annotations = {} if server is None else {ANNOTATION_SERVER: server}
    return {"metadata": {"annotations": annotations, **metadata}, "spec": {"owner": "ada"}}


@pytest.mark.parametrize(
    ("server", "servers", "has_kernels", "unused_since", "expected"),
    [
        (None, {""}, False, None, Keep(AGAIN, None)),
        (None, {"second"}, False, LATER, Keep(AGAIN, None)),
        ("second", {"", "second"}, False, None, Keep(AGAIN, None)),
        # Nobody uses it: for how long?
        (None, set(), False, None, Keep(LATER, NOW)),
        ("second", {""}, False, None, Keep(LATER, NOW)),
        ("", {"second"}, False, None, Keep(LATER, NOW)),
        (None, set(), False, NOW - timedelta(seconds=59), Keep(NOW + timedelta(seconds=1), ...)),
        (None, set(), False, NOW - timedelta(seconds=60), Remove()),
        # Its kernels end first.
        (None, set(), True, NOW - timedelta(hours=1), Keep(AGAIN, None)),
        # Unknown is not gone, and no reason to begin anew either.
        (None, None, False, None, Keep(LATER, None)),
        (None, None, False, NOW - timedelta(hours=1), Keep(LATER, NOW - timedelta(hours=1))),
    ],
)
def test_a_gateway_goes_when_nobody_has_used_it_for_a_while(
    server, servers, has_kernels, unused_since, expected
):
    decision = decide(
        gateway(server), servers, has_kernels=has_kernels, unused_since=unused_since, now=NOW
    )
    if isinstance(expected, Keep) and expected.unused_since is ...:
        expected = Keep(expected.until, unused_since)
    assert decision == expected


def test_gateways_of_everybody_and_of_administrators_are_none_of_its_business():
    assert is_one_users(gateway(labels={LABEL_MANAGED_BY: SPAWNER}))
    assert not is_one_users(gateway(labels={LABEL_MANAGED_BY: MANAGER}))
    assert not is_one_users(gateway())
    assert not is_one_users(gateway(labels={LABEL_MANAGED_BY: SPAWNER}, deletionTimestamp="x"))


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (200, {"name": "ada", "servers": {}}, frozenset()),
        (200, {"name": "ada", "servers": {"": {}, "second": {}}}, {"", "second"}),
        (404, {"status": 404, "message": "no such user"}, frozenset()),
        (200, {"name": "ada"}, None),  # without the right to see servers
        (200, {"name": "eve", "servers": {}}, None),
        (403, {"status": 403, "message": "Forbidden"}, None),
        (500, {"status": 500}, None),
        (404, "<html>somebody else's page</html>", None),
        (404, [], None),
        (599, "", None),
    ],
)
def test_only_a_definite_answer_says_that_somebody_has_no_server(code, body, expected):
    text = body if isinstance(body, str) else json.dumps(body)
    assert _servers("ada", code, text.encode()) == expected
