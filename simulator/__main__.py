"""Runs a day under each strategy, prints a table, draws a picture and ends with a line of JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import quantiles

from hub_service.culling import Rules
from hub_service.quotas.limits import KERNELS, Limit, Source
from hub_service.settings.culling import CullingSettings
from simulator import plot, trace
from simulator.day import Costs, Day, Strategy
from simulator.elastic import GPU, Elastic
from simulator.others import EnterpriseGateway, Oracle, Static
from simulator.pool import Pool
from simulator.trace import HOUR, Session

Make = Callable[[Day], Strategy]
GPUS_PER_NODE = 8
# What a user may hold together, as in the examples' settings.
_LIMITS = {
    KERNELS: Limit(Decimal(4), Source("default")),
    GPU: Limit(Decimal(8), Source("default")),
}
_SOONER = {"gpu": {"idleTimeout": 900, "reclaimAfter": 300}}


@dataclass(frozen=True)
class Case:
    """A strategy; `text` is what the table and the picture call it."""

    key: str
    text: str
    make: Make


def _rules(**written: object) -> Rules:
    return CullingSettings.model_validate(written).rules


CASES = [
    Case("static", "static: GPUs from login to logout", Static),
    Case(
        "enterprise_gateway",
        "Enterprise Gateway: 1 h, open notebooks keep kernels (its default)",
        lambda day: EnterpriseGateway(day, cull_connected=False),
    ),
    Case(
        "enterprise_gateway_connected",
        "Enterprise Gateway: 1 h, open notebooks or not (cull_connected)",
        lambda day: EnterpriseGateway(day, cull_connected=True),
    ),
    Case("elastic", "ours: default settings", lambda day: Elastic(day, _rules(), _LIMITS)),
    Case(
        "elastic_sooner",
        "ours: GPU kernels after 15 min, for others after 5",
        lambda day: Elastic(day, _rules(**_SOONER), _LIMITS),
    ),
    Case("oracle", "oracle: GPUs while a cell runs", Oracle),
]


def simulated(sessions: Sequence[Session], nodes: int, case: Case, costs: Costs) -> Day:
    """The day as it was."""
    day = Day(Pool(nodes, GPUS_PER_NODE), costs)
    day.run(sessions, case.make(day))
    return day


def figures(day: Day) -> dict[str, float]:
    """What the table shows of a day; waiting times in seconds, of cells."""
    waits = sorted(day.cell_waits)
    return {
        "gpu_hours_held": round(day.pool.held_seconds / HOUR, 1),
        "gpu_hours_used": round(day.used_seconds / HOUR, 1),
        "gpus_held_most": max(held for _, held in day.pool.timeline),
        "wait_hours": round((sum(waits) + sum(day.login_waits)) / HOUR, 2),
        "wait_mean_s": round(sum(waits) / len(waits), 1),
        "wait_p95_s": round(quantiles(waits, n=20)[-1], 1),
        "wait_longest_s": round(waits[-1], 1),
        "cells_that_waited": sum(wait > _NOTICED for wait in waits),
        "logins_that_waited": sum(wait > _NOTICED for wait in day.login_waits),
        "kernels_culled": day.kernels_ended_idle,
        "kernels_reclaimed": day.kernels_reclaimed,
    }


# Seconds that somebody notices.
_NOTICED = 10.0
_COLUMNS = (
    ("gpu_hours_held", "GPU-hours held"),
    ("gpus_held_most", "GPUs at most"),
    ("wait_hours", "hours waited, all together"),
    ("wait_mean_s", "a cell's wait, mean (s)"),
    ("wait_p95_s", "95 % (s)"),
    ("cells_that_waited", "cells that waited > 10 s"),
    ("logins_that_waited", "logins that did"),
    ("kernels_culled", "kernels culled"),
    ("kernels_reclaimed", "of these, for somebody who waits"),
)


def table(results: Mapping[str, Mapping[str, float]], gpus: int) -> str:
    """Markdown."""
    head = [f"{gpus} GPUs", *(title for _, title in _COLUMNS)]
    rows = [
        [case.text, *(f"{results[case.key][name]:,}" for name, _ in _COLUMNS)] for case in CASES
    ]
    lines = [head, ["---", *("---:" for _ in _COLUMNS)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _compared(own: Mapping[str, float]) -> str:
    lines = ["| | published | this day |", "|---|---:|---:|"]
    lines += [
        f"| {trace.MEANING[name]} | {trace.PUBLISHED[name]:g} | {value:g} |"
        for name, value in own.items()
    ]
    return "\n".join(lines)


def _with_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table after its mark, `<!-- simulated: NAME -->`, up to an empty line."""
    for name, text in tables.items():
        mark = f"<!-- simulated: {name} -->\n\n"
        before, found, after = page.partition(mark)
        if not found:
            raise ValueError(f"the page has no line <!-- simulated: {name} -->")
        page = before + mark + text + "\n\n" + after.partition("\n\n")[2]
    return page


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--sessions", type=int, default=200, help="of the day that is made")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", type=Path, help="a day to read: CSV, see docs/simulation.md")
    parser.add_argument("--gpus", type=int, default=48, help="of the cluster that is short of them")
    parser.add_argument("--plot", type=Path, help="where the picture goes (SVG)")
    parser.add_argument("--page", type=Path, help="a page whose tables are replaced by these")
    wanted = parser.parse_args(arguments)
    try:
        sessions = trace.read(wanted.trace) if wanted.trace else trace.made(
            wanted.sessions, wanted.seed
        )  # fmt: skip
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    costs = Costs()
    plenty = -(-sum(session.gpus for session in sessions) // GPUS_PER_NODE) + 1
    short = max(wanted.gpus // GPUS_PER_NODE, 1)
    own = trace.statistics(sessions)
    answer: dict[str, object] = {"sessions": len(sessions), "statistics": own}
    tables = {"statistics": _compared(own)}
    for name, nodes in (("enough", plenty), ("short", short)):
        days = {case.key: simulated(sessions, nodes, case, costs) for case in CASES}
        results = {key: figures(day) for key, day in days.items()}
        answer[name] = {"gpus": nodes * GPUS_PER_NODE, **results}
        tables[name] = table(results, nodes * GPUS_PER_NODE)
        if name == "enough" and wanted.plot:
            wanted.plot.write_text(plot.drawn({case.text: days[case.key].pool for case in CASES}))
    if wanted.page:
        wanted.page.write_text(_with_tables(wanted.page.read_text(), tables))
    print(f"{len(sessions)} sessions, {sum(len(one.cells) for one in sessions)} trainings\n")
    print("\n\n".join(tables.values()))
    print(f"\n{json.dumps(answer)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
