"""Figures of the report on assays, in the form of the dissertation's figures 30 to 32."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from cellml.metrics.assay_summary import assay_overlap, count_by_type, count_curve
from cellml.report import theme
from cellml.report.activity_results import AssayStudy
from cellml.report.published import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    theme.BLUE, theme.VERMILLION, theme.GREEN, theme.PURPLE, theme.ORANGE, theme.SKY, theme.YELLOW,
)  # fmt: skip
VENN_MAX = 3
PAIRS_IN_A_ROW = 3
THRESHOLDS = np.linspace(0.5, 1.0, 101)
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
"""Lines of single predictors, of fusions, and of the best of all."""

CIRCLES = {
    1: ((0.0, 0.0),),
    2: ((-0.62, 0.0), (0.62, 0.0)),
    3: ((-0.6, 0.36), (0.6, 0.36), (0.0, -0.68)),
}
AREAS: dict[int, dict[tuple[int, ...], tuple[float, float]]] = {
    1: {(0,): (0.0, 0.0)},
    2: {(0,): (-1.0, 0.0), (1,): (1.0, 0.0), (0, 1): (0.0, 0.0)},
    3: {
        (0,): (-1.0, 0.62),
        (1,): (1.0, 0.62),
        (2,): (0.0, -1.17),
        (0, 1): (0.0, 0.78),
        (0, 2): (-0.57, -0.3),
        (1, 2): (0.57, -0.3),
        (0, 1, 2): (0.0, 0.06),
    },
}
RADIUS = 1.02


def draw_curves(study: AssayStudy, stem: Path) -> Markup:
    """Draws how many assays lie above each threshold (figure 30).

    Args:
      study: Singles on the left, fusions and the best of all on the right.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    singles = {name: study.auroc[name] for name in study.singles}
    late = {study.label(f): study.auroc[f.late] for f in study.fusions if f.late is not None}
    best = {"best of the single ones": study.best(study.singles)}
    joined = [f.late for f in study.fusions if f.late is not None]
    if joined:
        best["best of single ones and fusions"] = study.best([*study.singles, *joined])
    panels: list[tuple[str, Mapping[str, np.ndarray], object]] = [
        ("one modality", singles, DASHES[0]),
        ("late fusion" if late else "best of the single ones", {**late, **best}, DASHES[1]),
    ]

    def draw(axes: Sequence["Axes"]) -> None:
        from matplotlib.ticker import MaxNLocator

        for axis, (title, curves, dash) in zip(axes, panels, strict=True):
            for (name, values), colour in zip(curves.items(), cycle(COLOURS), strict=False):
                chosen = name in best
                axis.plot(
                    THRESHOLDS,
                    count_curve(values, THRESHOLDS),
                    color=theme.INK if chosen else colour,
                    alpha=0.75 if chosen else 1.0,
                    lw=1.8,
                    ls=DASHES[2 - (name == "best of single ones and fusions")] if chosen else dash,
                    label=name,
                )
            for limit in (0.7, 0.9):
                axis.axvline(limit, color=theme.INK, alpha=0.25, lw=0.8)
            axis.set_title(title)
            axis.set_xlabel(f"{study.statistic} AUROC over the folds")
            axis.set_xlim(0.5, 1.0)
            axis.legend(fontsize=8.5)
        axes[0].set_ylim(0, len(study.assays))
        axes[0].yaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel(f"assays above, of {len(study.assays)}")

    return publish(
        draw,
        stem,
        label="Number of assays above each AUROC, by predictor",
        size_in=(9.6, 3.7),
        columns=2,
        share_y=True,
    )


def draw_overlap(study: AssayStudy, threshold: float, stem: Path) -> Markup:
    """Draws which modalities pass the same assays (figure 31): Venn diagram and UpSet plot.

    Args:
      study: With up to three singles there is a Venn diagram beside the UpSet plot.
      threshold: AUROC above which an assay is passed.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    names = study.singles
    found = assay_overlap(study.passed(names, threshold))
    venn = len(names) <= VENN_MAX

    def draw(axes: Sequence["Axes"]) -> None:
        if venn:
            _draw_venn(axes[0], names, found.exclusive)
            axes[0].set_title(f"AUROC > {threshold:g}: {found.union} of {len(study.assays)} assays")
        _draw_upset(axes[-1], names, found.exclusive, found.single)
        axes[-1].set_title("by the exact set of modalities")

    return publish(
        draw,
        stem,
        label=f"Assays above {threshold:g} by the modalities that predict them",
        size_in=(9.6, 3.9),
        columns=2 if venn else 1,
    )


def draw_types(study: AssayStudy, names: Sequence[str], threshold: float, stem: Path) -> Markup:
    """Draws the share of each type's assays that predictors pass (figure 32).

    Args:
      study: With types.
      names: Predictors.
      threshold: AUROC above which an assay is passed.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    counts = {name: count_by_type(study.auroc[name], study.types, [threshold]) for name in names}
    kinds = list(next(iter(counts.values())))
    width = 0.88 / len(names)

    def draw(axes: Sequence["Axes"]) -> None:
        axis = axes[0]
        for i, (name, colour) in enumerate(zip(names, cycle(COLOURS), strict=False)):
            for x, kind in enumerate(kinds):
                one = counts[name][kind]
                left = x - 0.44 + (i + 0.5) * width
                percent = 100 * one.above[threshold] / one.n_assays
                text = name if x == 0 else None
                axis.bar(left, percent, width * 0.9, color=colour, label=text)
                axis.annotate(
                    str(one.above[threshold]), (left, percent), xytext=(0, 2), ha="center",
                    textcoords="offset points", fontsize=7.5 if len(names) <= 5 else 6,
                )  # fmt: skip
        sizes = [next(iter(counts.values()))[kind].n_assays for kind in kinds]
        axis.set_xticks(
            range(len(kinds)), [f"{k}\n({n})" for k, n in zip(kinds, sizes, strict=True)]
        )
        axis.set_ylabel(f"% of the type's assays above {threshold:g}")
        axis.grid(axis="x", visible=False)
        axis.tick_params(axis="x", length=0)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return publish(
        draw, stem, label=f"Share of assays above {threshold:g} by type", size_in=(9.6, 3.6)
    )


def draw_pairs(study: AssayStudy, pairs: Sequence[tuple[str, str]], stem: Path) -> Markup:
    """Draws predictors against each other, a dot an assay.

    Args:
      study: All predictors.
      pairs: Up to three.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """

    def draw(axes: Sequence["Axes"]) -> None:
        for axis in axes[len(pairs) :]:  # one or two are not drawn larger than three
            axis.set_axis_off()
        for axis, (first, second) in zip(axes, pairs, strict=False):
            x, y = study.auroc[first], study.auroc[second]
            axis.plot([0, 1], [0, 1], color=theme.INK, lw=0.8, alpha=0.6)
            colours = np.where(y > x, theme.BLUE, theme.VERMILLION)
            axis.scatter(x, y, c=colours, s=11, alpha=0.6, lw=0)
            axis.set_xlabel(first)
            axis.set_ylabel(second)
            axis.set_xlim(0, 1.02)
            axis.set_ylim(0, 1.02)
            axis.set_aspect("equal")

    return publish(
        draw,
        stem,
        label="AUROC of each assay by two predictors",
        size_in=(9.6, 3.6),
        columns=PAIRS_IN_A_ROW,
    )


def _draw_venn(
    axis: "Axes", names: Sequence[str], exclusive: Mapping[tuple[str, ...], int]
) -> None:
    from matplotlib.patches import Circle

    k = len(names)
    for i, (x, y) in enumerate(CIRCLES[k]):
        colour = COLOURS[i]
        axis.add_patch(Circle((x, y), RADIUS, facecolor=colour, alpha=0.22, lw=0))
        axis.add_patch(Circle((x, y), RADIUS, facecolor="none", edgecolor=colour, lw=1.6))
        low = k == 3 and i == 2
        axis.annotate(
            names[i],
            (x * 1.25, y - RADIUS - 0.1 if low else y + RADIUS + 0.1),
            ha="center",
            va="top" if low else "bottom",
            fontsize=10,
            color=colour,
            fontweight="bold",
        )
    for members, (x, y) in AREAS[k].items():
        count = exclusive[tuple(names[i] for i in members)]
        axis.annotate(str(count), (x, y), ha="center", va="center", fontsize=12)
    axis.set_xlim(-2.1, 2.1)
    axis.set_ylim(-2.1, 1.75)
    axis.set_aspect("equal")
    axis.set_axis_off()


def _draw_upset(
    axis: "Axes",
    names: Sequence[str],
    exclusive: Mapping[tuple[str, ...], int],
    single: Mapping[str, int],
) -> None:
    """Bars of the exact sets, and below each which predictors it is made of."""
    sets = sorted((s for s in exclusive if exclusive[s]), key=lambda s: -exclusive[s]) or [
        (names[0],)
    ]
    sets = sets[:16]
    top = max(exclusive[s] for s in sets) or 1
    step = 0.13 * top
    colour_of = dict(zip(names, cycle(COLOURS), strict=False))
    for x, members in enumerate(sets):
        colour = colour_of[members[0]] if len(members) == 1 else theme.GREY
        axis.bar(x, exclusive[members], 0.6, color=colour)
        axis.annotate(
            str(exclusive[members]), (x, exclusive[members]), xytext=(0, 2), ha="center",
            textcoords="offset points", fontsize=9,
        )  # fmt: skip
        rows = [-(names.index(name) + 1) * step for name in members]
        axis.plot([x, x], [min(rows), max(rows)], color=theme.INK, lw=1.6)
        for i, name in enumerate(names):
            inside = name in members
            axis.plot(
                x, -(i + 1) * step, marker="o", ms=7, lw=0, mew=0,
                color=colour_of[name] if inside else theme.INK, alpha=1.0 if inside else 0.13,
            )  # fmt: skip
    axis.axhline(0, color=theme.INK, lw=0.7)
    ticks = [t for t in axis.get_yticks() if 0 <= t <= top and float(t).is_integer()]
    rows = [-(i + 1) * step for i in range(len(names))]
    labels = [f"{name} ({single[name]})" for name in names]
    axis.set_yticks([*rows, *ticks], [*labels, *(f"{t:g}" for t in ticks)])
    axis.set_ylim(-(len(names) + 0.7) * step, top * 1.12)
    axis.set_xlim(-0.6, max(len(sets), 5) - 0.4)
    axis.set_xticks([])
    axis.grid(visible=False)
    axis.spines["bottom"].set_visible(False)
