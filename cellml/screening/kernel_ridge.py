"""Ridge regression on similarities, one an assay and one that all assays share.

Most assays of a screen have few hits, too few to learn from alone. What they have in common - some
compounds are active almost everywhere - is learned from all readouts together, and added.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

Rate = Callable[[Float[np.ndarray, "v t"]], float]
"""Scores outputs of the validation compounds; more is better."""

FLOOR = 0.01
"""Added to the variance of an assay's readouts, so that rare hits do not become enormous."""


class KernelFit(NamedTuple):
    """What was fitted.

    Attributes:
      weights: Of each training compound for each assay; outputs are similarities times these.
      mean: Of each assay's readouts.
      penalty: Of the assays' own regressions.
      sharing: Weight of the shared one.
      score: Of the validation compounds, NaN without any.
    """

    weights: Float32[np.ndarray, "n t"]
    mean: Float32[np.ndarray, " t"]
    penalty: float
    sharing: float
    score: float


def fit_kernel(
    similarity: Float32[np.ndarray, "n n"],
    labels: Float[np.ndarray, "n t"],
    *,
    penalties: Sequence[float],
    shared_penalty: float,
    sharings: Sequence[float],
    validation: Float32[np.ndarray, "v n"] | None = None,
    rate: Rate | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> KernelFit:
    """Fits every assay for every penalty, and takes what is best on validation compounds.

    An assay's readouts are centred and divided by their deviation. The shared regression has a
    compound's mean over its assays as target, and trusts it as far as it has many.

    Args:
      similarity: Of the training compounds, positive semi-definite.
      labels: Readouts; NaN is not tested.
      penalties: To choose from, > 0.
      shared_penalty: Of the shared regression, for a compound with one readout.
      sharings: Weights of the shared regression to choose from.
      validation: Similarity of validation to training compounds.
      rate: Scores the outputs for them; needed where there is more than one to choose from.
      progress: Called with the number of regressions done and of all.

    Returns:
      The best fit. An assay without readouts has the shared regression alone.

    Raises:
      ValueError: Nothing to choose from, or nothing to choose by.
    """
    if not penalties or not sharings or min(*penalties, shared_penalty) <= 0:
        raise ValueError(
            f"penalties {list(penalties)} and {shared_penalty:g}, sharings {list(sharings)}: "
            "one or more expected, penalties above 0"
        )
    if len(penalties) * len(sharings) > 1 and (validation is None or rate is None):
        raise ValueError("several penalties or sharings need validation compounds to choose by")
    mean, targets = _targets(labels)
    n_assays = labels.shape[1]
    total = n_assays * len(penalties) + 1
    shared = _solve(similarity, *_shared(targets), shared_penalty)
    if progress is not None:
        progress(1, total)
    best: KernelFit | None = None
    for number, penalty in enumerate(penalties):
        own = np.zeros(labels.shape, np.float32)
        for assay in range(n_assays):
            rows = np.flatnonzero(np.isfinite(targets[:, assay]))
            if rows.size:
                part = similarity[np.ix_(rows, rows)]
                own[rows, assay] = _solve(part, targets[rows, assay], np.ones(rows.size), penalty)
            if progress is not None:
                progress(2 + number * n_assays + assay, total)
        for sharing in sharings:
            weights = own + np.float32(sharing) * shared[:, None]
            score = float("nan")
            if validation is not None and rate is not None:
                score = rate(validation @ weights)
            if best is None or np.nan_to_num(score, nan=-np.inf) > best.score:
                best = KernelFit(weights, mean, penalty, sharing, score)
    assert best is not None
    return best


def _targets(labels: Float[np.ndarray, "n t"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean of every assay, and its readouts centred and scaled; NaN where missing."""
    known = np.isfinite(labels)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, labels, 0).sum(0) / count
    variance = np.where(known, (labels - mean) ** 2, 0).sum(0) / count
    return mean.astype(np.float32), ((labels - mean) / np.sqrt(variance + FLOOR)).astype(np.float32)


def _shared(targets: Float[np.ndarray, "n t"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean of every compound over its assays, and how many these are."""
    known = np.isfinite(targets)
    count = known.sum(1)
    mean = np.where(known, targets, 0).sum(1) / np.maximum(count, 1)
    return mean.astype(np.float32), count


def _solve(
    similarity: Float32[np.ndarray, "n n"],
    target: Float[np.ndarray, " n"],
    count: np.ndarray,
    penalty: float,
) -> Float32[np.ndarray, " n"]:
    """Weights of a ridge regression; those of compounds without a readout are as good as 0."""
    from scipy.linalg import cho_factor, cho_solve  # slow to import

    matrix = similarity.copy()
    matrix[np.diag_indices_from(matrix)] += (penalty / np.maximum(count, 1e-6)).astype(np.float32)
    factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    return cho_solve(factor, target.astype(np.float32), check_finite=False).astype(np.float32)
