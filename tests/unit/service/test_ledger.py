"""What is booked of GPUs that are held, used and given back; how it is kept and told."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from hub_service.hub.groups import Groups
from hub_service.ledger import document, report
from hub_service.ledger.books import Account, Amounts, Books, Entry
from hub_service.ledger.figures import GpuSeconds
from hub_service.ledger.holdings import Holdings

T0 = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ADA, BOB = Account("ada", "gpu"), Account("bob", "gpu")
ADA_LARGE = Account("ada", "large")


def at(minutes):
    return T0 + timedelta(minutes=minutes)


class Ledger:
    """Holdings with their books; all times in minutes after T0, all amounts in GPU-minutes."""

    def __init__(self, until=None):
        self.books = Books()
        self.holdings = Holdings(self.books, None if until is None else at(until))

    def server(self, name, began, uid=None):
        self.holdings.server_started(name, uid or f"pod-of-{name}", at(began), at(began))

    def take(self, pod, began, account=ADA, gpus=1, server=None, busy=False):
        self.holdings.take(pod, account, gpus, server=server, began=at(began), busy=busy)

    def amounts(self, now, account=ADA):
        self.holdings.settle(at(now))
        found = Amounts()
        for entry, amounts in self.books.amounts.items():
            if entry.account == account:
                found.add(amounts)
        return tuple(
            round(seconds / 60, 6) for seconds in (found.held, found.used, found.given_back)
        )


def test_a_pod_holds_its_gpus_from_its_node_to_its_end_and_uses_them_while_busy():
    ledger = Ledger()
    ledger.take("pod", 0, gpus=2)
    ledger.holdings.turn("pod", busy=True, now=at(10))
    ledger.holdings.turn("pod", busy=False, now=at(15))
    assert ledger.amounts(20) == (40, 10, 0)
    ledger.holdings.release("pod", at(30))
    assert ledger.amounts(90) == (60, 10, 0)


def test_how_often_it_is_settled_makes_no_difference():
    often, once = Ledger(), Ledger()
    for ledger in (often, once):
        ledger.server("ada/", 0)
        ledger.take("pod", 5, server="ada/", busy=True)
    for minute in range(5, 60):
        often.holdings.settle(at(minute))
    assert often.amounts(60) == once.amounts(60) == (55, 55, 5)


def test_nothing_is_booked_twice_or_backwards():
    ledger = Ledger()
    ledger.take("pod", 0)
    ledger.take("pod", 0)
    ledger.holdings.settle(at(10))
    ledger.holdings.settle(at(5))
    ledger.holdings.release("pod", at(10))
    ledger.holdings.release("pod", at(11))
    assert ledger.amounts(20) == (10, 0, 0)


def test_given_back_is_what_a_notebook_with_gpus_of_its_own_would_have_held_besides():
    ledger = Ledger()
    ledger.server("ada/", 0)
    # A notebook that never asks for a GPU would not have been given one.
    assert ledger.amounts(10) == (0, 0, 0)
    ledger.take("first", 10, server="ada/")
    # From the server's start on.
    assert ledger.amounts(30) == (20, 0, 10)
    ledger.holdings.release("first", at(30))
    assert ledger.amounts(60) == (20, 0, 40)
    ledger.take("second", 60, server="ada/")
    assert ledger.amounts(70) == (30, 0, 40)
    ledger.holdings.server_stopped("ada/", "pod-of-ada/", at(80))
    assert ledger.amounts(100) == (60, 0, 40)


def test_two_kernels_after_each_other_need_one_gpu_and_two_at_once_two():
    ledger = Ledger()
    ledger.server("ada/", 0)
    ledger.take("small", 0, server="ada/")
    ledger.holdings.release("small", at(10))
    # It takes over the GPU of the first.
    ledger.take("large", 10, account=ADA_LARGE, gpus=2, server="ada/")
    assert ledger.amounts(20, ADA) == (10, 0, 0)
    # One more, which the notebook would have had from its start.
    assert ledger.amounts(20, ADA_LARGE) == (20, 0, 10)
    ledger.take("small again", 20, server="ada/")
    assert ledger.amounts(30, ADA) == (20, 0, 20)
    static = [sum(ledger.amounts(30, one)[::2]) for one in (ADA, ADA_LARGE)]
    assert sum(static) == 3 * 30


def test_a_kernel_of_no_server_gives_nothing_back():
    ledger = Ledger()
    ledger.server("ada/", 0)
    ledger.take("job", 10)
    ledger.holdings.release("job", at(20))
    assert ledger.amounts(60) == (10, 0, 0)


def test_others_servers_are_others():
    ledger = Ledger()
    ledger.server("ada/", 0)
    ledger.server("bob/", 0)
    ledger.take("ada's", 0, server="ada/")
    ledger.take("bob's", 0, account=BOB, server="bob/")
    ledger.holdings.release("bob's", at(30))
    assert ledger.amounts(60, ADA) == (60, 0, 0)
    assert ledger.amounts(60, BOB) == (30, 0, 30)


def test_a_kernel_may_be_seen_before_its_server():
    ledger = Ledger()
    ledger.take("pod", 10, server="ada/")
    ledger.server("ada/", 0)
    ledger.holdings.release("pod", at(20))
    assert ledger.amounts(60) == (10, 0, 50)


def test_a_server_that_is_started_again_begins_anew_and_its_kernels_stay():
    ledger = Ledger()
    ledger.server("ada/", 0, uid="one")
    ledger.take("pod", 0, server="ada/")
    ledger.take("extra", 0, server="ada/")
    ledger.holdings.release("extra", at(10))
    ledger.server("ada/", 20, uid="two")
    assert ledger.amounts(20) == (30, 0, 10)
    # What the first would have held is gone with it.
    assert ledger.amounts(60) == (70, 0, 10)
    ledger.holdings.server_stopped("ada/", "one", at(60))
    ledger.holdings.release("pod", at(70))
    assert ledger.amounts(80) == (80, 0, 20)


@pytest.mark.parametrize("seed", range(100))
def test_static_is_the_most_that_a_server_ever_held_for_as_long_as_it_ran(seed):
    chance = random.Random(seed)
    ledger = Ledger()
    began, now = chance.randrange(5), 5
    ledger.server("ada/", began)
    there, most, count, held_minutes = {}, 0, 0, 0
    for _ in range(40):
        passed = chance.randrange(4)
        held_minutes += passed * sum(there.values())
        now += passed
        if there and chance.random() < 0.45:
            gone = chance.choice(sorted(there))
            ledger.holdings.release(gone, at(now))
            del there[gone]
        elif chance.random() < 0.2:
            ledger.holdings.settle(at(now))
        else:
            count += 1
            there[f"pod-{count}"] = chance.choice((1, 1, 2, 4))
            account = chance.choice((ADA, ADA_LARGE))
            ledger.take(f"pod-{count}", now, account, there[f"pod-{count}"], server="ada/")
        most = max(most, sum(there.values()))
    ledger.holdings.server_stopped("ada/", "pod-of-ada/", at(now))
    ledger.holdings.settle(at(now))
    total = Amounts()
    for amounts in ledger.books.amounts.values():
        total.add(amounts)
    assert total.held == held_minutes * 60
    assert total.static == most * (now - began) * 60
    assert min(one.given_back for one in ledger.books.amounts.values()) >= 0


def test_days_end_at_midnight_in_utc():
    books = Books()
    books.add(ADA, T0.replace(hour=23), T0.replace(hour=23) + timedelta(hours=26), held=1)
    assert {entry.day.day: amounts.held for entry, amounts in books.amounts.items()} == {
        23: 3600, 24: 86400, 25: 3600
    }  # fmt: skip


def kept(ledger, now, groups=(), changed=None):
    """The day's resource after all was written."""
    ledger.holdings.settle(at(now))
    entries, amounts = ledger.books.take_changed()
    item = document.empty(T0.date())
    known = Groups(groups)
    names = {entry.account.user: known.names_of(entry.account.user) for entry in entries}
    item["status"] = document.patch(
        T0.date(), amounts, entries, names, dict(ledger.holdings.servers), (), at(now)
    )
    return item


def test_the_next_process_goes_on_where_the_last_one_wrote():
    first = Ledger()
    first.server("ada/", 0)
    first.take("goes on", 0, server="ada/", busy=True)
    first.take("was given back", 0, server="ada/")
    first.holdings.release("was given back", at(10))
    item = kept(first, 20)

    books = Books()
    for row in document.rows(item):
        books.restore(row.entry, row.amounts)
    second = Ledger()
    second.books, second.holdings = books, Holdings(books, document.until(item))
    for uid, would_hold in document.servers(item):
        second.holdings.restore(uid, would_hold)
    # Ten minutes later; all that is there is found again.
    second.server("ada/", 0)
    second.take("goes on", 0, server="ada/", busy=True)
    second.take("new", 25, account=BOB)
    assert second.amounts(40) == first.amounts(40) == (50, 40, 30)
    assert second.amounts(40, BOB) == (15, 0, 0)


def test_only_what_changed_is_written_with_all_in_the_totals():
    ledger = Ledger()
    ledger.take("ada's", 0)
    ledger.take("bob's", 0, account=BOB)
    assert kept(ledger, 1)["status"]["users"].keys() == {"ada", "bob"}
    ledger.holdings.release("bob's", at(1))
    status = kept(ledger, 2)["status"]
    assert status["users"] == {
        "ada": {"groups": [], "specs": {"gpu": {"held": 120, "used": 0, "givenBack": 0}}}
    }
    assert status["totals"] == {"held": 180, "used": 0, "givenBack": 0, "static": 180}


def test_groups_that_are_not_known_are_left_as_they_were_written():
    status = document.patch(T0.date(), {Entry(T0.date(), ADA): Amounts(1)},
                            {Entry(T0.date(), ADA)}, {}, {}, ["gone"], T0)  # fmt: skip
    assert "groups" not in status["users"]["ada"]
    assert status["servers"] == {"gone": None}


def test_days_that_are_over_are_forgotten_once_they_are_written():
    books = Books()
    books.add(ADA, at(0), at(1), held=1)
    tomorrow = T0.date() + timedelta(days=1)
    books.forget_before(tomorrow)
    changed, _ = books.take_changed()
    assert len(changed) == 1
    books.put_back(changed)
    books.forget_before(tomorrow)
    assert books.take_changed() == (changed, books.amounts)
    books.forget_before(tomorrow)
    assert books.amounts == {}


DAYS = [
    {
        "spec": {"day": "2026-11-22"},
        "status": {
            "until": "2026-11-22T23:59:59Z",
            "users": {"ada": {"specs": {"gpu": {"held": 10, "used": 5, "givenBack": 30}}}},
        },
    },
    {
        "spec": {"day": "2026-11-23"},
        "status": {
            "until": "2026-11-23T09:00:00Z",
            "users": {
                "ada": {
                    "groups": ["staff", "vision"],
                    "specs": {"gpu": {"held": 1}, "large": {"held": 2}},
                },
                "bob": {"groups": ["staff"], "specs": {"gpu": {"held": 4}}},
                "": {"specs": {"gpu": {"held": 8}}},
            },
        },
    },
]


def told(admin=True, own_name="ada", **query):
    query = {name.rstrip("_"): value for name, value in query.items()}
    return report.model(DAYS, report.wanted(query, own_name, admin, date(2026, 11, 23)))


def held(answer):
    return [
        (*(row[name] for name in answer["by"]), row["held"]) for row in answer["rows"]
    ]  # fmt: skip


def test_sums_are_by_day_and_spec_of_the_last_week_unless_told_otherwise():
    answer = told()
    assert (answer["from"], answer["to"]) == ("2026-11-17", "2026-11-23")
    assert held(answer) == [
        ("2026-11-22", "gpu", 10), ("2026-11-23", "gpu", 13), ("2026-11-23", "large", 2),
    ]  # fmt: skip
    assert answer["total"] == {"held": 25, "used": 5, "given_back": 30, "static": 55}
    assert answer["until"] == "2026-11-23T09:00:00Z"


def test_sums_by_user_and_by_group():
    assert held(told(by="user")) == [(None, 8), ("ada", 13), ("bob", 4)]
    # Who is in two groups counts in both.
    answer = told(by="group")
    assert held(answer) == [(None, 18), ("staff", 7), ("vision", 3)]
    assert answer["total"]["held"] == 25
    assert held(told(by="group", group="staff")) == [("staff", 7)]
    assert held(told(by="user", group="staff")) == [("ada", 3), ("bob", 4)]
    assert held(told(by="spec", user="ada", spec="large")) == [("large", 2)]


def test_who_is_no_administrator_sees_their_own():
    answer = told(admin=False, by="user,spec")
    assert held(answer) == [("ada", "gpu", 11), ("ada", "large", 2)]
    assert told(admin=False, user="ada")["total"] == answer["total"]
    for query in ({"user": "bob"}, {"by": "group"}, {"group": "staff"}):
        with pytest.raises(PermissionError, match="Only an administrator"):
            told(admin=False, **query)
    with pytest.raises(PermissionError):
        told(admin=False, own_name=None)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"by": "day,colour"}, "by=colour: write some of day, user, group, spec"),
        ({"from_": "yesterday"}, "from=yesterday: write a day such as 2026-01-31"),
        ({"to": "0001-01-02"}, "to=0001-01-02: write a day"),
        ({"from_": "2026-11-24"}, "from=2026-11-24 is after to=2026-11-23"),
        ({"from_": "2026-01-01"}, "are 327 days: ask for 92 at most"),
    ],
)
def test_what_can_not_be_asked_for_is_said(query, words):
    with pytest.raises(ValueError, match=words):
        told(**query)


@pytest.mark.parametrize("user_figures", [False, True])
def test_figures_name_users_only_where_that_is_asked_for(user_figures):
    registry = CollectorRegistry()
    figures = GpuSeconds(registry, user_figures=user_figures)
    figures.add("gpu", "ada", ["staff", "vision"], Amounts(60, 30, 120))
    figures.add("gpu", "bob", ["staff"], Amounts(held=5))
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.value
    }
    by_user = {
        ("elastic_user_gpu_seconds_total", "held", "ada"): 60,
        ("elastic_user_gpu_seconds_total", "used", "ada"): 30,
        ("elastic_user_gpu_seconds_total", "given_back", "ada"): 120,
        ("elastic_user_gpu_seconds_total", "held", "bob"): 5,
    }
    assert found == {
        ("elastic_gpu_seconds_total", "held", "gpu"): 65,
        ("elastic_gpu_seconds_total", "used", "gpu"): 30,
        ("elastic_gpu_seconds_total", "given_back", "gpu"): 120,
        ("elastic_group_gpu_seconds_total", "held", "staff"): 65,
        ("elastic_group_gpu_seconds_total", "used", "staff"): 30,
        ("elastic_group_gpu_seconds_total", "given_back", "staff"): 120,
        ("elastic_group_gpu_seconds_total", "held", "vision"): 60,
        ("elastic_group_gpu_seconds_total", "used", "vision"): 30,
        ("elastic_group_gpu_seconds_total", "given_back", "vision"): 120,
        **(by_user if user_figures else {}),
    }
