"""Maps of wells before and after sphering, with marginal densities by batch and by mechanism."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from markupsafe import Markup

from cellml.metrics.relations import split_labels
from cellml.report import theme
from cellml.report.embeddings import Embedding
from cellml.report.profiling_results import CONTROL, WellMaps
from cellml.report.published import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from scipy.stats import gaussian_kde

CATEGORIES = (
    theme.BLUE, theme.VERMILLION, theme.GREEN, theme.PURPLE, theme.ORANGE, theme.SKY, theme.YELLOW,
)  # fmt: skip
"""Colours of groups without order; nobody tells more of them apart."""
LEGEND_MAX = 10
OTHER, NOTHING = "other mechanisms", "no mechanism"
QUIET = {CONTROL: "#717a83", OTHER: "#b4bbc2", NOTHING: "#d5d9dd"}
"""Groups that stand behind the others."""
NAME_MAX = 27
"""Letters of a name in a legend."""
TAIL = 8.0
"""Spread of all wells over that of the middle half from which on an axis is compressed."""
GRID = 160
"""Places at which a density is computed."""


class Grouping(NamedTuple):
    """Wells in groups, each with a colour.

    Attributes:
      title: What the groups are.
      group: Name of the group of each well.
      colours: By name, in the order of the legend.
    """

    title: str
    group: Shaped[np.ndarray, " n"]
    colours: Mapping[str, str]


def draw_maps(wells: WellMaps, kind: str, stem: Path, *, label: str) -> Markup:
    """Draws a map by batch and by mechanism, before sphering above and after it below.

    Args:
      wells: With a map of this kind.
      kind: Key of `wells.maps`.
      stem: See `cellml.report.published.publish`.
      label: Likewise.

    Returns:
      An inline SVG element.
    """
    maps = wells.maps[kind]
    groupings = (group_batches(wells.batches), group_mechanisms(wells.mechanisms))
    lines = max(-(-min(len(g.colours), LEGEND_MAX) // 2) for g in groupings)
    titles = ("before sphering", "after sphering")[: len(maps)]

    def draw(axes: Sequence["Axes"]) -> None:
        frame = axes[0]
        figure, area = frame.get_figure(), frame.get_subplotspec()
        assert figure is not None
        assert area is not None
        frame.remove()
        grid = area.subgridspec(
            2 * len(maps) + 1,
            4,
            height_ratios=[0.2, 1] * len(maps) + [0.06 * lines + 0.02],
            width_ratios=[1, 0.2] * 2,
        )
        for row, (embedding, title) in enumerate(zip(maps, titles, strict=True)):
            for column, grouping in enumerate(groupings):
                body = figure.add_subplot(grid[2 * row + 1, 2 * column])
                top = figure.add_subplot(grid[2 * row, 2 * column], sharex=body)
                side = figure.add_subplot(grid[2 * row + 1, 2 * column + 1], sharey=body)
                top.set_title(f"{title}, {grouping.title}")
                _draw_joint(body, top, side, embedding, grouping)
        for column, grouping in enumerate(groupings):
            _draw_legend(figure.add_subplot(grid[-1, 2 * column : 2 * column + 2]), grouping)

    return publish(draw, stem, label=label, size_in=(9.6, 0.2 + 0.22 * lines + 4.6 * len(maps)))


def group_batches(batches: Shaped[np.ndarray, " n"]) -> Grouping:
    """Colours batches in their order: as categories if they are few, else along a colour map."""
    names = sorted(set(batches.tolist()))
    if len(names) <= len(CATEGORIES):
        colours = dict(zip(names, CATEGORIES, strict=False))
    else:
        steps = len(names) - 1
        colours = {n: theme.hex_colour("viridis", 0.95 * i / steps) for i, n in enumerate(names)}
    return Grouping("by batch", batches, colours)


def group_mechanisms(mechanisms: Shaped[np.ndarray, " n"]) -> Grouping:
    """Colours the mechanisms with the most wells; the others and the controls stand behind.

    A well of several mechanisms belongs to the most frequent of them.
    """
    several = [() if text == CONTROL else split_labels(str(text)) for text in mechanisms]
    counts = Counter(label for labels in several for label in labels)
    order = sorted(counts, key=lambda label: (-counts[label], label))
    shown = order[: len(CATEGORIES)]
    group = []
    for text, labels in zip(mechanisms.tolist(), several, strict=True):
        best = [label for label in shown if label in labels]
        other = OTHER if labels else NOTHING
        group.append(CONTROL if text == CONTROL else best[0] if best else other)
    colours = dict(zip(shown, CATEGORIES, strict=False))
    colours |= {name: colour for name, colour in QUIET.items() if name in set(group)}
    return Grouping("by mechanism", np.array(group), colours)


def linear_width(values: Float[np.ndarray, " n"]) -> float | None:
    """Where an axis with a long tail goes over from linear to logarithmic; None without a tail.

    Strong treatments lie so far from all others that those would become one dot.
    """
    low, quarter, three, high = np.quantile(values, [0.01, 0.25, 0.75, 0.99])
    middle = float(three - quarter)
    return middle if middle > 0 and high - low > TAIL * middle else None


def density(
    values: Float[np.ndarray, " n"],
    limits: tuple[float, float],
    *,
    linear_width: float | None = None,
) -> tuple[Float[np.ndarray, " g"], Float[np.ndarray, " g"]] | None:
    """Gaussian kernel density along an axis.

    Args:
      values: Places of the wells.
      limits: Of the axis.
      linear_width: Of an axis in asinh(x / linear_width); the density is per unit of that.

    Returns:
      Places and density, of area 1 on the axis as drawn; None for fewer than 3 different values.
    """
    from scipy.stats import gaussian_kde

    if np.unique(values).size < 3:
        return None
    if linear_width is None:
        grid = np.linspace(*limits, GRID)
        return grid, gaussian_kde(values, _bandwidth)(grid)
    low, high = np.arcsinh(np.array(limits) / linear_width)
    grid = np.linspace(low, high, GRID)
    height = gaussian_kde(np.arcsinh(values / linear_width), _bandwidth)(grid)
    return np.sinh(grid) * linear_width, height


def compress(axis: "Axes", which: str, width: float) -> None:
    """Gives an axis the scale asinh(x / width), with few ticks in plain numbers.

    Args:
      axis: To change.
      which: "x" or "y".
      width: See `linear_width`.
    """
    from matplotlib.ticker import AsinhLocator, NullLocator, StrMethodFormatter

    found = axis.xaxis if which == "x" else axis.yaxis
    (axis.set_xscale if which == "x" else axis.set_yscale)("asinh", linear_width=width)
    found.set_major_locator(AsinhLocator(width, numticks=6))
    found.set_minor_locator(NullLocator())
    found.set_major_formatter(StrMethodFormatter("{x:g}"))


def _bandwidth(density: "gaussian_kde") -> float:
    """Narrower than Scott's rule, which is for one bell: groups of wells have several."""
    return 0.6 * density.scotts_factor()


def short(name: str) -> str:
    """A name that fits into a legend."""
    return (
        name if len(name) <= NAME_MAX else name[: NAME_MAX - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    )


def _draw_joint(
    body: "Axes", top: "Axes", side: "Axes", embedding: Embedding, grouping: Grouping
) -> None:
    points, n = embedding.points, len(embedding.points)
    size = float(np.clip(9000 / max(n, 1), 3, 22))
    quiet = np.isin(grouping.group, list(QUIET))
    # Neither batch nor mechanism may lie on top only because it comes last in the table.
    mixed = np.random.default_rng(0).permutation(n)
    for behind, alpha in ((True, 0.4), (False, 0.75)):
        rows = mixed[quiet[mixed] == behind]
        colours = [grouping.colours[name] for name in grouping.group[rows]]
        body.scatter(*points[rows].T, s=size, c=colours, alpha=alpha, lw=0, rasterized=True)
    widths = [linear_width(values) for values in points.T]
    for width, which in zip(widths, "xy", strict=True):
        if width is not None:
            compress(body, which, width)
    _limit(body, points)
    for name, colour in grouping.colours.items():
        rows = grouping.group == name
        for place, (limits, width) in enumerate(
            zip((body.get_xlim(), body.get_ylim()), widths, strict=True)
        ):
            curve = density(points[rows, place], limits, linear_width=width)
            if curve is not None and name not in (OTHER, NOTHING):
                (top if place == 0 else side).plot(
                    *(curve if place == 0 else curve[::-1]), color=colour, lw=1.2
                )
    for axis in (top, side):
        axis.grid(visible=False)
        axis.tick_params(length=0, which="both", labelbottom=False, labelleft=False)
    top.spines["left"].set_visible(False)
    side.spines["bottom"].set_visible(False)
    top.set_ylim(bottom=0)
    side.set_xlim(left=0)
    body.set_xlabel(embedding.axes[0])
    body.set_ylabel(embedding.axes[1])
    if embedding.axes[0].startswith("UMAP"):
        body.tick_params(
            length=0, which="both", labelbottom=False, labelleft=False
        )  # it has no unit


def _limit(body: "Axes", points: np.ndarray) -> None:
    """Leaves single far points out, or they would squeeze all others; says how many."""
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    reach = np.maximum(high - low, 1e-6)
    low = np.maximum(points.min(axis=0) - 0.1 * reach, low - 0.35 * reach)
    high = np.minimum(points.max(axis=0) + 0.1 * reach, high + 0.35 * reach)
    body.set_xlim(low[0], high[0])
    body.set_ylim(low[1], high[1])
    outside = int(((points < low) | (points > high)).any(axis=1).sum())
    if outside:
        body.annotate(
            f"{outside} of {len(points)} wells lie outside",
            (0.99, 0.01), xycoords="axes fraction", ha="right", va="bottom", fontsize=7.5,
            alpha=0.75,
        )  # fmt: skip


def _draw_legend(axis: "Axes", grouping: Grouping) -> None:
    from matplotlib.lines import Line2D

    axis.set_axis_off()
    names = list(grouping.colours)
    if len(names) > LEGEND_MAX:  # along a colour map: some along it tell enough
        names = [names[i] for i in np.linspace(0, len(names) - 1, LEGEND_MAX).round().astype(int)]
    handles = [
        Line2D([], [], marker="o", lw=0, ms=5.5, color=grouping.colours[name], label=short(name))
        for name in names
    ]
    legend = axis.legend(
        handles=handles, loc="upper left", ncols=2, fontsize=8.5, handletextpad=0.1,
        columnspacing=0.8, borderaxespad=0,
    )  # fmt: skip
    legend.set_in_layout(False)
