"""Figures that compare sets of features: curves, enrichment, the sweep, strengths, training."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from cellml.report import theme
from cellml.report.profiling_maps import CATEGORIES, compress, group_mechanisms, linear_width, short
from cellml.report.profiling_results import (
    ExperimentResult,
    StrengthRanking,
    shown_lambda,
)
from cellml.report.published import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS_MAX = 45
"""Treatments up to which every one gets a bar with its name."""
MARKERS = {"raw": "o", "default lambda": "s", "best lambda": "D"}


def experiment_colours(results: Sequence[ExperimentResult]) -> dict[str, str]:
    """One colour an experiment, the same in all figures; they repeat beyond seven."""
    return dict(zip((result.name for result in results), cycle(CATEGORIES), strict=False))


def draw_precision_recall(results: Sequence[ExperimentResult], stem: Path) -> Markup:
    """Draws the mean interpolated precision-recall curve, one panel a variant.

    Args:
      results: All experiments.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    colours = experiment_colours(results)
    names = list(dict.fromkeys(name for result in results for name in result.variants()))

    def draw(axes: Sequence["Axes"]) -> None:
        for axis, variant in zip(axes, names, strict=True):
            for result in results:
                setting = result.variants().get(variant)
                if setting is not None:
                    scores = setting.strict
                    text = f"{result.name} (mAP {_number(scores.map)})"
                    axis.plot(
                        scores.recall, scores.precision, lw=1.8, color=colours[result.name],
                        label=text,
                    )  # fmt: skip
            axis.set_title(variant)
            axis.set_xlabel("recall")
            axis.set_xlim(0, 1)
            axis.legend(fontsize=8.5)
        axes[0].set_ylim(bottom=0)
        axes[0].set_ylabel("interpolated precision")

    return publish(
        draw,
        stem,
        label="Precision against recall of every experiment, before and after sphering",
        size_in=(9.6, 3.4),
        columns=len(names),
        share_y=True,
    )


def draw_map_against_enrichment(results: Sequence[ExperimentResult], stem: Path) -> Markup:
    """Draws mAP against folds of enrichment, a panel a protocol (figure 22); arguments as above.

    Args:
      results: All experiments.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    from matplotlib.lines import Line2D

    colours = experiment_colours(results)
    protocols = [p for p in ("strict", "moshkov2024") if any(p in r.raw.scores for r in results)]
    variants = {name for result in results for name in result.variants()}

    def draw(axes: Sequence["Axes"]) -> None:
        for axis, protocol in zip(axes, protocols, strict=True):
            for result in results:
                _draw_path(axis, result, protocol, colours[result.name])
            axis.set_title(f"protocol {protocol}")
            axis.set_xlabel("folds of enrichment at the top 1 % (mean)")
            axis.margins(0.14)
        axes[0].set_ylabel("mAP")
        by_shape = [
            Line2D(
                [],
                [],
                marker=MARKERS[v],
                ms=7,
                lw=0,
                mec=theme.GREY,
                mew=1.6,
                label=v,
                mfc="none" if v == "raw" else theme.GREY,
            )
            for v in MARKERS
            if v in variants
        ]
        by_colour = [
            Line2D([], [], lw=5, color=colour, label=name) for name, colour in colours.items()
        ]
        axes[-1].legend(
            handles=[*by_colour, *by_shape], loc="upper left", bbox_to_anchor=(1.01, 1.0)
        )

    return publish(
        draw,
        stem,
        label="mAP against folds of enrichment of every experiment",
        size_in=(9.6, 3.5),
        columns=len(protocols),
        share_y=True,
    )


def draw_sweep(results: Sequence[ExperimentResult], stem: Path) -> Markup:
    """Draws the scores over the regularisations that were tried.

    Args:
      results: All experiments.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    colours = experiment_colours(results)
    tried = list(dict.fromkeys(s.regularisation for r in results for s in r.settings))
    tried.sort(key=lambda value: -np.inf if value is None else -value)
    place = {value: i for i, value in enumerate(tried)}
    panels = {"mAP": "map", "log odds at the top 1 % (Haldane)": "log_odds"}

    def draw(axes: Sequence["Axes"]) -> None:
        for axis, (title, score) in zip(axes, panels.items(), strict=True):
            for result in results:
                x = [place[s.regularisation] for s in result.settings]
                y = [getattr(s.strict, score) for s in result.settings]
                colour = colours[result.name]
                axis.plot(x, y, color=colour, marker="o", ms=3.5, lw=1.6, label=result.name)
                best = result.best
                axis.plot(
                    place[best.regularisation], getattr(best.strict, score), marker="o", ms=10,
                    mfc="none", mec=colour, mew=1.6, lw=0,
                )  # fmt: skip
                if score == "map":
                    axis.axhline(result.chance_map, color=colour, lw=1, ls=(0, (2, 3)))
            for value in {r.default for r in results} & set(tried):
                axis.axvline(place[value], color=theme.INK, alpha=0.14, lw=7, zorder=0)
            axis.set_xticks(range(len(tried)), [shown_lambda(value) for value in tried])
            axis.tick_params(axis="x", rotation=45)
            axis.set_title(title)
            axis.set_xlabel("lambda of the sphering")
        axes[0].set_ylim(bottom=0)
        axes[0].legend()

    return publish(
        draw,
        stem,
        label="Scores over the regularisations of the sphering",
        size_in=(9.6, 3.7),
        columns=2,
    )


def draw_strength(ranking: StrengthRanking, stem: Path, *, label: str) -> Markup:
    """Draws treatments by their strength and, where the truth is known, against it.

    Args:
      ranking: Of one experiment.
      stem: See `cellml.report.published.publish`.
      label: Likewise.

    Returns:
      An inline SVG element.
    """
    known = ~np.isnan(ranking.mean)
    order = np.flatnonzero(known)[np.argsort(-ranking.mean[known], kind="stable")]
    few = len(order) <= BARS_MAX
    grouping = group_mechanisms(np.array(ranking.mechanisms))
    colours = np.array([grouping.colours[name] for name in grouping.group])

    def draw(axes: Sequence["Axes"]) -> None:
        axis = axes[0]
        (_draw_bars if few else _draw_ranks)(axis, ranking, order, colours)
        axis.set_title("strength of the treatments")
        if ranking.truth is not None:
            _draw_truth(axes[1], ranking, colours)
        _colour_legend(axes[-1] if few else axis, grouping.colours)

    height = max(3.4, 0.9 + 0.19 * len(order)) if few else 3.6
    return publish(
        draw,
        stem,
        label=label,
        size_in=(9.6, height),
        columns=1 if ranking.truth is None else 2,
    )


def draw_training(results: Sequence[ExperimentResult], stem: Path) -> Markup | None:
    """Draws F1 of training and validation cells, one panel an experiment (figure 24).

    Args:
      results: All experiments.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element; None if nothing was trained.
    """
    curves = {result.name: result.training for result in results if result.training is not None}
    if not curves:
        return None

    def draw(axes: Sequence["Axes"]) -> None:
        from matplotlib.ticker import MaxNLocator

        for axis, (name, curve) in zip(axes, curves.items(), strict=True):
            for values, colour, text in (
                (curve.train, theme.GREY, "training cells"),
                (curve.validation, theme.BLUE, "validation cells"),
            ):
                if not np.isnan(values).all():
                    marker = "o" if len(values) <= 40 else None
                    axis.plot(curve.place, values, color=colour, marker=marker, ms=3.5, label=text)
            axis.set_title(name)
            axis.set_xlabel(curve.unit)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes[0].set_ylim(0, 1)
        axes[0].set_ylabel("F1 (macro)")
        axes[0].legend()

    return publish(
        draw,
        stem,
        label="F1 of training and validation cells",
        size_in=(9.6 if len(curves) > 1 else 6.4, 3.2),
        columns=len(curves),
        share_y=True,
    )


def _draw_path(axis: "Axes", result: ExperimentResult, protocol: str, colour: str) -> None:
    """One experiment: its variants as shapes, joined in their order."""
    found = {n: s.scores[protocol] for n, s in result.variants().items() if protocol in s.scores}
    x = [scores.folds_of_enrichment for scores in found.values()]
    y = [scores.map for scores in found.values()]
    axis.plot(x, y, color=colour, lw=1, alpha=0.5)
    for name, x_of, y_of in zip(found, x, y, strict=True):
        hollow = name == "raw"
        axis.plot(
            x_of, y_of, marker=MARKERS[name], ms=7, lw=0, mec=colour, mew=1.6,
            mfc="none" if hollow else colour, alpha=0.9,
        )  # fmt: skip


def _draw_bars(
    axis: "Axes", ranking: StrengthRanking, order: np.ndarray, colours: np.ndarray
) -> None:
    y = np.arange(len(order))
    axis.barh(y, ranking.mean[order], color=colours[order], height=0.72)
    axis.set_yticks(y, [ranking.treatments[i] for i in order], fontsize=7.5)
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.axvline(0, color=theme.INK, lw=0.8)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("mean z-score of the wells")


def _draw_ranks(
    axis: "Axes", ranking: StrengthRanking, order: np.ndarray, colours: np.ndarray
) -> None:
    rank = np.arange(1, len(order) + 1)
    axis.axhspan(-2, 2, color=theme.INK, alpha=0.07, lw=0)
    axis.axhline(0, color=theme.INK, lw=0.8)
    axis.scatter(rank, ranking.mean[order], c=colours[order], s=13, lw=0)
    width = linear_width(ranking.mean[order])
    if width is not None:
        compress(axis, "y", width)
    axis.set_xlabel("rank")
    axis.set_ylabel("mean z-score of the wells")


def _draw_truth(axis: "Axes", ranking: StrengthRanking, colours: np.ndarray) -> None:
    assert ranking.truth is not None
    mechanisms = np.array(ranking.mechanisms)
    for name in np.unique(mechanisms[mechanisms != ""]):
        mine = np.flatnonzero((mechanisms == name) & np.isfinite(ranking.truth + ranking.mean))
        mine = mine[np.argsort(ranking.truth[mine], kind="stable")]
        if mine.size:
            line = {"color": colours[mine[0]], "lw": 1.0, "alpha": 0.6}
            axis.plot(ranking.truth[mine], ranking.mean[mine], **line)
    axis.scatter(ranking.truth, ranking.mean, c=colours, s=26, lw=0, alpha=0.9)
    axis.axhline(0, color=theme.INK, lw=0.8)
    axis.set_xlabel("true strength")
    axis.set_ylabel("mean z-score of the wells")
    text = "against the truth"
    if ranking.in_order is not None and ranking.in_order[1]:
        text += ": {} of {} pairs in order".format(*ranking.in_order)
    axis.set_title(text)


def _colour_legend(axis: "Axes", colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", lw=0, ms=5.5, color=colour, label=short(name))
        for name, colour in colours.items()
    ]
    axis.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8.5,
        handletextpad=0.3,
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"
