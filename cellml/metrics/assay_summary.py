"""From scores per assay and fold to the figures that a study reports.

A fold in which an assay has no hit, or only hits, has no score (NaN): it is left out, and the
number of folds with one is given beside the result. An assay without any score counts as failing:
the denominator is always the number of assays.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

THRESHOLDS = (0.5, 0.7, 0.9)
"""An AUROC above .9 is what the study calls an assay that can be predicted."""


class FoldSummary(NamedTuple):
    """Scores of t assays over their folds.

    Attributes:
      mean: Over the folds that have a score; NaN where none has, likewise below.
      median: Likewise.
      sd: Standard deviation with n - 1; NaN below two folds.
      n_defined: Folds with a score.
    """

    mean: Float[np.ndarray, " t"]
    median: Float[np.ndarray, " t"]
    sd: Float[np.ndarray, " t"]
    n_defined: Int[np.ndarray, " t"]


def over_folds(values: Float[np.ndarray, "t k"]) -> FoldSummary:
    """Mean, median and standard deviation over the folds that have a score."""
    there = ~np.isnan(values)
    count = there.sum(1)
    total = np.where(there, values, 0).astype(np.float64)
    mean = total.sum(1) / np.maximum(count, 1)
    spread = np.where(there, total - mean[:, None], 0)
    sd = np.sqrt((spread**2).sum(1) / np.maximum(count - 1, 1))
    # Missing ones stand at the end of the sorted row; the middle is that of the others.
    ordered = np.sort(np.where(there, total, np.inf), axis=1)
    low, high = (np.maximum(count - 1, 0) // 2, np.minimum(count // 2, values.shape[1] - 1))
    rows = np.arange(len(values))
    median = np.where(count > 0, ordered[rows, low], 0) + np.where(
        count > 0, ordered[rows, high], 0
    )
    some = count > 0
    return FoldSummary(
        np.where(some, mean, np.nan),
        np.where(some, median / 2, np.nan),
        np.where(count > 1, sd, np.nan),
        count,
    )


class AssayCounts(NamedTuple):
    """Assays of a predictor that pass thresholds.

    Attributes:
      above: By threshold, assays whose score lies strictly above it.
      n_assays: All assays, the denominator.
      n_undefined: Assays without a score, which pass none.
      mean: Of the scores there are; NaN if there is none, likewise `median`.
      median: Likewise.
    """

    above: dict[float, int]
    n_assays: int
    n_undefined: int
    mean: float
    median: float


def count_above(
    values: Float[np.ndarray, " t"], thresholds: Sequence[float] = THRESHOLDS
) -> AssayCounts:
    """Counts the assays whose score passes each threshold."""
    there = values[~np.isnan(values)].astype(np.float64)
    return AssayCounts(
        {limit: int((there > limit).sum()) for limit in thresholds},
        values.size,
        values.size - there.size,
        float(there.mean()) if there.size else float("nan"),
        float(np.median(there)) if there.size else float("nan"),
    )


def count_curve(
    values: Float[np.ndarray, " t"], thresholds: Float[np.ndarray, " r"]
) -> Int[np.ndarray, " r"]:
    """Number of assays whose score lies strictly above each threshold, in any order (figure 30)."""
    ordered = np.sort(values[~np.isnan(values)])
    return ordered.size - np.searchsorted(ordered, thresholds, side="right")


def count_by_type(
    values: Float[np.ndarray, " t"],
    types: Sequence[str],
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, AssayCounts]:
    """Counts per type of assay.

    Args:
      values: Score of each assay.
      types: Type of each assay, as "cell" or "bacterial".
      thresholds: As in `count_above`.

    Returns:
      Counts by type, the most common type first.

    Raises:
      ValueError: There is not one type an assay.
    """
    if len(types) != values.size:
        raise ValueError(f"found {len(types)} types for {values.size} assays")
    kinds = np.asarray(types, dtype=str)
    names, sizes = np.unique(kinds, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    return {
        str(name): count_above(values[kinds == name], thresholds) for name in names[order].tolist()
    }


class Overlap(NamedTuple):
    """Which assays several predictors share.

    Attributes:
      exclusive: Assays by the exact set of predictors that pass them (the areas of a Venn diagram,
        the bars of an UpSet plot); sets without assays are there with 0.
      single: Assays that each predictor passes.
      union: Assays that at least one passes.
      intersection: Assays that all pass.
    """

    exclusive: dict[tuple[str, ...], int]
    single: dict[str, int]
    union: int
    intersection: int


def assay_overlap(passed: Mapping[str, Bool[np.ndarray, " t"]]) -> Overlap:
    """Counts assays by the predictors (modalities) that pass them.

    Args:
      passed: Per predictor, which assays it passes.

    Returns:
      Counts; sets of predictors keep the given order, small sets come first.

    Raises:
      ValueError: There is no predictor, or they are of different numbers of assays.
    """
    names = list(passed)
    if not names or len({passed[name].size for name in names}) > 1:
        raise ValueError(f"expected predictors of the same assays, found {names}")
    table = np.stack([passed[name] for name in names])
    pattern = (table * 2 ** np.arange(len(names))[:, None]).sum(0)
    counts = np.bincount(pattern, minlength=2 ** len(names))
    exclusive = {
        tuple(names[i] for i in some): int(counts[sum(2**i for i in some)])
        for size in range(1, len(names) + 1)
        for some in combinations(range(len(names)), size)
    }
    return Overlap(
        exclusive,
        {name: int(passed[name].sum()) for name in names},
        int(table.any(0).sum()),
        int(table.all(0).sum()),
    )


def above(values: Float[np.ndarray, " t"], threshold: float) -> Bool[np.ndarray, " t"]:
    """Assays whose score lies strictly above a threshold; NaN does not."""
    return np.nan_to_num(values, nan=-np.inf) > threshold
