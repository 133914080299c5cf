"""Label values and names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_service.names import kernel_name, pod_name, safe_label, user_gateway_name

VALID = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


@pytest.mark.parametrize("text", ["", "alice", "a.b_c-1", "x" * 63, "root", "0"])
def test_what_is_valid_stays(text):
    assert safe_label(text) == text


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("a@b.org", "a-b.org"),
        ("Alice", "alice"),
        ("-x-", "x"),
        ("x" * 70, "x" * 50),
        ("名前", "x"),
        ("alice-0123456789ab", "alice-0123456789ab"),
    ],
)
def test_what_is_not_gets_a_hash(text, readable):
    assert re.fullmatch(re.escape(readable) + "-[0-9a-f]{12}", safe_label(text))


@given(st.text())
def test_every_text_gives_a_label_value(text):
    label = safe_label(text)
    assert len(label) <= 63
    assert VALID.fullmatch(label)


@given(st.lists(st.text(alphabet="aA@-_.é0", max_size=70), unique=True, max_size=50))
def test_different_texts_give_different_values(texts):
    texts += [safe_label(text) for text in texts]  # values are texts as well
    distinct = set(texts)
    assert len({safe_label(text) for text in distinct}) == len(distinct)


def test_names():
    assert kernel_name("1b2c") == "kernel-1b2c"
    assert pod_name("kernel-1b2c", 0) == "kernel-1b2c"
    assert pod_name("kernel-1b2c", 3) == "kernel-1b2c-3"


@pytest.mark.parametrize(
    ("user", "server", "name"),
    [
        ("ada", None, "gateway-ada"),
        ("grace-hopper", None, "gateway-grace-hopper"),
        ("42", None, "gateway-42"),
        ("ada", "", "gateway-ada-"),
        ("ada", "second", "gateway-ada-second-"),
        ("a@b.org", None, "gateway-a-b-org-"),
        ("Zoë", None, "gateway-zo-"),
        ("日本", None, "gateway-"),
    ],
)
def test_a_users_gateway_is_named_readably(user: str, server: str | None, name: str) -> None:
    result = user_gateway_name(user, server)

    hashed = name.endswith("-")
    assert result[:-12] == name if hashed else result == name
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", result)


def test_no_two_users_or_servers_share_a_gateways_name() -> None:
    long = "x" * 70
    users = ["ada", "Ada", "ADA", "a-da", "a.da", "a_da", "ada-", "-ada", "ada-second", long]
    users += [long + "y", "ada--second", "日本", "本日", "zoë", "zoe", "", " "]
    # A user who is called what another's hashed name is.
    users += [user_gateway_name(user).removeprefix("gateway-") for user in users]
    servers = [None, "", "second", "ada", long]
    every = {(user, server) for user in users for server in servers}

    made = {user_gateway_name(user, server) for user, server in every}

    assert len(made) == len(every)
    assert all(len(name) <= 63 for name in made)
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in made)
