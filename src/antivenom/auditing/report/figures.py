"""The report's figures: matplotlib draws SVG, and the page's style sheet colours it for light and dark themes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from antivenom.auditing.formatting import shown

# Placeholder colours, which `_svg` replaces by the page's CSS variables. The style sheet gives the palette of Okabe and Ito
# 2008, which colour-blind readers can tell apart; the dashes serve black-and-white prints.
INK, GRID = "#010101", "#020202"
SERIES = tuple(f"#0303{i:02x}" for i in range(7))
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
COLOURS = {INK: "var(--ink)", GRID: "var(--rule)"} | {c: f"var(--s{i})" for i, c in enumerate(SERIES)}


@dataclass(frozen=True)
class Line:
    """One curve over the rounds 1, 2, ...: the mean, and a band between the extremes.

    Fields:
        name: the label in the legend.
        mean: one value per round; None where it is undefined.
        low, high: the band's edges, one value per round, or None for no band.
        series: the index of colour and dash pattern.
    """

    name: str
    mean: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    series: int = 0


@dataclass(frozen=True)
class Panel:
    """Curves that share their axes.

    Fields:
        title: the measured quantity with its unit.
        lines: the curves.
        percent: whether the quantity is a share from 0 to 1, shown in percent.
        level: the height of a dotted line, or None.
    """

    title: str
    lines: Sequence[Line]
    percent: bool = True
    level: float | None = None


@dataclass(frozen=True)
class Points:
    """The harm of one attack at several budgets.

    Fields:
        name: the label in the legend.
        shares: the shares of poisoned rows, ascending.
        harms, lows, highs: the harm at each of them, and the ends of its interval.
        crossing: the smallest share that breaches, or None.
    """

    name: str
    shares: Sequence[float]
    harms: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    crossing: float | None


def curves(panels: Sequence[Panel], name: str, title: str, description: str) -> str:
    """Panels side by side as one SVG.

    Args:
        panels: what to draw.
        name: a prefix that makes the SVG's ids unique on the page.
        title: the accessible title.
        description: the accessible description, which states the main numbers.
    """
    figure = _figure(10.2, 3.2)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        _plain_axes(axes, panel.title, "round")
        if panel.percent:
            axes.set_ylim(-0.03, 1.03)
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        if panel.level is not None:
            axes.axhline(panel.level, color=INK, linewidth=0.8, linestyle=":")
        for line in panel.lines:
            rounds = range(1, len(line.mean) + 1)
            colour, dash = SERIES[line.series % 7], DASHES[line.series % 7]
            if line.low is not None and line.high is not None:
                axes.fill_between(rounds, _floats(line.low), _floats(line.high), color=colour, alpha=0.18, linewidth=0)
            axes.plot(rounds, _floats(line.mean), color=colour, linestyle=dash, linewidth=1.8, label=shown(line.name))
        axes.xaxis.get_major_locator().set_params(integer=True)
        if not panel.percent:
            axes.set_ylim(bottom=0)
        columns = 1 if len(panel.lines) < 3 else 2
        legend = axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(-0.05, -0.2), ncols=columns)
        for text in legend.get_texts():
            text.set_color(INK)
            text.set_parse_math(False)
    figure.subplots_adjust(left=0.045, right=0.985, top=0.91, bottom=0.36, wspace=0.2)
    return _svg(figure, name, title, description)


def price(points: Sequence[tuple[str, float, float]], name: str, title: str, description: str) -> str:
    """A scatter plot of defences: cost against harm left; arguments as in `curves`.

    Args:
        points: (number in the table, clean accuracy cost in percentage points, harm left as a share) for each defence.
    """
    figure = _figure(6.4, 3.2)
    axes = figure.add_subplot()
    _plain_axes(axes, "harm that the worst attack still does", "clean accuracy that the defence costs, points")
    axes.set_ylim(-0.06, 1.06)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.axvline(0, color=GRID, linewidth=1)
    span = max([abs(x) for _, x, _ in points], default=0) or 1
    marks: list[tuple[float, float, list[str]]] = []
    for number, x, y in points:
        near = next((m for m in marks if abs(x - m[0]) < 0.06 * span and abs(y - m[1]) < 0.06), None)
        if near is None:
            marks.append((x, y, [number]))
        else:
            near[2].append(number)  # marks that would overlap share one label
        axes.plot([x], [y], marker="o", markersize=7, color=SERIES[1], linestyle="none")
    for x, y, numbers in marks:
        text = ", ".join(numbers[:6]) + ("…" if len(numbers) > 6 else "")
        axes.annotate(text, (x, y), xytext=(6, 6), textcoords="offset points", color=INK, fontsize=9)
    axes.margins(x=0.12)
    figure.tight_layout()
    return _svg(figure, name, title, description)


def budget_plot(lines: Sequence[Points], limit: float, name: str, title: str, description: str) -> str:
    """Harm against the share of poisoned rows, with intervals, the limit, and a ring where a breach begins."""
    figure = _figure(6.4, 3.4)
    axes = figure.add_subplot()
    _plain_axes(axes, "harm", "share of the training rows that are poisoned")
    axes.set_ylim(-0.04, 1.04)
    shares = [share for line in lines for share in line.shares if share > 0]
    if shares and max(shares) >= 8 * min(shares):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.set_xticks(sorted(set(shares))[:: max(1, len({*shares}) // 6)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.axhline(limit, color=INK, linewidth=0.8, linestyle=":")
    for i, line in enumerate(lines):
        colour, dash = SERIES[(i + 1) % 7], DASHES[i % 7]
        axes.fill_between(line.shares, line.lows, line.highs, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            line.shares, line.harms, color=colour, linestyle=dash, marker="o", markersize=4, label=shown(line.name)
        )
        if line.crossing is not None:
            at = line.harms[list(line.shares).index(line.crossing)]
            axes.plot(
                [line.crossing], [at], marker="o", markersize=11, markerfacecolor="none", color=INK, linestyle="none"
            )
    legend = axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(-0.05, -0.18), ncols=2)
    for text in legend.get_texts():
        text.set_color(INK)
        text.set_parse_math(False)
    figure.subplots_adjust(left=0.09, right=0.985, top=0.91, bottom=0.2 + 0.06 * ((len(lines) + 1) // 2))
    return _svg(figure, name, title, description)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.patch.set_visible(False)
    FigureCanvasSVG(figure)
    return figure


def _plain_axes(axes: Any, title: str, below: str) -> None:
    axes.patch.set_visible(False)
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.set_xlabel(below, fontsize=9, color=INK)
    axes.tick_params(labelsize=9, colors=INK, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def _floats(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _svg(figure: Any, name: str, title: str, description: str) -> str:
    """The figure as an <svg> with the page's colours and font, accessible title and description, and no fixed size.

    Equal figures give equal bytes, so that equal reports do.
    """
    import matplotlib as mpl
    from markupsafe import escape

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for drawn, variable in COLOURS.items():
        text = text.replace(drawn, variable)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(xlink:href="#|url\(#)([^")]+)', rf"\1{name}-\2", text)
    width, height = re.findall(r'<svg[^>]*? viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(shown(title))}</title><desc id="{name}-desc">{escape(shown(description))}</desc>'
    )
    return head + text[text.index(">", text.index("<svg")) + 1 :]
