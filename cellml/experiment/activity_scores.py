"""Scores of predictions on the host: one number an assay by kind of readout, and their means."""

import numpy as np
from jaxtyping import Float

from cellml.metrics.assays import score_assays

LOWEST = 1e-7  # probabilities are kept this far from 0 and 1

BEST = {
    "loss": "min",
    "mean_auroc": "max",
    "mean_ap": "max",
    "mean_rmse": "min",
    "mean_mae": "min",
    "mean_accuracy": "max",
}
"""Scores by which the best epoch may be chosen, and which way."""


def assay_scores(
    kind: str, labels: Float[np.ndarray, "n t"], predicted: Float[np.ndarray, "n t *k"]
) -> dict[str, Float[np.ndarray, " t"]]:
    """Scores every assay; NaN where it is undefined.

    Args:
      kind: One of `cellml.tasks.activity.KINDS`.
      labels: NaN where missing.
      predicted: Probabilities or values.

    Returns:
      `loss`, and `auroc` and `ap` (binary), `rmse` and `mae` (regression) or `accuracy`.
    """
    known = np.isfinite(labels)
    target = np.where(known, labels, 0.0)
    if kind == "binary":
        p = np.clip(predicted.astype(np.float64), LOWEST, 1 - LOWEST)
        loss = -np.where(target > 0, np.log(p), np.log1p(-p))
        found = score_assays(labels.astype(np.float32), predicted, fractions=())
        return {
            "loss": _mean(loss, known),
            "auroc": found.auroc[:, 0],
            "ap": found.ap[:, 0],
        }
    if kind == "regression":
        error = predicted.astype(np.float64) - target
        squared = _mean(error**2, known)
        return {"loss": squared, "rmse": np.sqrt(squared), "mae": _mean(np.abs(error), known)}
    own = np.take_along_axis(predicted, target.astype(np.int64)[..., None], axis=2)[..., 0]
    right = (predicted.argmax(-1) == target).astype(np.float64)
    loss = -np.log(np.clip(own.astype(np.float64), LOWEST, 1))
    return {"loss": _mean(loss, known), "accuracy": _mean(right, known)}


def summary(
    kind: str, labels: Float[np.ndarray, "n t"], predicted: Float[np.ndarray, "n t *k"]
) -> dict[str, float]:
    """Means over the assays where a score is defined; arguments as in `assay_scores`.

    Returns:
      `loss` over all readouts (not assays), `mean_...` of every other score, and `n_assays`, the
      number of assays in which the first of them is defined.
    """
    each = assay_scores(kind, labels, predicted)
    counts = np.isfinite(labels).sum(0)
    total = np.where(counts > 0, each.pop("loss"), 0.0) @ counts / max(int(counts.sum()), 1)
    found = {"loss": float(total) if counts.any() else float("nan")}
    for name, values in each.items():
        defined = values[np.isfinite(values)]
        found[f"mean_{name}"] = float(defined.mean()) if defined.size else float("nan")
        found.setdefault("n_assays", float(defined.size))
    return found


def _mean(values: Float[np.ndarray, "n t"], known: np.ndarray) -> Float[np.ndarray, " t"]:
    counts = known.sum(0)
    total = np.where(known, values, 0.0).sum(0) / np.maximum(counts, 1)
    return np.where(counts > 0, total, np.nan)
