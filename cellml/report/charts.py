"""Charts as inline SVG that take the page's font and text colour, to fit light and dark."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from cellml.report import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.color": theme.INK,
    "axes.labelcolor": theme.INK,
    "axes.edgecolor": theme.INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": theme.INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "xtick.color": theme.INK,
    "ytick.color": theme.INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}

Series = Mapping[str, Sequence[float]]


def chart(
    draw: Callable[[Sequence["Axes"]], None],
    *,
    columns: int,
    label: str,
    size_in: tuple[float, float],
    share_y: bool = False,
) -> Markup:
    """Draws a row of axes.

    Args:
      draw: Gets the axes, from left to right.
      columns: Number of axes.
      label: What the chart shows, for those who cannot see it.
      size_in: Width and height in inches of 72 CSS pixels.
      share_y: All axes have one scale.
    Returns:
      An inline SVG element.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    salt = hashlib.sha256(label.encode()).hexdigest()[:8]
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        # Figure instead of pyplot: no global state, no display.
        figure = Figure(figsize=size_in, layout="constrained")
        draw(figure.subplots(1, columns, squeeze=False, sharey=share_y)[0])
        fix_layout(figure)
        buffer = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return Markup(_inline(buffer.getvalue(), label, salt))


def fix_layout(figure: "Figure") -> None:
    """Lays out once, and rounds: equal figures are then drawn alike to the last bit.

    The solver of the constraints visits them in the order of memory addresses, so the last bits
    of a position differ between runs, and with them the names of clip paths in SVG.

    Args:
      figure: Complete but for its layout, which is constrained or done.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        left, bottom, width, height = np.round(axis.get_position(original=True).bounds, 6)
        axis.set_position((left, bottom, width, height))


def score_dots(
    scores: Mapping[str, Series], colours: Mapping[str, str], *, xlabel: str, label: str
) -> Markup:
    """One dot per image and a bar at the mean, methods below each other, one panel per group.

    Args:
      scores: By group and method, one score per image, in [0, 1].
      colours: By method.
      xlabel: Name of the score.
      label: See `chart`.
    Returns:
      An inline SVG element.
    """
    methods = list(colours)

    def draw(axes: Sequence["Axes"]) -> None:
        for axis, (group, by_method) in zip(axes, scores.items(), strict=True):
            for row, method in enumerate(methods):
                values = np.asarray(by_method[method], float)
                # Rank decides the height of a dot: no randomness, and few dots on each other.
                spread = np.linspace(-0.14, 0.14, len(values))[np.argsort(np.argsort(-values) % 3)]
                axis.scatter(values, row + spread, s=16, color=colours[method], alpha=0.55, lw=0)
                mean = float(values.mean())
                axis.plot([mean, mean], [row - 0.24, row + 0.24], color=colours[method], lw=3)
                axis.annotate(
                    f"{mean:.2f}", (mean, row - 0.27), ha="center", va="bottom", fontsize=9
                )
            axis.set_title(group)
            axis.set_xlabel(xlabel)
            axis.set_xlim(0, 1.02)
        axes[0].set_yticks(range(len(methods)), methods)
        axes[0].set_ylim(len(methods) - 0.4, -0.75)
        for axis in axes:
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)

    height = 1.0 + 0.62 * len(methods)
    return chart(draw, columns=len(scores), label=label, size_in=(9.6, height), share_y=True)


def lines(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    colours: Mapping[str, str],
    *,
    xlabel: str,
    ylabels: Sequence[str],
    label: str,
    ylim: Mapping[str, tuple[float, float]] | None = None,
) -> Markup:
    """Lines, one panel per group.

    Args:
      panels: By panel and line: x and y.
      colours: By line.
      xlabel: Of all panels.
      ylabels: Of each panel.
      label: See `chart`.
      ylim: Limits by panel; the others fit their data.
    Returns:
      An inline SVG element.
    """

    def draw(axes: Sequence["Axes"]) -> None:
        for axis, (title, series), ylabel in zip(axes, panels.items(), ylabels, strict=True):
            for name, (x, y) in series.items():
                marker = "o" if len(x) <= 20 else None
                axis.plot(x, y, color=colours[name], lw=1.8, marker=marker, ms=3.5, label=name)
            axis.set_title(title)
            axis.set_xlabel(xlabel)
            axis.set_ylabel(ylabel)
            if ylim and title in ylim:
                axis.set_ylim(*ylim[title])
            axis.legend()

    return chart(draw, columns=len(panels), label=label, size_in=(9.6, 3.1))


def deltas(changes: Series, *, ylabel: str, label: str) -> Markup:
    """Change of each image's score, sorted, up in one colour and down in another.

    Args:
      changes: By group, one number per image.
      ylabel: What changed.
      label: See `chart`.
    Returns:
      An inline SVG element.
    """

    def draw(axes: Sequence["Axes"]) -> None:
        for axis, (group, values) in zip(axes, changes.items(), strict=True):
            ordered = np.sort(np.asarray(values, float))
            x = np.arange(1, len(ordered) + 1)
            colours = [theme.BLUE if v >= 0 else theme.VERMILLION for v in ordered]
            axis.vlines(x, 0, ordered, colors=colours, lw=2.4)
            axis.scatter(x, ordered, c=colours, s=26, zorder=3, lw=0)
            axis.axhline(0, color=theme.INK, lw=0.8)
            mean = float(ordered.mean())
            axis.axhline(mean, color=theme.INK, lw=1, ls=(0, (4, 3)))
            axis.annotate(
                f"mean {mean:+.3f}",
                (0.02, mean),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                fontsize=9,
            )
            axis.set_title(group)
            axis.set_xlabel("images, from worst to best change")
            axis.set_xticks([])
            axis.grid(axis="x", visible=False)
        axes[0].set_ylabel(ylabel)

    return chart(draw, columns=len(changes), label=label, size_in=(9.6, 2.9), share_y=True)


def shares(
    panels: Sequence[tuple[str, str, str, Sequence[tuple[str, float, int]]]], *, label: str
) -> Markup:
    """Bars of percentages with their sample sizes.

    Args:
      panels: Title, x label, y label, and bars: name, share in [0, 1], number of cases.
      label: See `chart`.
    Returns:
      An inline SVG element.
    """

    def draw(axes: Sequence["Axes"]) -> None:
        for axis, (title, xlabel, ylabel, bars) in zip(axes, panels, strict=True):
            percent = [100 * share for _, share, _ in bars]
            axis.bar(range(len(bars)), percent, color=theme.BLUE, width=0.72)
            top = max([*percent, 1.0])
            for i, (value, (_, _, n)) in enumerate(zip(percent, bars, strict=True)):
                text = f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %"
                axis.annotate(text, (i, value + 0.02 * top), ha="center", va="bottom", fontsize=9)
                axis.annotate(
                    f"n = {n:,}".replace(",", "\N{THIN SPACE}"),
                    (i, 0),
                    xytext=(0, -26),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    alpha=0.75,
                    annotation_clip=False,
                )
            axis.set_xticks(range(len(bars)), [name for name, _, _ in bars])
            axis.tick_params(axis="x", length=0)
            axis.set_ylim(0, 1.13 * top)
            axis.set_title(title)
            axis.set_xlabel(xlabel, labelpad=16)
            axis.set_ylabel(ylabel)
            axis.grid(axis="x", visible=False)

    return chart(draw, columns=len(panels), label=label, size_in=(9.6, 3.3))


def _inline(svg: str, label: str, salt: str) -> str:
    """Makes Matplotlib's SVG file part of a page: no header, no fixed size, own ids."""
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None, "Matplotlib gives every SVG a viewBox"
    body = svg[svg.index(">", view_box.end()) + 1 :]
    # Its style sheet would hold for the whole page.
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href").replace(theme.INK, "currentColor")
    # Groups are numbered alike in every chart; ids must be unique on a page.
    body = re.sub(r'\sid="([A-Za-z]+[\w.]*?_\d+)"', rf' id="\1-{salt}"', body)
    body = re.sub(r"font: (?:\w+ )*([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    return f'<svg class="chart" role="img" aria-label="{escape(label)}" {view_box[0]}>{body}'
