"""Figures of the study of test-time augmentation, in the style of the dissertation's 14 and 15."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from cellml.report import theme
from cellml.report.charts import STYLE, fix_layout
from cellml.report.panels import displayed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

METHODS = {
    "none": ("without TTA", "#5f6368", "-", "o"),
    "tta": ("with TTA", theme.BLUE, "-", "o"),
    "dilated": ("without TTA, dilated by 1 px", theme.ORANGE, "--", "s"),
}
"""Name, colour, line and marker of every method."""

CHECKPOINTS_WITH_WORDS = 9

ERROR_COLOURS = {
    "correct nucleus": "#b9bec4",
    "too much": theme.VERMILLION,
    "missed": theme.BLUE,
    "correct background": "#f4f5f6",
}


class EpochScores(NamedTuple):
    """One score of one group of checkpoints, e per group, each on the same images.

    Attributes:
      group: Name of the group.
      epochs: Place of every checkpoint in its training run, ascending.
      means: For every method, the mean score of every checkpoint `[e]`.
      deltas: For every checkpoint, each image's change by TTA; images without a score left out.
      intervals: For every checkpoint, the 95 % interval of the mean change.
      dilated: For every checkpoint, the mean change by dilation.
    """

    group: str
    epochs: Sequence[int]
    means: Mapping[str, Sequence[float]]
    deltas: Sequence[Float[np.ndarray, " n"]]
    intervals: Sequence[tuple[float, float]]
    dilated: Sequence[float]


class CasePanels(NamedTuple):
    """One image of the gallery.

    Attributes:
      title: What to write beside it.
      image: Raw pixels.
      true: True foreground.
      none: Foreground found without TTA.
      tta: Foreground found with TTA.
      probability: Merged probability of foreground.
      uncertainty: Standard deviation of the probability over the transformed copies.
      scores: Foreground IoU without and with TTA, of the whole image.
    """

    title: str
    image: Shaped[np.ndarray, "h w c"]
    true: Bool[np.ndarray, "h w"]
    none: Bool[np.ndarray, "h w"]
    tta: Bool[np.ndarray, "h w"]
    probability: Float[np.ndarray, "h w"]
    uncertainty: Float[np.ndarray, "h w"]
    scores: tuple[float, float]


def draw_epochs(groups: Sequence[EpochScores], stem: Path, *, score: str) -> None:
    """Draws mean score and change by TTA against the epoch, one column a group (figure 14).

    Args:
      groups: At least one.
      stem: Path without suffix; `.png` and `.svg` are added.
      score: Name of the score, as the axis has it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context(_style()):
        figure = Figure(figsize=(max(5.4, 4.4 * len(groups)), 6.2), layout="constrained")
        axes = figure.subplots(2, len(groups), squeeze=False, sharex="col", sharey="row")
        for (upper, lower), group in zip(axes.T, groups, strict=True):
            _draw_means(upper, group)
            _draw_deltas(lower, group)
            upper.set_title(group.group)
            lower.set_xlabel("epoch of the checkpoint")
            lower.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
        _limit_deltas(axes[1], groups)
        axes[0, 0].set_ylabel(f"mean {score}")
        axes[1, 0].set_ylabel(f"change of {score} by TTA")
        for row in axes:
            handles, names = row[0].get_legend_handles_labels()
            row[0].legend(handles, names, fontsize=8.5)
        _save(figure, stem)


def draw_deltas(groups: Sequence[EpochScores], stem: Path, *, score: str) -> None:
    """Draws every image's change by TTA for every checkpoint, one row a group (figure 13).

    Args:
      groups: At least one.
      stem: Path without suffix; `.png` and `.svg` are added.
      score: Name of the score, as the axis has it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_style()):
        widest = max(len(group.epochs) for group in groups)
        size = (min(16.0, max(5.4, 1.9 + 1.7 * widest)), 0.6 + 3.2 * len(groups))
        figure = Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(len(groups), 1, squeeze=False, sharey=True)[:, 0])
        for axis, group in zip(axes, groups, strict=True):
            _draw_points(axis, group)
            axis.set_title(group.group)
            axis.set_ylabel(f"change of {score} by TTA")
        axes[-1].set_xlabel("epoch of the checkpoint")
        _limit_deltas(axes, groups)
        found = [axis.get_legend_handles_labels() for axis in axes]
        legend = {name: handle for pair in found for handle, name in zip(*pair, strict=True)}
        figure.legend(
            legend.values(), legend, loc="outside upper right", ncols=len(legend), fontsize=8.5
        )
        _save(figure, stem)


def _draw_points(axis: "Axes", group: EpochScores) -> None:
    """Checkpoints side by side, whatever their epochs; points are spread by rank.

    Where there is room, the mean with its 95 % interval and the share of images made worse stand
    below the epoch.
    """
    axis.axhline(0, color="black", lw=0.8)
    ticks = []
    for place, (epoch, deltas) in enumerate(zip(group.epochs, group.deltas, strict=True)):
        ticks.append(f"{epoch}")
        if not len(deltas):
            continue
        spread = 0.7 * ((np.argsort(np.argsort(deltas)) * 0.618034) % 1 - 0.5)
        for name, colour, chosen in (
            ("image made better", theme.BLUE, deltas > 0),
            ("equal", theme.GREY, deltas == 0),
            ("worse", theme.VERMILLION, deltas < 0),
        ):
            axis.scatter(
                place + spread[chosen], deltas[chosen], s=11, color=colour, alpha=0.55, lw=0,
                label=name,
            )  # fmt: skip
        ends, mean = (place - 0.42, place + 0.42), float(np.mean(deltas))
        axis.plot(ends, [np.median(deltas)] * 2, color="black", lw=1.8, label="median")
        # two colours, or a mean on the median would not be seen
        axis.plot(ends, [mean] * 2, color=theme.ORANGE, ls=(0, (3, 2)), lw=1.8, label="mean")
        low, high = group.intervals[place]
        if len(group.epochs) <= CHECKPOINTS_WITH_WORDS:
            ticks[-1] += f"\nmean {mean:+.4f}\n({low:+.4f} to {high:+.4f})"
            ticks[-1] += f"\n{np.mean(deltas < 0):.0%} worse"
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set_xlim(-0.6, len(ticks) - 0.4)
    axis.grid(axis="x", visible=False)


def draw_cases(cases: Sequence[CasePanels], stem: Path) -> None:
    """Draws image, error maps, probability and uncertainty of some images (figure 15).

    Args:
      cases: One a row.
      stem: Path without suffix; `.png` and `.svg` are added.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    columns = ("image", "errors without TTA", "errors with TTA", "probability", "uncertainty")
    # One scale for all rows, or rows cannot be compared; the largest possible value is 0.5.
    top = max(0.02, max(float(case.uncertainty.max()) for case in cases))
    with mpl.rc_context({**_style(), "axes.grid": False}):
        shapes = [case.true.shape for case in cases]
        heights = [2.05 * min(1.4, max(0.6, h / w)) for h, w in shapes]
        size = (11.2, sum(heights) + 0.28 * len(cases) + 0.7)
        figure = Figure(figsize=size, layout="constrained")
        # The last row holds the legend and the colour bars, so that they move no panel.
        axes = figure.subplots(len(cases) + 1, 5, squeeze=False, height_ratios=[*heights, 0.12])
        maps = []
        for row, case in zip(axes[:-1], cases, strict=True):
            maps = _draw_case(row, case, top)
        for axis, name in zip(axes[0], columns, strict=True):
            axis.set_title(name, fontsize=9.5)
        for axis, drawn, name in zip(
            axes[-1, 3:], maps, ("foreground", "s.d. over the copies"), strict=True
        ):
            figure.colorbar(drawn, cax=axis, orientation="horizontal", label=name)
            axis.spines[:].set_visible(False)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
        for axis in axes[-1, :3]:
            axis.set_axis_off()
        patches = [Patch(color=colour, label=name) for name, colour in ERROR_COLOURS.items()]
        axes[-1, 0].legend(handles=patches, loc="center left", ncols=4, fontsize=8.5)
        axes[-1, 0].get_legend().set_in_layout(False)  # it reaches over three columns
        _save(figure, stem)


def _draw_case(row: Sequence["Axes"], case: CasePanels, top: float) -> list["AxesImage"]:
    """Draws one image into five axes; returns the probability and the uncertainty as drawn."""
    row[0].imshow(displayed(case.image))
    row[0].set_ylabel(case.title, fontsize=8.5)
    for axis, found, value in zip(row[1:3], (case.none, case.tta), case.scores, strict=True):
        axis.imshow(error_map(case.true, found))
        axis.set_xlabel(f"IoU {value:.3f}", fontsize=8.5)
    for axis in row:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    return [
        row[3].imshow(case.probability, cmap=theme.PROBABILITY_MAP, vmin=0, vmax=1),
        row[4].imshow(case.uncertainty, cmap=theme.UNCERTAINTY_MAP, vmin=0, vmax=top),
    ]


def error_map(
    true: Bool[np.ndarray, "h w"], found: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Colours every pixel by what it is, see `ERROR_COLOURS`.

    Args:
      true: True foreground.
      found: Predicted foreground.

    Returns:
      RGB in [0, 1].
    """
    from matplotlib.colors import to_rgb

    kinds = (true & found, ~true & found, true & ~found, ~true & ~found)
    picture = np.zeros((*true.shape, 3))
    for kind, colour in zip(kinds, ERROR_COLOURS.values(), strict=True):
        picture[kind] = to_rgb(colour)
    return picture


def _draw_means(axis: "Axes", group: EpochScores) -> None:
    for method, (name, colour, line, marker) in METHODS.items():
        axis.plot(
            group.epochs, group.means[method], color=colour, ls=line, marker=marker, ms=4, lw=1.6,
            label=name,
        )  # fmt: skip


def _draw_deltas(axis: "Axes", group: EpochScores) -> None:
    """Points are images; their spread along x is made by rank and says nothing."""
    axis.axhline(0, color="black", lw=0.8)
    epochs = np.asarray(group.epochs, float)
    steps = np.diff(np.unique(epochs))
    step = max(float(steps.min()), float(steps.sum()) / 40) if steps.size else 1.0
    for i, (epoch, deltas) in enumerate(zip(epochs, group.deltas, strict=True)):
        spread = (np.argsort(np.argsort(deltas)) * 0.618034) % 1 - 0.5
        axis.scatter(
            epoch + 0.5 * step * spread, deltas, s=9, color=theme.SKY, alpha=0.55, lw=0,
            label="one image" if i == 0 else None,
        )  # fmt: skip
    means = np.array([np.mean(deltas) if len(deltas) else np.nan for deltas in group.deltas])
    medians = [np.median(deltas) if len(deltas) else np.nan for deltas in group.deltas]
    low, high = np.array(group.intervals, float).T
    whiskers = np.maximum(0, [means - low, high - means])
    axis.errorbar(
        epochs, means, yerr=whiskers, color=theme.BLUE, marker="o", ms=4.5, lw=1.6, capsize=2.5,
        label="mean, 95 % interval",
    )  # fmt: skip
    axis.plot(
        epochs, medians, color="black", marker="_", ms=10, lw=0, mew=1.8, zorder=4, label="median"
    )
    axis.plot(
        epochs, group.dilated, color=theme.ORANGE, ls="--", marker="s", ms=3.5, lw=1.3,
        label="mean of the dilation",
    )  # fmt: skip
    axis.margins(x=0.06)
    if epochs.size == 1:
        axis.set_xlim(epochs[0] - 1, epochs[0] + 1)


def _limit_deltas(axes: Sequence["Axes"], groups: Sequence[EpochScores]) -> None:
    """Leaves the outermost points out, or one failed checkpoint would flatten all others."""
    points = np.concatenate([np.ravel(d) for group in groups for d in group.deltas] or [[0.0]])
    lines = [v for g in groups for pair in g.intervals for v in pair] + [
        v for g in groups for v in g.dilated
    ]
    inner = np.quantile(points, [0.01, 0.99]) if points.size else np.zeros(2)
    low = float(np.nanmin([*inner, *lines, 0.0]))
    high = float(np.nanmax([*inner, *lines, 0.0]))
    margin = max(0.08 * (high - low), 1e-3)
    low, high = low - margin, high + margin
    axes[0].set_ylim(low, high)
    for axis, group in zip(axes, groups, strict=True):
        outside = sum(int(np.sum((d < low) | (d > high))) for d in group.deltas)
        if outside:
            axis.annotate(
                f"{outside} of {sum(len(d) for d in group.deltas)} points lie outside",
                (0.99, 0.015), xycoords="axes fraction", ha="right", va="bottom", fontsize=7.5,
                color="#5f6368",
            )  # fmt: skip


def _style() -> Any:  # RcParams: matplotlib has no public type for its keys
    """The report's style on white paper."""
    style = {name: "black" if value == theme.INK else value for name, value in STYLE.items()}
    return style | {
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "axes.titleweight": "bold",
        "svg.hashsalt": "cellml",
    }


def _save(figure: "Figure", stem: Path) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    fix_layout(figure)
    for suffix in (".png", ".svg"):
        part = stem.with_name(f"{stem.name}.part{suffix}")
        if suffix == ".svg":
            figure.savefig(part, metadata={"Date": None})  # equal results give equal files
        else:
            figure.savefig(part, dpi=150)
        part.replace(stem.with_name(f"{stem.name}{suffix}"))
