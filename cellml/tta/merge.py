"""Merges of de-augmented probability maps, and per-pixel uncertainty."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from jax.scipy.special import entr, logit
from jaxtyping import Array, Bool, Float

FloatArray = Float[Array | np.ndarray, "..."]


def merge_mean(
    stack: FloatArray,
    *,
    space: str = "probability",
    clip: float = 1e-6,
) -> Float[Array, "..."]:
    """Mean over the versions of a prediction.

    Args:
      stack: Probabilities `[t ...]`, de-augmented. For maps which are not probabilities
        (distances, flows) use the default space.
      space: "probability" averages as the dissertation does; "logit" averages the log odds and
        maps back, as nnU-Net does, so that a confident version weighs more.
      clip: Probabilities are clipped to [clip, 1 - clip] before the logit, so that a saturated
        version cannot decide alone.

    Returns:
      The merged map, without the leading axis.

    Raises:
      ValueError: `space` is unknown, or `clip` is not within (0, 0.5).
    """
    if space == "probability":
        return jnp.mean(stack, axis=0)
    if space != "logit":
        raise ValueError(f"unknown space {space!r}; known: probability, logit")
    if not 0 < clip < 0.5:
        raise ValueError(f"clip must lie within (0, 0.5), found {clip}")
    return sigmoid(jnp.mean(logit(jnp.clip(stack, clip, 1 - clip)), axis=0))


def threshold(probability: FloatArray, *, at_least: float = 0.5) -> Bool[Array, "..."]:
    """Foreground of a merged map.

    Args:
      probability: Merged probability.
      at_least: Threshold, inclusive as everywhere in cellml.

    Returns:
      True where the probability reaches the threshold.
    """
    return jnp.asarray(probability) >= at_least


def variance(stack: FloatArray) -> Float[Array, "..."]:
    """Population variance over the versions; exactly zero where all versions agree.

    Args:
      stack: De-augmented predictions `[t ...]`.

    Returns:
      Variance `[...]`, at most 0.25 for probabilities.
    """
    # Differences to one version first: the mean of t equal floats may be off by a rounding.
    difference = jnp.asarray(stack) - stack[:1]
    return jnp.var(difference, axis=0)


def entropy(probability: FloatArray, *, unit: str = "bit") -> Float[Array, "..."]:
    """Entropy of a yes/no decision with this probability (total uncertainty of a merged map).

    Args:
      probability: Within [0, 1]; 0 and 1 give 0.
      unit: "bit" (maximum 1) or "nat" (maximum ln 2).

    Returns:
      Entropy in `unit`, of the shape of `probability`.

    Raises:
      ValueError: `unit` is unknown.
    """
    if unit not in ("bit", "nat"):
        raise ValueError(f"unknown unit {unit!r}; known: bit, nat")
    p = jnp.asarray(probability)
    nats = entr(p) + entr(1 - p)
    return nats / float(np.log(2)) if unit == "bit" else nats


def mutual_information(stack: FloatArray, *, unit: str = "bit") -> Float[Array, "..."]:
    """Disagreement of the versions: entropy of their mean minus the mean of their entropies.

    It is zero where all versions say the same, even if they all say 0.5.

    Args:
      stack: De-augmented probabilities `[t ...]`.
      unit: "bit" or "nat".

    Returns:
      Mutual information in `unit`, never negative.

    Raises:
      ValueError: `unit` is unknown.
    """
    total = entropy(jnp.mean(stack, axis=0), unit=unit)
    return jnp.maximum(total - jnp.mean(entropy(stack, unit=unit), axis=0), 0.0)
