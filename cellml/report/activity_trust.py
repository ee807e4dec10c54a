"""Figures and tables on how far predictions can be trusted: calibration, spread, similarity."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from cellml.report import theme
from cellml.report.activity_figures import COLOURS
from cellml.report.activity_tables import DASH, number
from cellml.report.activity_trust_results import Curve, Reliability, Spread, Stratum, Trust
from cellml.report.html import Chapter, Figure, Section, Table
from cellml.report.published import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-4
"""Shares below this stand on the edge of the logarithmic axes."""
Z95 = 1.959964
NAMES = {
    "auroc": "AUROC", "ap": "AP", "rmse": "RMSE", "mae": "MAE", "r2": "R2",
    "spearman": "Spearman", "accuracy": "accuracy", "cross_entropy": "cross-entropy",
    "auroc_macro": "AUROC, macro", "pr_auc_trapezoid": "PR trapezoid", "ef1": "EF 1 %",
    "ef5": "EF 5 %", "ef10": "EF 10 %",
}  # fmt: skip


def draw_reliability(curves: Mapping[str, Reliability], stem: Path) -> Markup:
    """Draws reliability diagrams: the share of hits against the predicted probability.

    Args:
      curves: By predictor.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element: bins of one width on the left; on the right bins of equal size on
      logarithmic axes, where rare hits can be seen.
    """

    def draw(axes: Sequence["Axes"]) -> None:
        for (name, one), colour in zip(curves.items(), cycle(COLOURS), strict=False):
            for axis, curve in zip(axes, (one.even, one.equal_count), strict=True):
                low = SMALLEST if axis is axes[1] else 0.0
                x, y = np.maximum(curve.x, low), np.maximum(curve.y, low)
                bars = wilson(curve)
                away = np.abs(np.maximum(bars, low) - y)
                axis.errorbar(
                    x, y, away, color=colour, lw=1.6, elinewidth=0.9, marker="o", ms=3.5, label=name
                )
        for axis in axes:
            axis.plot([SMALLEST, 1], [SMALLEST, 1], color=theme.INK, lw=0.9, alpha=0.6)
            axis.set_xlabel("predicted probability")
        axes[0].set_ylabel("share of hits")
        axes[0].set_title("bins of one width")
        axes[0].set_xlim(0, 1)
        axes[0].set_ylim(0, 1.02)
        axes[1].set_title("bins of equal size, logarithmic")
        axes[1].set_xscale("log")
        axes[1].set_yscale("log")
        axes[0].legend()

    return publish(
        draw, stem, label="Share of hits against predicted probability", size_in=(9.6, 4.0),
        columns=2,
    )  # fmt: skip


def draw_spread(curves: Mapping[str, Spread], stem: Path) -> Markup:
    """Draws the error against the spread that was predicted, and the coverage of intervals.

    Args:
      curves: By predictor.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    covered = {name: one.coverage for name, one in curves.items() if one.coverage}

    def draw(axes: Sequence["Axes"]) -> None:
        for (name, one), colour in zip(curves.items(), cycle(COLOURS), strict=False):
            axes[0].plot(one.curve.x, one.curve.y, color=colour, marker="o", ms=3.5, label=name)
            if name in covered:
                levels = [float(level) for level in covered[name]]
                axes[1].plot(levels, list(covered[name].values()), color=colour, marker="o", ms=3.5)
        top = max(v for one in curves.values() for v in (*one.curve.x, *one.curve.y))
        axes[0].plot([0, top], [0, top], color=theme.INK, lw=0.9, alpha=0.6)
        axes[0].set_xlabel("predicted spread")
        axes[0].set_ylabel("error (root mean square)")
        axes[0].legend()
        if covered:
            axes[1].plot([0, 1], [0, 1], color=theme.INK, lw=0.9, alpha=0.6)
            axes[1].set_xlabel("level of the interval")
            axes[1].set_ylabel("share of the readouts inside")

    return publish(
        draw, stem, label="Error against predicted spread", columns=2 if covered else 1,
        size_in=(9.6 if covered else 5.2, 3.8),
    )  # fmt: skip


def draw_similarity(strata: Mapping[str, Sequence[Stratum]], stem: Path) -> Markup:
    """Draws the first score by similarity to the nearest training compound.

    Args:
      strata: By predictor.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element: scores on the left, compounds on the right.
    """
    first = next(iter(strata.values()))
    score = next(iter(first[0].scores))
    names = [_range(one) for one in first]

    def draw(axes: Sequence["Axes"]) -> None:
        for (name, found), colour in zip(strata.items(), cycle(COLOURS), strict=False):
            values = [one.scores[score] for one in found]
            axes[0].plot(range(len(found)), values, color=colour, marker="o", ms=3.5, label=name)
        axes[1].bar(range(len(first)), [one.compounds for one in first], color=theme.GREY)
        for axis in axes:
            axis.set_xticks(range(len(first)), names)
            axis.set_xlabel("Tanimoto similarity to the nearest training compound")
        axes[0].set_xlim(-0.4, len(first) - 0.6)
        axes[0].set_ylabel(f"{score_name(score)}, mean over assays")
        axes[0].legend()
        axes[1].set_ylabel("held-out compounds")

    return publish(
        draw, stem, label="Score by similarity to the training compounds", size_in=(9.6, 3.7),
        columns=2,
    )  # fmt: skip


def wilson(curve: Curve) -> np.ndarray:
    """95 % intervals of the shares of a curve (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    Args:
      curve: Shares `y` of `count` readouts.

    Returns:
      Lower and upper ends [2 b].
    """
    n, share = np.asarray(curve.count, float), np.asarray(curve.y, float)
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2)) * Z95 / (1 + Z95**2 / n)
    return np.stack([np.minimum(centre - half, share), np.maximum(centre + half, share)])


def reliability_table(curves: Mapping[str, Reliability]) -> Table:
    """Calibration errors, predictor by predictor."""
    rows = [
        [name, number(c.ece), number(c.ece_equal_count, 4), number(c.brier, 4),
         number(c.brier_of_rate, 4), number(c.skill)]
        for name, c in curves.items()
    ]  # fmt: skip
    return Table(
        ["predictor", "calibration error", "in bins of equal size", "Brier", "Brier of the rate",
         "skill"],
        rows,
        "All readouts of all assays together. Calibration error: mean distance of the share of "
        "hits from the predicted probability over ten bins. Brier: mean squared distance of the "
        "probability from 1 (hit) or 0; beside it what the share of hits of each assay, said for "
        "all compounds, would have. Skill: what part of that is saved; below 0 the probabilities "
        "are worse than that share, however well they rank.",
    )  # fmt: skip


def spread_table(curves: Mapping[str, Spread]) -> Table:
    """Errors of the spread, predictor by predictor."""
    levels = list(next(iter(curves.values())).coverage)
    rows = [
        [name, number(one.ence), number(one.spearman),
         *(f"{100 * one.coverage[level]:.0f} %" for level in levels)]
        for name, one in curves.items()
    ]  # fmt: skip
    return Table(
        ["predictor", "relative error of the spread", "rank correlation with the error",
         *(f"{100 * float(level):.0f} % interval holds" for level in levels)],
        rows,
        "Relative error: mean over ten bins of the distance of error and spread, in units of the "
        "spread; 0 is honest. Rank correlation (Spearman) of error and spread within an assay, "
        "mean over the assays: above 0, the spread tells bad predictions from good ones.",
    )  # fmt: skip


def similarity_table(strata: Mapping[str, Sequence[Stratum]]) -> Table:
    """First score and the number of assays that have one, by similarity."""
    first = next(iter(strata.values()))
    score = next(iter(first[0].scores))
    rows = [
        [_range(one), f"{one.compounds:,}", f"{one.readouts:,}",
         DASH if one.hits is None else f"{one.hits:,}",
         *(f"{number(found[i].scores[score])} ({found[i].assays})" for found in strata.values())]
        for i, one in enumerate(first)
    ]  # fmt: skip
    return Table(
        ["similarity", "compounds", "readouts", "hits", *strata],
        rows,
        f"{score_name(score)}, mean over the assays in which it is defined, and in brackets their "
        "number, for held-out compounds by the Tanimoto similarity (Morgan bits, radius 2) to the "
        "nearest compound of the training part. Compounds of all folds stand together; other "
        "ranges have other assays, so that small differences mean nothing. Numbers of compounds "
        f"are those of {next(iter(strata))}.",
    )


def trust_chapters(folder: Path, trust: Trust) -> list[Chapter]:
    """Chapters of a report.

    Args:
      folder: For figures.
      trust: What is known; chapters without content are left out.

    Returns:
      Up to two chapters.
    """
    sections, chapters = [], []
    if trust.reliability:
        figure = Figure(
            draw_reliability(trust.reliability, folder / "reliability"),
            "On the diagonal, probabilities can be taken at their word: of readouts with .2, a "
            "fifth are hits. Below it they promise too much. Bars: 95 % intervals (Wilson).",
            "Reliability",
        )
        sections.append(
            Section("Probabilities", (), [figure, reliability_table(trust.reliability)])
        )
    if trust.spread:
        figure = Figure(
            draw_spread(trust.spread, folder / "spread"),
            "On the diagonal, the spread over the members of an ensemble is as large as the error; "
            "above it the model is too sure of itself.",
            "Error against spread",
        )
        sections.append(Section("Spread", (), [figure, spread_table(trust.spread)]))
    if sections:
        lead = (
            "Whether a probability of .2 means one hit in five, and a large spread a large error."
        )
        chapters.append(Chapter("Can the predictions be taken at their word?", lead, sections))
    if trust.similarity:
        figure = Figure(
            draw_similarity(trust.similarity, folder / "similarity"),
            "A model that has learnt more than its training compounds keeps its score on the left.",
            "Score by similarity",
        )
        chapters.append(
            Chapter(
                "How far from the training compounds?",
                "Scores of held-out compounds by how similar the training part is to them.",
                [Section("Similarity", (), [figure, similarity_table(trust.similarity)])],
            )
        )
    return chapters


def score_name(score: str) -> str:
    """Name of a score for people."""
    return NAMES.get(score, score)


def _range(one: Stratum) -> str:
    return f"{one.low:g} to {one.high:g}"
