"""What people do on a day: made from published statistics, or read from a file.

Sources. The statistics of interactive training in notebooks are those that Carver et al. give of
notebooks at Adobe ("NotebookOS: A Replicated Notebook Platform for Interactive Training with
On-Demand GPUs", ASPLOS 2026, arXiv 2503.20591): half of the trainings take two minutes at most,
three quarters five; a session asks for the next one every five minutes in the median; nearly 70 %
of the GPUs that are reserved are not used in their session's whole life, and all of them together
idle more than 81 % of the time. PUBLISHED has these numbers. What is not published is assumed, and
says so: when people come and go, their breaks, how many GPUs they ask for, and the long trainings
that bring the idle time to what was measured.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

HOUR = 3600.0

PUBLISHED = {
    "task_seconds_p50": 120.0,
    "task_seconds_p75": 300.0,
    "interval_seconds_p50": 300.0,
    "sessions_without_task": 0.70,
    "idle_share": 0.81,
}

MEANING = {
    "task_seconds_p50": "a training's seconds, median",
    "task_seconds_p75": "a training's seconds, third quartile",
    "interval_seconds_p50": "seconds from one training's start to the next, median",
    "sessions_without_task": "share of GPUs that their session never uses (published: nearly)",
    "idle_share": "share of reserved GPU time that is idle (published: more than)",
}

# Of a lognormal distribution with that median and that third quartile.
_SIGMA = math.log(PUBLISHED["task_seconds_p75"] / PUBLISHED["task_seconds_p50"]) / 0.6745
_IDLE_SESSIONS = PUBLISHED["sessions_without_task"]
# Assumed: from the end of a training to the next, so that the median interval is as published.
_THINKING_MEDIAN, _THINKING_SIGMA = 110.0, 0.9
# Assumed: trainings that go on while nobody looks.
_LONG_SHARE, _LONG_HOURS = 0.02, (1.0, 5.0)
# Assumed: people work for a while, then do something else, and leave the notebook open.
_STRETCH_HOURS, _BREAK_HOURS = (0.5, 2.5), (0.4, 2.0)
# Assumed: when they come, how long they stay, and for how many GPUs they ask.
_ARRIVAL_HOUR, _ARRIVAL_SPREAD = 10.5, 2.5
_STAY_HOURS, _STAY_SIGMA, _LONGEST_STAY = 6.5, 0.5, 13.0
_GPUS, _GPU_WEIGHTS = (1, 2, 4), (0.85, 0.12, 0.03)
# Assumed: sessions for each user; a few have two at a time.
_SESSIONS_PER_USER = 1.25


@dataclass(frozen=True)
class Cell:
    """A training: so many seconds, `gap` after the last one's end or the session's beginning."""

    gap: float
    seconds: float


@dataclass(frozen=True)
class Session:
    """A notebook from login to logout, in seconds since midnight, and what is run in it."""

    name: str
    user: str
    opened: float
    length: float
    gpus: int
    cells: tuple[Cell, ...]


def made(sessions: int, seed: int) -> list[Session]:
    """A day with so many sessions."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    users = max(round(sessions / _SESSIONS_PER_USER), 1)
    working = set(chance.sample(range(sessions), sessions - round(sessions * _IDLE_SESSIONS)))
    result = []
    for n in range(sessions):
        opened = min(max(chance.gauss(_ARRIVAL_HOUR, _ARRIVAL_SPREAD), 6.0), 20.0) * HOUR
        hours = min(chance.lognormvariate(math.log(_STAY_HOURS), _STAY_SIGMA), _LONGEST_STAY)
        (gpus,) = chance.choices(_GPUS, _GPU_WEIGHTS)
        cells = tuple(_cells(chance, hours * HOUR)) if n in working else ()
        result.append(
            Session(f"session-{n}", f"user-{n % users}", opened, hours * HOUR, gpus, cells)
        )
    return sorted(result, key=lambda session: session.opened)


def _cells(chance: random.Random, length: float) -> Iterable[Cell]:
    now, gap = 0.0, chance.uniform(60, 900)
    rest = chance.uniform(*_STRETCH_HOURS) * HOUR
    while now + gap < length:
        if chance.random() < _LONG_SHARE:
            seconds = chance.uniform(*_LONG_HOURS) * HOUR
        else:
            seconds = chance.lognormvariate(math.log(PUBLISHED["task_seconds_p50"]), _SIGMA)
        yield Cell(gap, seconds)
        now += gap + seconds
        gap = chance.lognormvariate(math.log(_THINKING_MEDIAN), _THINKING_SIGMA)
        if now > rest:
            gap += chance.uniform(*_BREAK_HOURS) * HOUR
            rest = now + gap + chance.uniform(*_STRETCH_HOURS) * HOUR


def read(path: Path) -> list[Session]:
    """A day from a CSV file: a row for each training, and one without for a session with none.

    Columns: session, user, gpus, opened and closed (of the session), began and seconds (of the
    training, empty where there is none); all times in seconds. Raises ValueError naming the line.
    """
    rows: dict[str, list[tuple[float, float]]] = {}
    known: dict[str, tuple[str, int, float, float]] = {}
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                name = row["session"]
                opened, closed = float(row["opened"]), float(row["closed"])
                gpus = int(row["gpus"])
                if not 0 <= opened <= closed or gpus < 1:
                    raise ValueError("opened must not be after closed, gpus not less than 1")
                known[name] = (row["user"], gpus, opened, closed - opened)
                tasks = rows.setdefault(name, [])
                if row["began"]:
                    tasks.append((float(row["began"]), float(row["seconds"])))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    sessions = [
        Session(name, user, opened, length, gpus, tuple(_gaps(opened, sorted(rows[name]))))
        for name, (user, gpus, opened, length) in known.items()
    ]
    return sorted(sessions, key=lambda session: session.opened)


def _gaps(opened: float, tasks: Iterable[tuple[float, float]]) -> Iterable[Cell]:
    end = opened
    for began, seconds in tasks:
        yield Cell(max(began - end, 0.0), seconds)
        end = max(began, end) + seconds


def statistics(sessions: Sequence[Session]) -> dict[str, float]:
    """What of a day is comparable to PUBLISHED, if nobody ever waits."""
    seconds = [cell.seconds for session in sessions for cell in session.cells]
    intervals = [
        before.seconds + cell.gap
        for session in sessions
        for before, cell in zip(session.cells, session.cells[1:], strict=False)
    ]
    used = sum(cell.seconds * session.gpus for session in sessions for cell in session.cells)
    reserved = sum(session.gpus * _stays(session) for session in sessions)
    idle = sum(session.gpus for session in sessions if not session.cells)
    return {
        "task_seconds_p50": round(median(seconds), 1),
        "task_seconds_p75": round(quantiles(seconds, n=4)[2], 1),
        "interval_seconds_p50": round(median(intervals), 1),
        "sessions_without_task": round(idle / sum(session.gpus for session in sessions), 3),
        "idle_share": round(1 - used / reserved, 3),
    }


def _stays(session: Session) -> float:
    """Nobody leaves in the middle of a training."""
    return max(session.length, sum(cell.gap + cell.seconds for cell in session.cells))
