"""The GPUs that are held over a day, as a picture in SVG."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from simulator.pool import Pool
from simulator.trace import HOUR

_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 20, 150
_STEP = 300.0
_COLORS = ("#6b7280", "#b45309", "#d97706", "#1d4ed8", "#0891b2", "#16a34a")


def drawn(pools: Mapping[str, Pool], *, begin: float = 6 * HOUR, end: float = 26 * HOUR) -> str:
    """A line for each pool; the time of day to the right."""
    most = max(held for pool in pools.values() for _, held in pool.timeline)
    top = -(-most // 20) * 20
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(at: float) -> float:
        return _LEFT + (at - begin) / (end - begin) * width

    def y(held: float) -> float:
        return _TOP + height - held / top * height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#374151">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for held in range(0, top + 1, 20):
        parts.append(
            f'<path d="M{_LEFT} {y(held):.1f}H{_WIDTH - _RIGHT}" stroke="#e5e7eb"/>'
            f'<text x="{_LEFT - 8}" y="{y(held) + 4:.1f}" text-anchor="end">{held}</text>'
        )
    for hour in range(int(begin // HOUR), int(end // HOUR) + 1, 2):
        parts.append(
            f'<text x="{x(hour * HOUR):.1f}" y="{_TOP + height + 18}" text-anchor="middle">'
            f"{hour % 24}:00</text>"
        )
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 6}">GPUs held</text>')
    for n, ((name, pool), color) in enumerate(zip(pools.items(), _COLORS, strict=False)):
        points = [
            f"{x(at):.1f},{y(held):.1f}" for at, held in pool.sampled(_STEP, end) if at >= begin
        ]
        line = _TOP + height + 42 + 16 * n
        hours = f"{pool.held_seconds / HOUR:,.0f} GPU-hours"
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{color}" '
            'stroke-width="1.6"/>'
            f'<path d="M{_LEFT} {line - 4}h24" stroke="{color}" stroke-width="3"/>'
            f'<text x="{_LEFT + 32}" y="{line}">{escape(name)}: {hours}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
