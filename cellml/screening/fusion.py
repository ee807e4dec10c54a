"""Joins the predictions of several predictors (late fusion), stacked or by a fixed rule.

Predictions are probabilities of m predictors for n compounds in t assays. A predictor that knows
nothing of a compound, as one on profiles of a compound without a profile, says NaN; fusion then
goes by the others, and is NaN where none speaks.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer
from scipy.optimize import minimize

Predictions = Float[np.ndarray, "m n t"]
RULES = ("maximum", "mean", "logit_mean")
"""How `fuse` joins: as the study does, by the mean, or by the mean of the logits."""

LIMIT = 1e-7
"""Probabilities are kept this far from 0 and 1, whose logits are infinite."""


def fuse(predictions: Predictions, rule: str = "maximum") -> Float[np.ndarray, "n t"]:
    """Joins probabilities element by element.

    Args:
      predictions: Within [0, 1]; NaN where a predictor says nothing.
      rule: See `RULES`.

    Returns:
      Probabilities; NaN where no predictor speaks.

    Raises:
      ValueError: The rule is unknown, or a number is no probability.
    """
    _check(predictions)
    there = ~np.isnan(predictions)
    if rule == "maximum":
        joined = np.where(there, predictions, -1).max(0)
    elif rule in ("mean", "logit_mean"):
        values = predictions if rule == "mean" else logits(predictions)
        joined = np.where(there, values, 0).sum(0) / np.maximum(there.sum(0), 1)
        joined = joined if rule == "mean" else sigmoid(joined)
    else:
        raise ValueError(f"rule must be one of {list(RULES)}, found {rule!r}")
    return np.where(there.any(0), joined, np.nan)


class BestOf(NamedTuple):
    """The best predictor of each assay, chosen after the fact.

    Attributes:
      value: Its score; NaN where no predictor has one.
      predictor: Its number, the first of equals; -1 where none has a score.
    """

    value: Float[np.ndarray, "..."]
    predictor: Int[np.ndarray, "..."]


def best_of(scores: Float[np.ndarray, "m ..."]) -> BestOf:
    """Takes the best score of m predictors, per assay (retrospective fusion).

    That uses the test labels: it bounds what a choice of predictor per assay could reach, and is
    no estimate of what will be reached.
    """
    there = ~np.isnan(scores)
    values = np.where(there, scores, -np.inf)
    some = there.any(0)
    return BestOf(np.where(some, values.max(0), np.nan), np.where(some, values.argmax(0), -1))


class Stacking(NamedTuple):
    """A logistic model over the logits of m predictors.

    Attributes:
      weights: Of each predictor's logit, >= 0.
      absent: Added where a predictor says nothing.
      intercepts: Per assay.
    """

    weights: Float[np.ndarray, " m"]
    absent: Float[np.ndarray, " m"]
    intercepts: Float[np.ndarray, " t"]

    def predict(self, predictions: Predictions) -> Float[np.ndarray, "n t"]:
        """Joins probabilities; NaN where no predictor speaks."""
        _check(predictions)
        there = ~np.isnan(predictions)
        inputs = np.where(there, logits(predictions), 0)
        total = np.tensordot(self.weights, inputs, 1) + np.tensordot(self.absent, ~there, 1)
        joined = sigmoid(total + self.intercepts)
        return np.where(there.any(0), joined, np.nan)


def fit_stacking(
    predictions: Predictions, labels: Float[np.ndarray, "n t"], *, penalty: float = 1.0
) -> Stacking:
    """Fits one weight a predictor, shared by all assays, with an intercept of each assay's own.

    Weights for single assays would need more hits than an assay has; the intercepts keep
    differences between assays out of the weights. Weights are not negative, so that predictors
    that say the same are not played off against each other.

    Args:
      predictions: Of compounds that none of the predictors was trained on.
      labels: 1 hit, 0 no hit, NaN not tested.
      penalty: Of the squared distance to the mean of the logits (weights 1/m, all else 0).

    Returns:
      The model. Without any readout it is the mean of the logits.

    Raises:
      ValueError: Shapes differ, a number is no probability, or the penalty is not positive.
    Source: Wolpert 1992, Neural Networks 5:241; Breiman 1996, Machine Learning 24:49 (weights).
    """
    _check(predictions)
    if predictions.shape[1:] != labels.shape:
        raise ValueError(f"predictions are of {predictions.shape[1:]}, labels of {labels.shape}")
    if penalty <= 0:
        raise ValueError(f"penalty must be above 0, found {penalty}")
    m, t = len(predictions), labels.shape[1]
    there = ~np.isnan(predictions)
    row, assay = np.nonzero(~np.isnan(labels) & there.any(0))
    seen = there[:, row, assay]
    inputs = np.concatenate([np.where(seen, logits(predictions[:, row, assay]), 0), ~seen]).T
    target = labels[row, assay].astype(np.float64)
    prior = np.concatenate([np.full(m, 1 / m), np.zeros(m + t)])

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        total = inputs @ parameters[: 2 * m] + parameters[2 * m :][assay]
        away = parameters - prior
        error = sigmoid(total) - target
        slope = np.concatenate([error @ inputs, np.bincount(assay, weights=error, minlength=t)])
        value = (np.logaddexp(0, total) - target * total).sum() + penalty / 2 * (away @ away)
        return float(value), slope + penalty * away

    bounds = [(0, None)] * m + [(None, None)] * (m + t)
    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Stacking(found[:m], found[m : 2 * m], found[2 * m :])


def stack_folds(
    predictions: Float[np.ndarray, "k m n t"],
    labels: Float[np.ndarray, "n t"],
    *,
    folds: Integer[np.ndarray, " n"],
    validation: Integer[np.ndarray, " k"],
    penalty: float = 1.0,
) -> tuple[Float[np.ndarray, "n t"], tuple[Stacking, ...]]:
    """Stacks each run of a cross-validation on its validation fold and predicts its test fold.

    Run i tests fold i; its predictors were trained on all folds but i and `validation[i]`, and its
    stacking sees the labels of the fold `validation[i]` alone. So no label of a test fold has a
    part in its prediction.

    Args:
      predictions: Probabilities of the m predictors of each run, for all compounds.
      labels: 1 hit, 0 no hit, NaN not tested.
      folds: Fold of each compound; -1 is in none.
      validation: Fold that run i validated on.
      penalty: See `fit_stacking`.

    Returns:
      Predictions of every compound by the run that tests it (NaN in no fold), and the models.

    Raises:
      ValueError: Shapes differ, or a run validates on the fold that it tests.
    """
    k, _, n, t = predictions.shape
    if labels.shape != (n, t) or folds.shape != (n,) or validation.shape != (k,):
        raise ValueError(
            f"predictions {predictions.shape}, labels {labels.shape}, folds {folds.shape} and "
            f"validation {validation.shape} do not fit"
        )
    if (own := validation == np.arange(k)).any():
        raise ValueError(f"run {int(np.argmax(own))} validates on the fold that it tests")
    joined = np.full((n, t), np.nan)
    models = []
    for run in range(k):
        learn, test = folds == validation[run], folds == run
        models.append(fit_stacking(predictions[run][:, learn], labels[learn], penalty=penalty))
        joined[test] = models[-1].predict(predictions[run][:, test])
    return joined, tuple(models)


def logits(probabilities: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Log odds in float64, of probabilities kept `LIMIT` away from 0 and 1; NaN stays NaN."""
    inside = np.clip(probabilities.astype(np.float64), LIMIT, 1 - LIMIT)
    return np.log(inside) - np.log1p(-inside)


def sigmoid(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Probabilities of log odds, without overflow."""
    return 0.5 * (1 + np.tanh(values / 2))


def _check(predictions: np.ndarray) -> None:
    if ((predictions < 0) | (predictions > 1)).any():
        raise ValueError("predictions must be probabilities within [0, 1], or NaN for none")
