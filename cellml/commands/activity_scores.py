"""Scores of predictors as rows of tables and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from cellml.metrics.assay_summary import (
    THRESHOLDS,
    AssayCounts,
    count_above,
    count_by_type,
    over_folds,
)
from cellml.metrics.assays import AssayScores
from cellml.metrics.predictor_tests import compare_predictors

HOW = {
    "auroc": "area under the ROC curve, a tie counts one half; undefined without a hit or a miss",
    "ap": "average precision, as scikit-learn's average_precision_score",
    "pr_auc_trapezoid": "precision-recall curve with straight lines; flatters where hits are rare",
    "ef1": "enrichment factor: hits among the best 1 % of the readouts over those by chance",
    "ef5": "likewise at 5 %",
    "ef10": "likewise at 10 %",
    "over folds": "median and mean of the folds in which a score is defined",
    "counts": "assays whose score lies strictly above; an assay without a score fails",
    "sd": "standard deviation with n - 1 over the folds, of the mean over their defined assays",
}


@dataclass(frozen=True)
class PredictorScores:
    """Scores of one predictor.

    Attributes:
      name: Of the predictor.
      scores: Per assay and fold.
      unpredicted: Tested readouts, in folds that it speaks of, that it has no prediction for.
    """

    name: str
    scores: AssayScores
    unpredicted: int

    @property
    def values(self) -> dict[str, Float[np.ndarray, "t k"]]:
        """All scores by their names in files."""
        scores = self.scores
        found = {"auroc": scores.auroc, "ap": scores.ap}
        found["pr_auc_trapezoid"] = scores.pr_auc_trapezoid
        found |= {f"ef{100 * f:g}": values for f, values in scores.enrichment.items()}
        return found

    @property
    def median_auroc(self) -> Float[np.ndarray, " t"]:
        """The median over folds, which the study counts."""
        return over_folds(self.scores.auroc).median


def predictor_facts(found: PredictorScores, types: Sequence[str]) -> dict[str, Any]:
    """What is known of a predictor, as JSON.

    Args:
      found: Its scores.
      types: Of the assays; may be empty.

    Returns:
      A dictionary; undefined numbers are null.
    """
    facts: dict[str, Any] = {
        "readouts": int(found.scores.n_tested.sum()),
        "hits": int(found.scores.n_hits.sum()),
        "unpredicted_readouts": found.unpredicted,
        "assay_folds_undefined": int(np.isnan(found.scores.auroc).sum()),
    }
    for name, values in found.values.items():
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
    if types:
        by_type = count_by_type(found.median_auroc, types)
        facts["auroc"]["by_type"] = {kind: _counts(counts) for kind, counts in by_type.items()}
    return facts


def paired_facts(found: Sequence[PredictorScores], reference: str) -> dict[str, Any]:
    """Tests every predictor against one of them, by the median AUROC of each assay.

    Args:
      found: All predictors.
      reference: Name of that one.

    Returns:
      By predictor; those without an assay in common with the reference are left out.
    """
    base = next(one for one in found if one.name == reference).median_auroc
    tests: dict[str, Any] = {}
    for one in found:
        both = ~np.isnan(base) & ~np.isnan(one.median_auroc)
        if one.name == reference or not both.any():
            continue
        test = compare_predictors(base, one.median_auroc)
        tests[one.name] = {
            "assays": test.n_assays,
            "better": test.better,
            "worse": test.worse,
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
        folds = over_folds(one.scores.auroc)
        whole: Mapping[str, np.ndarray] = {
            "n_tested": one.scores.n_tested.sum(1),
            "n_hits": one.scores.n_hits.sum(1),
            "n_folds": folds.n_defined,
        }
        for name, values in whole.items():
            columns.setdefault(name, []).extend(values.tolist())
        for name, values in one.values.items():
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
        columns.setdefault("predictor", []).extend([one.name] * t * k)
        columns.setdefault("assay", []).extend(np.repeat(list(assays), k).tolist())
        columns.setdefault("fold", []).extend(list(folds) * t)
        for name in ("n_tested", "n_hits"):
            numbers = getattr(one.scores, name).reshape(-1).tolist()
            columns.setdefault(name, []).extend(numbers)
        for name, values in {**one.values, "hit_rate": one.scores.hit_rate}.items():
            texts = [_text(value) for value in values.reshape(-1).tolist()]
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
