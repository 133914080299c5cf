"""What the line comes to over time: people who want GPUs without end, and kernels that end."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from hub_service.sharing.line import Entrance, Waiting, fair_order
from hub_service.sharing.room import Room

START = datetime(2030, 1, 1, tzinfo=UTC)
GPU = "nvidia.com/gpu"


class Cluster:
    """A node, and a scheduler that takes whom it likes of those that it sees."""

    def __init__(self, rng, gpus):
        self.rng, self.gpus = rng, gpus
        self.running: list[Waiting] = []
        self.waiting: list[Waiting] = []
        self.made = 0

    @property
    def held(self):
        counts = Counter()
        for one in self.running:
            counts[one.owner] += one.gpus
        return counts

    @property
    def free(self):
        return self.gpus - sum(self.held.values())

    def arrive(self, owner, gpus=1):
        self.made += 1
        since = START + timedelta(seconds=self.made)
        amounts = {GPU: Decimal(gpus)}
        key = ("users", f"k{self.made:05}")
        self.waiting.append(Waiting(key, owner, since, gpus, amounts, "line", frozenset({"n"})))

    def end_one(self):
        self.running.remove(self.rng.choice(self.running))

    def let_on(self, most):
        """As the service does, at one look."""
        order = fair_order(self.waiting, self.held)
        door = Entrance(Room({"n": {GPU: Decimal(self.free)}}), most)
        for one in order:
            if one.released:
                door.note(one)
        self.waiting = [
            replace(one, released=True) if not one.released and door.lets_in(one) else one
            for one in order
        ]

    def schedule(self):
        """It tries those that it sees, in any order."""
        seen = [one for one in self.waiting if one.released]
        self.rng.shuffle(seen)
        for one in seen:
            self.waiting.remove(one)
            if one.gpus <= self.free:
                self.running.append(one)
            else:
                self.waiting.append(replace(one, refused=True))

    def settle(self, most=1):
        before = None
        while before != (now := (len(self.running), sum(one.released for one in self.waiting))):
            before = now
            self.let_on(most)
            self.schedule()


@pytest.mark.parametrize("seed", range(20))
def test_people_who_want_ever_more_have_the_same(seed):
    rng = random.Random(seed)
    cluster = Cluster(rng, gpus=12)
    # One was there first, with as many as there are.
    for _ in range(20):
        cluster.arrive("ada")
    cluster.settle()
    assert cluster.held == {"ada": 12}
    for owner in ("bob", "cy", "dee"):
        for _ in range(20):
            cluster.arrive(owner)
    for _ in range(30):
        cluster.end_one()
        cluster.settle()
    # One kernel of each may be on its way: the scheduler had it before.
    assert set(cluster.held) == {"ada", "bob", "cy", "dee"}
    assert max(cluster.held.values()) - min(cluster.held.values()) <= 2


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_free_while_somebody_waits_for_one(seed):
    rng = random.Random(seed)
    cluster = Cluster(rng, gpus=6)
    for _ in range(200):
        if rng.random() < 0.6:
            cluster.arrive(rng.choice("abc"))
        elif cluster.running:
            cluster.end_one()
        cluster.settle()
        assert not (cluster.waiting and cluster.free)
        # The scheduler sees one that it has no room for, and no more.
        assert sum(one.released for one in cluster.waiting) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_large_ones_get_their_turn_among_small_ones(seed):
    rng = random.Random(seed)
    cluster = Cluster(rng, gpus=4)
    for n in range(4):
        cluster.arrive(f"s{n}")
    cluster.settle()
    cluster.arrive("large", gpus=4)
    cluster.settle()
    ended = 0
    while not cluster.held["large"]:
        for n in range(4):
            cluster.arrive(f"s{n}")
        cluster.end_one()
        ended += 1
        cluster.settle()
    # Nobody came in before it: as many as ran had to end.
    assert ended == 4
