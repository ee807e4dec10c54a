"""Linear models on fingerprints for values and classes, the baselines of `fit_linear`'s kind."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped
from scipy.sparse import csr_array

RIDGE = 10.0
"""Penalty of the squared weights against the squared errors of standardised readouts."""
CLASS_REGULARISATION = 0.1
"""Weight C of the data against the penalty, as of hits."""


def fit_ridge(
    bits: Shaped[np.ndarray, "n b"],
    labels: Float[np.ndarray, "n t"],
    *,
    train: Bool[np.ndarray, " n"],
    test: Bool[np.ndarray, " n"],
    penalty: float = RIDGE,
) -> Float32[np.ndarray, "n t"]:
    """Fits a ridge regression an assay and predicts.

    Args:
      bits: Fingerprints, mostly 0.
      labels: Readouts, NaN where there is none.
      train: Compounds to learn from.
      test: Compounds to predict.
      penalty: Of the squared weights, > 0; readouts are standardised before.

    Returns:
      Values for the test compounds, NaN for all others. An assay whose readouts are all equal gets
      that value; one without readouts gets NaN.

    Raises:
      ValueError: A compound is on both sides, or the penalty is not positive.
    """
    from sklearn.linear_model import Ridge  # slow to import

    _check(train, test, penalty)
    sparse = csr_array(bits.astype(np.float64))
    held_out = sparse[np.flatnonzero(test)]
    predictions = np.full(labels.shape, np.nan, np.float32)
    for assay, column in enumerate(labels.T):
        rows = np.flatnonzero(train & ~np.isnan(column))
        target = column[rows].astype(np.float64)
        if not target.size:
            continue
        mean, scale = target.mean(), target.std()
        predictions[test, assay] = mean
        if scale > 0:
            model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-6)
            model.fit(sparse[rows], (target - mean) / scale)
            predictions[test, assay] = mean + scale * model.predict(held_out)
    return predictions


def fit_multinomial(
    bits: Shaped[np.ndarray, "n b"],
    labels: Float[np.ndarray, "n t"],
    *,
    n_classes: int,
    train: Bool[np.ndarray, " n"],
    test: Bool[np.ndarray, " n"],
    regularisation: float = CLASS_REGULARISATION,
) -> Float32[np.ndarray, "n t c"]:
    """Fits a multinomial logistic regression an assay and predicts.

    Args:
      bits: Fingerprints, mostly 0.
      labels: Number of the class from 0, NaN where there is none.
      n_classes: Number of classes; those that training lacks get 0.
      train: Compounds to learn from.
      test: Compounds to predict.
      regularisation: Weight C of the data, > 0.

    Returns:
      Probabilities for the test compounds, NaN for all others, and for assays without readouts.

    Raises:
      ValueError: A compound is on both sides, or `regularisation` is not positive.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    _check(train, test, regularisation)
    sparse = csr_array(bits.astype(np.float64))
    held_out = sparse[np.flatnonzero(test)]
    predictions = np.full((*labels.shape, n_classes), np.nan, np.float32)
    for assay, column in enumerate(labels.T):
        rows = np.flatnonzero(train & ~np.isnan(column))
        target = column[rows].astype(np.int64)
        if not target.size:
            continue
        found = np.unique(target)
        probabilities = np.zeros((int(test.sum()), n_classes), np.float32)
        if found.size == 1:
            probabilities[:, found[0]] = 1
        else:
            model = LogisticRegression(C=regularisation, max_iter=500)
            model.fit(sparse[rows], target)
            probabilities[:, found] = model.predict_proba(held_out)
        predictions[test, assay] = probabilities
    return predictions


def _check(train: np.ndarray, test: np.ndarray, strength: float) -> None:
    if (train & test).any():
        raise ValueError(f"compound {int(np.argmax(train & test))} is in training and in test")
    if strength <= 0:
        raise ValueError(f"the weight must be above 0, found {strength}")
