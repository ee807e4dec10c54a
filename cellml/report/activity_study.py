"""Figure and table of the study of modalities: who predicts which kind of assay."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from cellml.report import theme
from cellml.report.activity_figures import COLOURS
from cellml.report.activity_tables import number
from cellml.report.html import Table
from cellml.report.published import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_means(facts: Mapping[str, Any], names: Sequence[str], stem: Path) -> Markup:
    """Draws the mean AUROC of predictors for each type of assay.

    Args:
      facts: As study.json has them.
      names: Predictors.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    kinds = [*next(iter(facts["predictors"].values()))["by_type"], "all"]
    width = 0.86 / len(names)

    def draw(axes: Sequence["Axes"]) -> None:
        axis = axes[0]
        for i, (name, colour) in enumerate(zip(names, cycle(COLOURS), strict=False)):
            one = facts["predictors"][name]
            values = np.array([*one["by_type"].values(), one["mean"]], float)  # None is NaN
            left = np.arange(len(kinds)) - 0.43 + (i + 0.5) * width
            axis.bar(left, values, width * 0.9, color=colour, label=name)
        axis.axhline(0.5, color=theme.INK, lw=0.9, alpha=0.6)
        axis.set_xticks(range(len(kinds)), kinds)
        axis.set_ylim(0.4, 1.0)
        axis.set_ylabel("AUROC, mean over assays")
        axis.grid(axis="x", visible=False)
        axis.tick_params(axis="x", length=0)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return publish(draw, stem, label="Mean AUROC by predictor and type of assay",
                   size_in=(9.6, 3.6))  # fmt: skip


def study_table(facts: Mapping[str, Any], names: Mapping[str, str]) -> Table:
    """Means and counts of predictors.

    Args:
      facts: As study.json has them.
      names: Predictors, and what to call them.

    Returns:
      A row a predictor.
    """
    rows = []
    for name, title in names.items():
        one = facts["predictors"][name]
        mean = float("nan") if one["mean"] is None else one["mean"]
        rows.append([title, number(mean), str(one["above"]["0.7"]), str(one["above"]["0.9"])])
    return Table(
        ["predictor", "AUROC, mean over assays", "assays above .7", "assays above .9"],
        rows,
        f"{facts['assays']} assays. The last row chooses the best predictor of each assay after "
        "the fact: it says how far the modalities complete each other.",
    )
