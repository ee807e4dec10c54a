"""Scores of predicted values and classes per assay and fold: regression and multi-class.

What `cellml.metrics.assays` is for hits. A score is NaN where it is undefined, and counts in no
mean (see `cellml.metrics.assay_summary`).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from cellml.metrics.assays import score_assays
from cellml.metrics.column_ranks import spearman_columns

LOWEST = 1e-7
"""Probabilities are kept this far from 0, whose logarithm is infinite."""


class ValueScores(NamedTuple):
    """Scores of t assays in k folds.

    Attributes:
      rmse: Root of the mean squared error, in the assay's units; NaN without a readout.
      mae: Mean absolute error, likewise.
      r2: Share of the variance that is explained, 1 - sum of squared errors / sum of squares around
        the fold's own mean, as `sklearn.metrics.r2_score`; below 0 the mean would do better. NaN
        where all readouts are equal, and below two of them.
      spearman: Rank correlation, ties sharing ranks; NaN where either side is constant.
      n_tested: Readouts with a prediction.
    """

    rmse: Float[np.ndarray, "t k"]
    mae: Float[np.ndarray, "t k"]
    r2: Float[np.ndarray, "t k"]
    spearman: Float[np.ndarray, "t k"]
    n_tested: Int[np.ndarray, "t k"]


class ClassScores(NamedTuple):
    """Scores of t assays with several classes each in k folds.

    Attributes:
      accuracy: Share whose most probable class is the true one; of equals the first counts.
      cross_entropy: Mean negative logarithm (base e) of the true class's probability.
      auroc_macro: Mean over the classes of the AUROC of one against the rest; a class that a fold
        lacks, or that is all of it, is left out of the mean. NaN where no class is left.
      n_tested: Readouts with a prediction.
    """

    accuracy: Float[np.ndarray, "t k"]
    cross_entropy: Float[np.ndarray, "t k"]
    auroc_macro: Float[np.ndarray, "t k"]
    n_tested: Int[np.ndarray, "t k"]


def score_values(
    labels: Float[np.ndarray, "n t"],
    predicted: Float[np.ndarray, "n t"],
    *,
    folds: Integer[np.ndarray, " n"] | None = None,
    n_folds: int | None = None,
) -> ValueScores:
    """Scores a regression.

    Args:
      labels: Readouts, NaN where there is none.
      predicted: In the same units; readouts without a prediction (NaN) are left out.
      folds: Fold of each compound, -1 leaves it out; one fold, if None.
      n_folds: Number of folds; the largest of `folds` plus one, if None.

    Returns:
      Scores per assay and fold.

    Raises:
      ValueError: Shapes differ.
    """
    if predicted.shape != labels.shape:
        raise ValueError(f"predictions have shape {predicted.shape}, labels {labels.shape}")
    fold, k = _folds(len(labels), folds, n_folds)
    known = ~np.isnan(labels) & ~np.isnan(predicted)
    # Float32 loses the digits of what lies far from 0; no score asks where 0 is.
    true, guess = labels.astype(np.float64), predicted.astype(np.float64)
    centre = np.where(known, true, 0).sum(0) / np.maximum(known.sum(0), 1)
    pair = (np.where(known, x - centre, 0).astype(np.float32) for x in (true, guess))
    found = _value_scores(*map(jnp.asarray, pair), jnp.asarray(known), fold, n_folds=k)
    rmse, mae, r2, spearman, count = (np.asarray(each).T for each in found)
    return ValueScores(rmse, mae, r2, spearman, count.astype(np.int64))


def score_classes(
    labels: Float[np.ndarray, "n t"],
    probabilities: Float[np.ndarray, "n t c"],
    *,
    folds: Integer[np.ndarray, " n"] | None = None,
    n_folds: int | None = None,
) -> ClassScores:
    """Scores predicted classes.

    Args:
      labels: Number of the true class from 0, NaN where there is none.
      probabilities: Of every class; readouts without (NaN) are left out.
      folds: Fold of each compound, -1 leaves it out; one fold, if None.
      n_folds: Number of folds; the largest of `folds` plus one, if None.

    Returns:
      Scores per assay and fold.

    Raises:
      ValueError: Shapes differ, or a label is no class.
    """
    if probabilities.shape[:2] != labels.shape:
        raise ValueError(f"probabilities are of {probabilities.shape}, labels of {labels.shape}")
    n, t, c = probabilities.shape
    fold, k = _folds(n, folds, n_folds)
    known = ~np.isnan(labels) & ~np.isnan(probabilities).any(2)
    numbers = np.where(known, labels, 0)
    if ((numbers < 0) | (numbers >= c) | (numbers != np.round(numbers))).any():
        raise ValueError(f"labels must be classes from 0 to {c - 1}, or NaN")
    given = np.where(known[..., None], probabilities, 1).astype(np.float32)
    found = _class_scores(
        jnp.asarray(numbers.astype(np.int32)), jnp.asarray(given), jnp.asarray(known), fold,
        n_folds=k,
    )  # fmt: skip
    accuracy, entropy, count = (np.asarray(each).T for each in found)
    one_of = (numbers[..., None] == np.arange(c)).astype(np.float32)
    one_of = np.where(known[..., None], one_of, np.float32(np.nan)).reshape(n, t * c)
    each = score_assays(
        one_of, given.reshape(n, t * c), folds=np.asarray(fold), n_folds=k, fractions=()
    ).auroc.reshape(t, c, k)
    there = ~np.isnan(each)
    total = np.where(there, each, 0).sum(1) / np.maximum(there.sum(1), 1)
    macro = np.where(there.any(1), total, np.nan).astype(np.float32)
    return ClassScores(accuracy, entropy, macro, count.astype(np.int64))


@partial(jax.jit, static_argnames="n_folds")
def _value_scores(
    labels: Float[Array, "n t"],
    predicted: Float[Array, "n t"],
    known: Bool[Array, "n t"],
    folds: Int[Array, " n"],
    *,
    n_folds: int,
) -> tuple[Float[Array, "k t"], ...]:
    """RMSE, MAE, R2, Spearman and the number of readouts, fold by fold."""

    def one(fold: Int[Array, ""]) -> tuple[Float[Array, " t"], ...]:
        mine = known & (folds == fold)[:, None]
        count = mine.sum(0).astype(jnp.float32)
        n = jnp.maximum(count, 1)
        error = jnp.where(mine, predicted - labels, 0.0)
        mean = jnp.where(mine, labels, 0.0).sum(0) / n
        around = (jnp.where(mine, labels - mean[None], 0.0) ** 2).sum(0)
        squared = (error**2).sum(0)
        # Equal readouts may differ from their mean by rounding.
        varies = jnp.where(mine, labels, -jnp.inf).max(0) > jnp.where(mine, labels, jnp.inf).min(0)
        r2 = jnp.where(varies, 1 - squared / jnp.where(varies, around, 1.0), jnp.nan)
        some = count > 0
        rmse = jnp.where(some, jnp.sqrt(squared / n), jnp.nan)
        mae = jnp.where(some, jnp.abs(error).sum(0) / n, jnp.nan)
        return rmse, mae, r2, spearman_columns(labels, predicted, mine), count

    return jax.lax.map(one, jnp.arange(n_folds, dtype=jnp.int32))


@partial(jax.jit, static_argnames="n_folds")
def _class_scores(
    labels: Int[Array, "n t"],
    probabilities: Float[Array, "n t c"],
    known: Bool[Array, "n t"],
    folds: Int[Array, " n"],
    *,
    n_folds: int,
) -> tuple[Float[Array, "k t"], ...]:
    """Accuracy, cross-entropy and the number of readouts, fold by fold."""
    own = jnp.take_along_axis(probabilities, labels[..., None], axis=2)[..., 0]
    loss = -jnp.log(jnp.clip(own, LOWEST, 1.0))
    right = (probabilities.argmax(2).astype(jnp.int32) == labels).astype(jnp.float32)

    def one(fold: Int[Array, ""]) -> tuple[Float[Array, " t"], ...]:
        mine = known & (folds == fold)[:, None]
        count = mine.sum(0).astype(jnp.float32)
        means = [
            jnp.where(count > 0, jnp.where(mine, x, 0.0).sum(0) / jnp.maximum(count, 1), jnp.nan)
            for x in (right, loss)
        ]
        return means[0], means[1], count

    return jax.lax.map(one, jnp.arange(n_folds, dtype=jnp.int32))


def _folds(
    n: int, folds: Integer[np.ndarray, " n"] | None, n_folds: int | None
) -> tuple[Int[Array, " n"], int]:
    given = np.zeros(n, np.int32) if folds is None else folds.astype(np.int32)
    if given.shape != (n,):
        raise ValueError(f"folds are of {given.shape}, labels of {n} compounds")
    return jnp.asarray(given), int(given.max(initial=0)) + 1 if n_folds is None else n_folds
