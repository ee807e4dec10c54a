"""Types shared by every package: array aliases, batches, and the `Task` that training runs.

Dimension letters: b batch, h w image, c channels, k classes or heads, n instances.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Key = PRNGKeyArray
"""A typed JAX random key (`jax.random.key`)."""

Variables = Mapping[str, Any]
"""Flax variable collections; `"params"` is always there, `"batch_stats"` and the like may be."""

ModelState = Mapping[str, Any]
"""The collections of `Variables` other than `"params"`."""

Batch = Mapping[str, jax.Array | np.ndarray]
"""Arrays with the leading axis b.

Keys in use:
  image: Float[b h w c], normalised intensities.
  labels: Int[b h w], instance labels, 0 is background.
  target: Float[b h w k], training maps, one per head.
  weight: Float[b h w], pixel weights of the training maps.
  valid: Bool[b], False marks a padding example, which must not change any result.
  index: Int[b], row in the data source, used in messages only.
  crops: UInt[b s s c], single cells as they are stored.
  target of crops: Int[b], class of each.
"""

Loss = tuple[Float[Array, ""], Float[Array, ""]]
"""A masked sum and the count it is to be divided by, both scalars.

Sums and counts are added over devices and divided once, so that uneven shards stay exact.
"""


class Task(NamedTuple):
    """Everything that training needs to know of a model, as pure functions.

    Attributes:
      name: Used in messages and in the names of metrics.
      init: `(key, batch) -> variables`.
      losses: `(variables, batch, key, train) -> (losses, model_state)`. `losses` maps a name to
        `(sum, count)`; counts do not depend on the parameters.
      weights: Factor of each loss in the total, `total = sum_i weights[i] * sum_i / count_i`.
      metrics: `(variables, batch) -> {name: (sum, count)}`, masked by `batch["valid"]`. Both may
        be vectors, one entry a class: their ratios are averaged at the end (macro average).
      reduce_state: How `model_state` is merged over devices: `"mean"` or `"first"`.
    """

    name: str
    init: Callable[[Key, Batch], Variables]
    losses: Callable[[Variables, Batch, Key, bool], tuple[dict[str, Loss], ModelState]]
    weights: Mapping[str, float]
    metrics: Callable[[Variables, Batch], dict[str, Loss]]
    reduce_state: str = "mean"
