"""The simulator: what must hold of any day, and of a few that can be worked out by hand."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from hub_service.settings.culling import CullingSettings
from simulator import __main__ as command
from simulator import trace
from simulator.__main__ import CASES, simulated
from simulator.day import Costs, Day
from simulator.elastic import Elastic
from simulator.pool import Pool
from simulator.trace import HOUR, Cell, Session

BY_KEY = {case.key: case for case in CASES}
FREE = Costs(start=0.0, stop=0.0, reload=0.0)
MADE = trace.made(60, seed=3)


def a_session(name="one", *cells, opened=0.0, length=8 * HOUR, gpus=1):
    return Session(name, name, opened, length, gpus, tuple(Cell(*cell) for cell in cells))


def ours(sessions, gpus, costs=FREE, **culling):
    rules = CullingSettings.model_validate({"gpu": culling}).rules
    day = Day(Pool(1, gpus), costs)
    day.run(sessions, Elastic(day, rules, {}))
    return day


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
@pytest.mark.parametrize("nodes", [2, 20])
def test_all_that_is_to_be_trained_is_trained_and_no_gpu_is_held_twice(case, nodes):
    day = simulated(MADE, nodes, case, Costs())
    seconds = sum(cell.seconds * session.gpus for session in MADE for cell in session.cells)
    assert day.used_seconds == pytest.approx(seconds)
    assert day.pool.held_seconds > seconds * (1 - 1e-9)
    # Pool raises where a node holds more than it has; here is what it noted.
    assert all(0 <= held <= nodes * 8 for _, held in day.pool.timeline)
    assert day.pool.held == 0
    assert all(before[0] <= after[0] for before, after in pairwise(day.pool.timeline))
    assert min(day.cell_waits) >= 0
    assert len(day.cell_waits) == sum(len(session.cells) for session in MADE)


def test_the_oracle_holds_what_is_used_and_static_what_is_open():
    oracle = simulated(MADE, 20, BY_KEY["oracle"], Costs())
    assert oracle.pool.held_seconds == pytest.approx(oracle.used_seconds)
    calm = [a_session("one", (10, 60)), a_session("two", length=HOUR, gpus=4)]
    static = simulated(calm, 2, BY_KEY["static"], Costs())
    assert static.pool.held_seconds == pytest.approx((8 + 4) * HOUR)


def test_enterprise_gateway_keeps_what_is_open_and_culls_at_its_looks():
    # Idle since second 70, looked at every 300 s: an hour is over at 3,670, seen at 3,900.
    session = a_session("one", (10, 60))
    keeps = simulated([session], 1, BY_KEY["enterprise_gateway"], FREE)
    # Closed after eight hours, and seen at the next look.
    assert keeps.pool.held_seconds == pytest.approx(8 * HOUR, abs=301)
    culls = simulated([session], 1, BY_KEY["enterprise_gateway_connected"], FREE)
    assert culls.pool.held_seconds == pytest.approx(3900)


def test_ours_ends_an_idle_kernel_at_its_time_and_loads_again_what_was_lost():
    session = a_session("one", (10, 60), (2 * HOUR, 60))
    day = ours([session], 1, Costs(start=2.0, stop=1.0, reload=30.0), idleTimeout=900)
    # From opening to 15 minutes after the first cell, and the same for the second.
    first = 70 + 900 + 1
    second = 2 + 30 + 60 + 900 + 1
    assert day.pool.held_seconds == pytest.approx(first + second, abs=0.01)
    assert day.cell_waits == pytest.approx([0, 32])
    assert (day.kernels_ended_idle, day.kernels_reclaimed) == (2, 0)


def test_an_idle_kernel_is_reclaimed_when_somebody_waits_and_a_busy_one_is_not():
    idle = a_session("idle", (10, 60))
    comes = a_session("comes", (10, 60), opened=1000.0)
    day = ours([idle, comes], 1, idleTimeout=3600, reclaimAfter=300)
    assert day.kernels_reclaimed == 1
    assert max(day.cell_waits) == pytest.approx(0, abs=0.01)
    busy = a_session("idle", (10, 2 * HOUR))
    day = ours([busy, comes], 1, idleTimeout=3600, reclaimAfter=300)
    # After the two hours, and the five minutes.
    assert day.cell_waits[1] == pytest.approx(10 + 2 * HOUR + 300 - 1010, abs=0.01)


def test_nobody_is_reclaimed_from_while_there_is_room():
    sessions = [a_session("idle", (10, 60)), a_session("comes", (10, 60), opened=1000.0)]
    assert ours(sessions, 2, idleTimeout=3600, reclaimAfter=300).kernels_reclaimed == 0


def test_a_day_that_is_made_is_like_the_published_ones():
    own = trace.statistics(trace.made(200, seed=1))
    assert own.keys() == trace.PUBLISHED.keys()
    for name, value in own.items():
        assert value == pytest.approx(trace.PUBLISHED[name], rel=0.1), name


def test_a_day_can_be_read(tmp_path):
    file = tmp_path / "day.csv"
    file.write_text(
        "session,user,gpus,opened,closed,began,seconds\n"
        "b,ben,2,200,500,,\n"
        "a,ann,1,100,900,150,60\n"
        "a,ann,1,100,900,300,20\n"
    )
    assert trace.read(file) == [
        Session("a", "ann", 100, 800, 1, (Cell(50, 60), Cell(90, 20))),
        Session("b", "ben", 200, 300, 2, ()),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,ann,1,100,50,,", "line 2: opened must not be after closed"),
        ("a,ann,0,100,500,,", "gpus not less than 1"),
        ("a,ann,one,100,500,,", "invalid literal"),
    ],
)
def test_a_file_that_is_no_day_is_refused(tmp_path, capsys, row, words):
    file = tmp_path / "day.csv"
    file.write_text(f"session,user,gpus,opened,closed,began,seconds\n{row}\n")
    assert command.main(["--trace", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_it_ends_with_a_line_of_json_and_draws_a_picture(tmp_path, capsys):
    picture = tmp_path / "day.svg"
    assert command.main(["--sessions", "40", "--gpus", "8", "--plot", str(picture)]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    for supply in ("enough", "short"):
        hours = {case.key: answer[supply][case.key]["gpu_hours_held"] for case in CASES}
        assert hours["oracle"] < hours["elastic_sooner"] < hours["elastic"] < hours["static"]
    assert answer["short"]["gpus"] == 8
    assert answer["short"]["elastic"]["kernels_reclaimed"] > 0
    assert picture.read_text().count("<polyline") == len(CASES)


def test_tables_and_picture_of_the_page_are_what_it_makes(tmp_path, capsys):
    docs = Path(__file__).parents[3] / "docs"
    page, picture = (docs / "simulation.md").read_text().splitlines(), tmp_path / "day.svg"
    assert command.main(["--plot", str(picture)]) == 0
    assert picture.read_text() == (docs / "images" / "simulation.svg").read_text()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(printed) > 2 * len(CASES)
    assert [line for line in printed if line not in page] == []
