"""Losses of sparse assay tables: many assays, most readouts missing (NaN).

A loss of each readout comes from `LABEL_LOSSES`; `masked_mean` adds up those that exist. Like all
losses here it gives a sum and a count, see `cellml.types.Loss`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from cellml.types import Loss


def masked_mean(
    each: Float[Array, "b t"],
    known: Bool[Array, "b t"],
    *,
    weight: Float[Array, "b t"] | None = None,
    log_variance: Float[Array, " t"] | None = None,
) -> Loss:
    """Adds up the losses of the readouts that exist.

    Args:
      each: Loss of each readout; where it is missing, any finite number.
      known: False leaves a readout out.
      weight: Of each readout; equal, if None.
      log_variance: Learned uncertainty s of each assay: a loss becomes exp(-s) loss + s / 2. An
        assay without readouts neither changes nor is changed.

    Returns:
      Sum and the weights' sum: their ratio is the mean over all readouts of all assays, which has
      the gradient of the sum over assays but for its scale.
    Source: Kendall et al. 2018, CVPR, for `log_variance`.
    """
    mask = known.astype(each.dtype)
    if weight is not None:
        mask = mask * weight
    if log_variance is not None:
        s = log_variance[None, :]
        each = jnp.exp(-s) * each + 0.5 * s
    return jnp.sum(each * mask), jnp.sum(mask)


def binary_cross_entropy(
    logits: Float[Array, "b t"], target: Float[Array, "b t"]
) -> Float[Array, "b t"]:
    """Logistic loss of each readout in nats; targets 0 (no hit) and 1 (hit)."""
    return optax.sigmoid_binary_cross_entropy(logits, target)


def cross_entropy(
    logits: Float[Array, "b t k"], target: Float[Array, "b t"]
) -> Float[Array, "b t"]:
    """Cross-entropy of each readout in nats; targets are classes from 0, as floats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, target.astype(jnp.int32))


def squared_error(values: Float[Array, "b t"], target: Float[Array, "b t"]) -> Float[Array, "b t"]:
    """Squared error; its minimum is that of the RMSE, which is no mean over readouts."""
    return jnp.square(values - target)


def absolute_error(values: Float[Array, "b t"], target: Float[Array, "b t"]) -> Float[Array, "b t"]:
    """Absolute error."""
    return jnp.abs(values - target)


LABEL_LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "bce": binary_cross_entropy,
    "cross_entropy": cross_entropy,
    "mse": squared_error,
    "mae": absolute_error,
}
"""Loss of each readout by name."""


def class_weights(labels: Float[np.ndarray, "n t"], n_classes: int) -> Float[np.ndarray, "k t"]:
    """Weights with which all classes of an assay weigh the same, and the assay as before.

    Args:
      labels: Training readouts, classes from 0, NaN where missing.
      n_classes: Number of classes.

    Returns:
      readouts / (classes with readouts x readouts of the class); 0 for a class without any.
    """
    counts = np.stack([(labels == k).sum(0) for k in range(n_classes)])
    present = np.maximum((counts > 0).sum(0), 1)
    share = counts.sum(0)[None, :] / (present[None, :] * np.maximum(counts, 1))
    return np.where(counts > 0, share, 0.0).astype(np.float32)


def assay_weights(labels: Float[np.ndarray, "n t"]) -> Float[np.ndarray, " t"]:
    """Weights with which all assays weigh the same, however many readouts they have.

    Args:
      labels: Training readouts, NaN where missing.

    Returns:
      readouts / (assays with readouts x readouts of the assay); 0 for an assay without any.
    """
    counts = (~np.isnan(labels)).sum(0)
    share = counts.sum() / (max(int((counts > 0).sum()), 1) * np.maximum(counts, 1))
    return np.where(counts > 0, share, 0.0).astype(np.float32)


def label_weights(
    target: Float[Array, "b t"],
    *,
    classes: Float[np.ndarray, "k t"] | None = None,
    assays: Float[np.ndarray, " t"] | None = None,
) -> Float[Array, "b t"]:
    """Looks up the weight of each readout.

    Args:
      target: Finite; classes from 0 if `classes` is given.
      classes: From `class_weights`.
      assays: From `assay_weights`.

    Returns:
      The product of both, 1 for what is None.
    """
    weight = jnp.ones_like(target)
    if classes is not None:
        hot = jax.nn.one_hot(target.astype(jnp.int32), classes.shape[0], axis=0)
        weight = jnp.sum(hot * jnp.asarray(classes)[:, None, :], axis=0)
    return weight if assays is None else weight * jnp.asarray(assays)[None, :]
