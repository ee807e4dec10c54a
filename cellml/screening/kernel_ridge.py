"""Ridge regression on similarities, one an assay and one that all assays share.

Most assays of a screen have few hits, too few to learn from alone. What they have in common - some
compounds are active almost everywhere - is learned from all readouts together, and added.

How much of it is chosen by what each regression says of compounds when they and all of their group
(their scaffold, say) are left out. That takes no fit without them. With A the similarities of the
training compounds plus penalties, A w = y, and B = A^-1, the outputs for a group G without it are
    y_G - (B_GG)^-1 w_G,
so that all training compounds choose, instead of the few that could be set aside.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Integer

Rate = Callable[[Float[np.ndarray, "n t"]], float]
"""Scores outputs for compounds that were left out; more is better."""

FLOOR = 0.01
"""Added to the variance of an assay's readouts, so that rare hits do not become enormous."""


class KernelFit(NamedTuple):
    """What was fitted.

    Attributes:
      weights: Of each training compound for each assay; outputs are similarities times these.
      left_out: Outputs for the training compounds, each without its group. Where it has no readout
        the assay's own regression knows the others of the group.
      penalty: Of the assays' own regressions.
      sharing: Weight of the shared one.
      score: Of `left_out`, NaN without a choice.
    """

    weights: Float32[np.ndarray, "n t"]
    left_out: Float32[np.ndarray, "n t"]
    penalty: float
    sharing: float
    score: float


def fit_kernel(
    similarity: Float32[np.ndarray, "n n"],
    labels: Float[np.ndarray, "n t"],
    groups: Integer[np.ndarray, " n"],
    *,
    penalties: Sequence[float],
    shared_penalty: float,
    sharings: Sequence[float],
    rate: Rate | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> KernelFit:
    """Fits every assay for every penalty, and takes what is best for compounds left out.

    An assay's readouts are centred and divided by their deviation. The shared regression has a
    compound's mean over its assays as target, and trusts it as far as it has many.

    Args:
      similarity: Of the training compounds, positive semi-definite.
      labels: Readouts; NaN is not tested. Each compound has at least one.
      groups: Compounds of one group are left out together.
      penalties: To choose from, > 0.
      shared_penalty: Of the shared regression, for a compound with one readout.
      sharings: Weights of the shared regression to choose from.
      rate: Scores outputs as `KernelFit.left_out`; needed where there is more than one to choose.
      progress: Called with the number of regressions done and of all.

    Returns:
      The best fit. An assay without readouts has the shared regression alone.

    Raises:
      ValueError: Nothing to choose from, nothing to choose by, or a compound without a readout.

    Source: Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, eq. 5.12, for
      groups.
    """
    if not penalties or not sharings or min(*penalties, shared_penalty) <= 0:
        raise ValueError(
            f"penalties {list(penalties)} and {shared_penalty:g}, sharings {list(sharings)}: "
            "one or more expected, penalties above 0"
        )
    if len(penalties) * len(sharings) > 1 and rate is None:
        raise ValueError("several penalties or sharings need a rate to choose by")
    targets = _targets(labels)
    mean, count = _shared(targets)
    if not count.all():
        raise ValueError(f"compound {int(np.argmin(count))} has no readout")
    n_assays = labels.shape[1]
    total = n_assays * len(penalties) + 1
    shared, shared_out = _solve(similarity.copy(), mean, shared_penalty / count, groups)
    if progress is not None:
        progress(1, total)
    best: KernelFit | None = None
    for number, penalty in enumerate(penalties):
        own, known_out = (np.zeros(labels.shape, np.float32) for _ in range(2))
        for assay in range(n_assays):
            rows = np.flatnonzero(np.isfinite(targets[:, assay]))
            if rows.size:
                own[rows, assay], known_out[rows, assay] = _solve(
                    similarity[np.ix_(rows, rows)],
                    targets[rows, assay],
                    np.full(rows.size, penalty),
                    groups[rows],
                )
            if progress is not None:
                progress(2 + number * n_assays + assay, total)
        own_out = np.where(np.isfinite(targets), known_out, similarity @ own)
        for sharing in map(np.float32, sharings):
            left_out = own_out + sharing * shared_out[:, None]
            score = float("nan") if rate is None else rate(left_out)
            if best is None or np.nan_to_num(score, nan=-np.inf) > best.score:
                weights = own + sharing * shared[:, None]
                best = KernelFit(weights, left_out, penalty, float(sharing), score)
    assert best is not None
    return best


def _targets(labels: Float[np.ndarray, "n t"]) -> Float32[np.ndarray, "n t"]:
    """Every assay's readouts centred and scaled; NaN where missing."""
    known = np.isfinite(labels)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, labels, 0).sum(0) / count
    variance = np.where(known, (labels - mean) ** 2, 0).sum(0) / count
    return ((labels - mean) / np.sqrt(variance + FLOOR)).astype(np.float32)


def _shared(targets: Float[np.ndarray, "n t"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean of every compound over its assays, and how many these are."""
    known = np.isfinite(targets)
    count = known.sum(1)
    mean = np.where(known, targets, 0).sum(1) / np.maximum(count, 1)
    return mean.astype(np.float32), count


def _solve(
    similarity: Float32[np.ndarray, "n n"],
    target: Float32[np.ndarray, " n"],
    penalty: Float[np.ndarray, " n"],
    groups: Integer[np.ndarray, " n"],
) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
    """Weights of a ridge regression, and its outputs for each group without that group.

    Overwrites the similarities.
    """
    from scipy.linalg import cho_factor, cho_solve, lapack  # slow to import

    similarity[np.diag_indices_from(similarity)] += penalty.astype(np.float32)
    factor, _ = cho_factor(similarity, lower=True, overwrite_a=True, check_finite=False)
    weights = cho_solve((factor, True), target, check_finite=False)
    inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)  # the lower triangle
    left_out = target - weights / np.diagonal(inverse)
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if rows.size > 1:  # in ascending order, so that the lower triangle stays one
            block = np.tril(inverse[np.ix_(rows, rows)]).astype(np.float64)
            block += np.tril(block, -1).T
            left_out[rows] = target[rows] - np.linalg.solve(block, weights[rows])
    return weights.astype(np.float32), left_out.astype(np.float32)
