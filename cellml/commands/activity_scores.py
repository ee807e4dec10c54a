"""Scores of predictors as rows of tables and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Integer

from cellml.metrics.assay_summary import (
    THRESHOLDS,
    AssayCounts,
    count_above,
    count_by_type,
    over_folds,
)
from cellml.metrics.assays import score_assays
from cellml.metrics.predictor_tests import compare_predictors
from cellml.metrics.value_scores import score_classes, score_values

HOW = {
    "auroc": "area under the ROC curve, a tie counts one half; undefined without a hit or a miss",
    "ap": "average precision, as scikit-learn's average_precision_score",
    "pr_auc_trapezoid": "precision-recall curve with straight lines; flatters where hits are rare",
    "ef1": "enrichment factor: hits among the best 1 % of the readouts over those by chance",
    "ef5": "likewise at 5 %",
    "ef10": "likewise at 10 %",
    "rmse": "root of the mean squared error, in the assay's units",
    "mae": "mean absolute error, in the assay's units",
    "r2": "share of the variance around the fold's own mean that is explained; undefined if none",
    "spearman": "rank correlation, ties share ranks; undefined where either side is constant",
    "accuracy": "share whose most probable class is the true one",
    "cross_entropy": "mean negative natural logarithm of the true class's probability",
    "auroc_macro": "mean over the classes of the AUROC of one against the rest",
    "over folds": "median and mean of the folds in which a score is defined",
    "counts": "assays whose score lies strictly above; an assay without a score fails",
    "sd": "standard deviation with n - 1 over the folds, of the mean over their defined assays",
}
SCORES = {
    "binary": ("auroc", "ap", "pr_auc_trapezoid", "ef1", "ef5", "ef10"),
    "regression": ("rmse", "mae", "r2", "spearman"),
    "multiclass": ("accuracy", "cross_entropy", "auroc_macro"),
}
"""By kind of readout; predictors are compared by the first one."""

ERRORS = ("rmse", "mae", "cross_entropy")
"""Of these the smallest is the best."""


@dataclass(frozen=True)
class ReadoutScores:
    """Scores of readouts of one kind.

    Attributes:
      values: By name, as in `SCORES`; NaN is undefined.
      n_tested: Readouts that are scored.
      n_hits: Hits among them; of binary readouts alone.
    """

    values: Mapping[str, Float[np.ndarray, "t k"]]
    n_tested: Int[np.ndarray, "t k"]
    n_hits: Int[np.ndarray, "t k"] | None = None


@dataclass(frozen=True)
class PredictorScores:
    """Scores of one predictor.

    Attributes:
      name: Of the predictor.
      kind: Of the readouts, a key of `SCORES`.
      scores: Per assay and fold.
      unpredicted: Tested readouts, in folds that it speaks of, that it has no prediction for.
    """

    name: str
    kind: str
    scores: ReadoutScores
    unpredicted: int

    @property
    def median(self) -> Float[np.ndarray, " t"]:
        """The median over folds of the first score, by which predictors are compared."""
        return over_folds(self.scores.values[SCORES[self.kind][0]]).median


def score_readouts(
    kind: str,
    labels: Float[np.ndarray, "n t"],
    predicted: Float[np.ndarray, "n t *c"],
    *,
    folds: Integer[np.ndarray, " n"],
    n_folds: int,
) -> ReadoutScores:
    """Scores readouts of any kind; those without a prediction (NaN) are left out.

    Args:
      kind: A key of `SCORES`.
      labels: NaN is not tested.
      predicted: Probabilities of a hit or of each class, or values.
      folds: Fold of each compound, -1 for none.
      n_folds: Number of folds.

    Returns:
      Scores per assay and fold.
    """
    if kind == "binary":
        found = score_assays(labels, predicted, folds=folds, n_folds=n_folds, drop_unpredicted=True)
        enrichment = {f"ef{100 * f:g}": values for f, values in found.enrichment.items()}
        values = {"auroc": found.auroc, "ap": found.ap}
        values |= {"pr_auc_trapezoid": found.pr_auc_trapezoid, **enrichment}
        return ReadoutScores(values, found.n_tested, found.n_hits)
    score = score_values if kind == "regression" else score_classes
    *values, n_tested = score(labels, predicted, folds=folds, n_folds=n_folds)
    return ReadoutScores(dict(zip(SCORES[kind], values, strict=True)), n_tested)


def predictor_facts(found: PredictorScores, types: Sequence[str]) -> dict[str, Any]:
    """What is known of a predictor, as JSON.

    Args:
      found: Its scores.
      types: Of the assays; may be empty.

    Returns:
      A dictionary; undefined numbers are null.
    """
    scores, first = found.scores, SCORES[found.kind][0]
    facts: dict[str, Any] = {"readouts": int(scores.n_tested.sum())}
    if scores.n_hits is not None:
        facts["hits"] = int(scores.n_hits.sum())
    facts |= {
        "unpredicted_readouts": found.unpredicted,
        "assay_folds_undefined": int(np.isnan(scores.values[first]).sum()),
    }
    for name, values in scores.values.items():
        folds = over_folds(values)
        limits = THRESHOLDS if name == "auroc" else ()
        by_fold = over_folds(values.T).mean
        spread = over_folds(by_fold[None, :])
        facts[name] = {
            "median_over_folds": _counts(count_above(folds.median, limits)),
            "mean_over_folds": _counts(count_above(folds.mean, limits)),
            "by_fold": [plain(value) for value in by_fold.tolist()],
            "mean_of_folds": plain(float(spread.mean[0])),
            "sd_over_folds": plain(float(spread.sd[0])),
        }
    if types and found.kind == "binary":
        by_type = count_by_type(found.median, types)
        facts["auroc"]["by_type"] = {kind: _counts(counts) for kind, counts in by_type.items()}
    return facts


def paired_facts(found: Sequence[PredictorScores], reference: str) -> dict[str, Any]:
    """Tests every predictor against one of them, by the median over folds of the first score.

    Args:
      found: All predictors.
      reference: Name of that one.

    Returns:
      By predictor; those without an assay in common with the reference are left out.
    """
    base = next(one for one in found if one.name == reference)
    tests: dict[str, Any] = {}
    for one in found:
        both = ~np.isnan(base.median) & ~np.isnan(one.median)
        if one.name == reference or not both.any():
            continue
        test = compare_predictors(base.median, one.median)
        larger, smaller = test.better, test.worse
        errs = SCORES[one.kind][0] in ERRORS
        tests[one.name] = {
            "assays": test.n_assays,
            "better": smaller if errs else larger,
            "worse": larger if errs else smaller,
            "p_wilcoxon": test.p_value,
            "mean_difference": test.difference.mean,
            "low": test.difference.low,
            "high": test.difference.high,
        }
    return tests


def assay_rows(
    found: Sequence[PredictorScores], assays: Sequence[str], types: Sequence[str]
) -> pa.Table:
    """One line per predictor and assay, with mean, median and deviation over the folds.

    Args:
      found: All predictors.
      assays: Their names.
      types: Of the assays; may be empty.

    Returns:
      A table for `write_csv`.
    """
    columns: dict[str, list[Any]] = {"predictor": [], "assay": []}
    if types:
        columns["type"] = []
    for one in found:
        columns["predictor"] += [one.name] * len(assays)
        columns["assay"] += list(assays)
        if types:
            columns["type"] += list(types)
        scores = one.scores
        for name, counts in (("n_tested", scores.n_tested), ("n_hits", scores.n_hits)):
            if counts is not None:
                columns.setdefault(name, []).extend(counts.sum(1).tolist())
        defined = over_folds(scores.values[SCORES[one.kind][0]]).n_defined
        columns.setdefault("n_folds", []).extend(defined.tolist())
        for name, values in scores.values.items():
            folds = over_folds(values)
            for kind in ("median", "mean", "sd"):
                texts = [_text(value) for value in getattr(folds, kind).tolist()]
                columns.setdefault(f"{name}_{kind}", []).extend(texts)
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def fold_rows(
    found: Sequence[PredictorScores], assays: Sequence[str], folds: Sequence[str]
) -> pa.Table:
    """One line per predictor, assay and fold.

    Args:
      found: All predictors.
      assays: Their names.
      folds: Their names.

    Returns:
      A table for `write_csv`.
    """
    columns: dict[str, list[Any]] = {}
    t, k = len(assays), len(folds)
    for one in found:
        scores = one.scores
        columns.setdefault("predictor", []).extend([one.name] * t * k)
        columns.setdefault("assay", []).extend(np.repeat(list(assays), k).tolist())
        columns.setdefault("fold", []).extend(list(folds) * t)
        columns.setdefault("n_tested", []).extend(scores.n_tested.reshape(-1).tolist())
        values = dict(scores.values)
        if scores.n_hits is not None:
            columns.setdefault("n_hits", []).extend(scores.n_hits.reshape(-1).tolist())
            rate = np.full(scores.n_hits.shape, np.nan)
            np.divide(scores.n_hits, scores.n_tested, out=rate, where=scores.n_tested > 0)
            values["hit_rate"] = rate
        for name, numbers in values.items():
            texts = [_text(value) for value in numbers.reshape(-1).tolist()]
            columns.setdefault(name, []).extend(texts)
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def plain(value: float) -> float | None:
    """A number as JSON has it."""
    return float(value) if np.isfinite(value) else None


def _counts(counts: AssayCounts) -> dict[str, Any]:
    return {
        "assays": counts.n_assays,
        "undefined": counts.n_undefined,
        "mean": plain(counts.mean),
        "median": plain(counts.median),
        "above": {f"{limit:g}": number for limit, number in counts.above.items()},
    }


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.7g}"
