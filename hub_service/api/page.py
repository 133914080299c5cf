"""The page that people see in a browser, as HTML. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple
from urllib.parse import quote

from hub_service.hub.groups import Groups
from hub_service.kinds import IDLE, Object, Phase
from hub_service.quotas import limits, quota_report, quota_words

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Kernels</title>
<style>
body {{ font-family: sans-serif; margin: 2rem }}
table {{ border-collapse: collapse }}
th, td {{ text-align: left; padding: .3rem .8rem; border-bottom: 1px solid #ccc }}
.told {{ border: 1px solid #ccc; padding: .6rem .8rem }}
form {{ margin: 0 }}
</style>
</head>
<body>
<h1>{title}</h1>
{told}
{kernels}
<h2>Your limits</h2>
{limits}
{problems}
<p>Kernels are stopped in JupyterLab, under Running Terminals and Kernels.
<a href="{hub}">Back to the hub</a></p>
</body>
</html>
"""
_COLUMNS = (
    "owner", "name", "spec", "phase", "state", "idle_since", "ends", "kept_until", "gpus", "node",
    "reason", "since", "waiting_behind", "message",
)  # fmt: skip
_LIMIT_COLUMNS = ("resource", "used", "waiting", "limit", "set by", "")


class Keeping(NamedTuple):
    """How a kernel is kept for longer: the folder of its form, and what proves whose it is.

    token: an `<input>`, as HTML.
    """

    prefix: str
    token: str


def render(
    *,
    title: str,
    told: str,
    kernels: Iterable[Object],
    keeping: Keeping,
    uses: Iterable[quota_report.Use],
    groups: Groups | None,
    hub: str,
) -> str:
    """The page. kernels: as the API shows them; told: a sentence on what was asked for just now.

    groups: those whose limits may be wrong, for administrators; None: not shown.
    """
    head = [*(column.replace("_", " ") for column in _COLUMNS), ""]
    rows = (
        "".join([*(_cell(_shown(model, column)) for column in _COLUMNS), _keep(model, keeping)])
        for model in kernels
    )
    limits_shown = ("".join(map(_cell, _limit_cells(use))) for use in uses)
    return _PAGE.format(
        title=escape(title),
        told=f'<p class="told">{escape(told)}</p>' if told else "",
        kernels=_table(head, rows),
        limits=_table(_LIMIT_COLUMNS, limits_shown),
        problems="" if groups is None else _problems(groups),
        hub=escape(hub),
    )


def _shown(model: Object, column: str) -> object:
    culling: Object = model["culling"] or {}
    if column == "ends":
        return culling.get("deadline")
    return culling.get("kept_until") if column == "kept_until" else model[column]


def _keep(model: Object, keeping: Keeping) -> str:
    """A button, for kernels that may be about to end; whether they can be kept, the answer says."""
    if model["phase"] != Phase.RUNNING or model["state"] != IDLE:
        return "<td></td>"
    action = escape(f"{keeping.prefix}kernels/{quote(model['name'], safe='')}/keep")
    button = "<button>Keep it for longer</button>"
    return f'<td><form method="post" action="{action}">{keeping.token}{button}</form></td>'


def _limit_cells(use: quota_report.Use) -> tuple[object, ...]:
    most = use.limit.amount if use.limit else None
    words = quota_words.amount_in_words
    return (
        use.resource,
        words(use.resource, use.used),
        words(use.resource, use.waiting) if use.waiting else None,
        limits.UNLIMITED if most is None else words(use.resource, most),
        use.limit.source if use.limit else None,
        "over the limit: nothing is stopped, and nothing more starts" if use.is_over else None,
    )


def _problems(groups: Groups) -> str:
    found = [f"<li>{escape(str(problem))}</li>" for problem in limits.problems(groups.all)]
    if not found:
        return ""
    return f"<h2>Limits of groups that don't count</h2>\n<ul>{''.join(found)}</ul>"


def _table(head: Iterable[str], rows: Iterable[str]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{names}</tr></thead>\n<tbody>{body}</tbody>\n</table>"


def _cell(value: object) -> str:
    return f"<td>{'' if value is None else escape(str(value))}</td>"
