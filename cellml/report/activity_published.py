"""Chapter of the report on assays: our scores of each assay beside published ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cellml.metrics.predictor_tests import compare_predictors
from cellml.report.activity_figures import PAIRS_IN_A_ROW, draw_pairs
from cellml.report.activity_results import AssayStudy
from cellml.report.activity_tables import number
from cellml.report.html import Chapter, Figure, Headline, Section, Table


class Beside(NamedTuple):
    """A predictor of ours and the published one.

    Attributes:
      descriptor: What the publication calls it.
      ours: AUROC of each assay, NaN where undefined.
      published: Likewise.
    """

    descriptor: str
    ours: Float[np.ndarray, " t"]
    published: Float[np.ndarray, " t"]

    @property
    def both(self) -> np.ndarray:
        """Assays with both scores."""
        return np.isfinite(self.ours) & np.isfinite(self.published)


def published_chapter(
    folder: Path,
    assays: Sequence[str],
    types: Sequence[str],
    pairs: Mapping[str, Beside],
    statistic: str,
) -> Chapter:
    """Means, paired tests, scatter plots, and every assay.

    Args:
      folder: For the figures.
      assays: Their names.
      types: Of the assays; may be empty.
      pairs: By our predictor.
      statistic: Over the folds, "median" or "mean".

    Returns:
      The chapter.
    """
    figures: list[Table | Figure] = []
    names = [name for name, pair in pairs.items() if pair.both.any()]
    for first in range(0, len(names), PAIRS_IN_A_ROW):
        some = names[first : first + PAIRS_IN_A_ROW]
        auroc = {}
        for name in some:
            auroc |= {
                f"{name}, published": pairs[name].published,
                f"{name}, here": pairs[name].ours,
            }
        study = AssayStudy(tuple(assays), auroc, statistic, tuple(auroc))
        figures.append(
            Figure(
                draw_pairs(
                    study,
                    [(f"{name}, published", f"{name}, here") for name in some],
                    folder / f"published_{first // PAIRS_IN_A_ROW}",
                ),
                "A dot an assay; blue above the diagonal, where the model trained here is better.",
            )
        )
    rows = [
        [assay, *([types[i]] if types else []),
         *(number(values[i]) for pair in pairs.values() for values in (pair.published, pair.ours))]
        for i, assay in enumerate(assays)
    ]  # fmt: skip
    columns = ["assay", *(["type"] if types else [])]
    columns += [f"{name}, {side}" for name in pairs for side in ("published", "here")]
    every = Table(columns, rows, f"AUROC, {statistic} over the folds.")
    paragraph = (
        "The published models were trained on all of their study's assays and scored over five "
        "folds; the assays, compounds and folds that are there here may be fewer. Differences of "
        "single assays with few hits say little."
    )
    return Chapter(
        "Beside the published scores",
        "AUROC of each assay by the models trained here, and as published by Moshkov et al. 2023.",
        [
            Section("Means", [paragraph], [_means(pairs), *figures]),
            Section("Assay by assay", (), [every]),
        ],
        [_headline(name, pair) for name, pair in list(pairs.items())[:PAIRS_IN_A_ROW]],
    )


def _means(pairs: Mapping[str, Beside]) -> Table:
    rows = []
    for name, pair in pairs.items():
        both = pair.both
        if not both.any():
            rows.append([name, pair.descriptor, "0", *["-"] * 6])
            continue
        test = compare_predictors(pair.published, pair.ours)
        means = [number(float(v[both].mean())) for v in (pair.published, pair.ours)]
        rows.append(
            [name, pair.descriptor, str(int(both.sum())), *means,
             f"{test.difference.mean:+.3f} ({test.difference.low:+.3f} to "
             f"{test.difference.high:+.3f})", str(test.better), str(test.worse),
             f"{test.p_value:.2g}"]
        )  # fmt: skip
    return Table(
        ["predictor", "published as", "assays", "published", "here", "difference (95 %)", "better",
         "worse", "p"],
        rows,
        "Mean AUROC over the assays that have both scores; better and worse: assays, here against "
        "published; p of Wilcoxon's signed-rank test.",
    )  # fmt: skip


def _headline(name: str, pair: Beside) -> Headline:
    both = pair.both
    values = [float(v[both].mean()) if both.any() else np.nan for v in (pair.ours, pair.published)]
    ours, published = (number(value) for value in values)
    return Headline(f"{ours} \N{MIDDLE DOT} {published}", f"{name}: mean AUROC here \N{MIDDLE DOT} "
                    "published")  # fmt: skip
