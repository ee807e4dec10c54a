"""Sums that add over batches and devices, divided once at the end.

An accumulator is a mapping from names to sums: `(sum, count)` pairs, `MatchCounts` or `AjiSums`.
All are pytrees of plain sums, so that `jax.lax.psum(acc, axis_name)` merges devices as `merge`
merges batches, and nothing is averaged twice.
"""

from collections.abc import Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from cellml.metrics.instance import AjiSums, MatchCounts, match_rates
from cellml.metrics.policy import divide

Sums: TypeAlias = tuple[Array, Array] | MatchCounts | AjiSums


def summed(
    values: Float[Array, "..."], valid: Bool[Array | np.ndarray, "..."] | None = None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sums scores into a (sum, count) pair.

    Args:
      values: Scores per image; NaN means no score (a padding image, or the policy "nan").
      valid: False leaves an image out as well.

    Returns:
      Sum and number of the scores that count.

    Raises:
      ValueError: The shapes differ.
    """
    counted = ~jnp.isnan(values)
    if valid is not None:
        if valid.shape != values.shape:
            raise ValueError(f"values has shape {values.shape} but valid has shape {valid.shape}")
        counted &= jnp.asarray(valid)
    return jnp.where(counted, values, 0.0).sum(), counted.sum().astype(jnp.float32)


def summed_counts(counts: MatchCounts | AjiSums) -> MatchCounts | AjiSums:
    """Pools the counts of a batch, as `jax.vmap` returns them, over its leading axis."""
    return jax.tree.map(lambda x: x.sum(0), counts)


def empty(like: Mapping[str, Sums] | None = None) -> dict[str, Sums]:
    """Returns the accumulator that changes nothing when merged.

    Args:
      like: Accumulator whose structure is wanted (for `jax.lax.scan`); without it, no names.
    """
    return {} if like is None else jax.tree.map(jnp.zeros_like, dict(like))


def merge(a: Mapping[str, Sums], b: Mapping[str, Sums]) -> dict[str, Sums]:
    """Adds two accumulators; associative and commutative up to float rounding.

    Args:
      a: Accumulator, possibly `empty()`.
      b: Likewise.

    Returns:
      Their sum.

    Raises:
      ValueError: Both have names, and these differ.
    """
    if not a or not b:
        return dict(a or b)
    if a.keys() != b.keys():
        raise ValueError(f"accumulators differ in names: {sorted(a.keys() ^ b.keys())}")
    return jax.tree.map(jnp.add, dict(a), dict(b))


def compute(acc: Mapping[str, Sums], *, empty: str = "nan") -> dict[str, Array]:
    """Divides every sum by its count, once.

    Args:
      acc: Accumulator; `MatchCounts` give `name/precision`, `name/recall`, `name/f1`, `name/ap`,
        `name/sq`, `name/pq`, each with the axis of the thresholds.
      empty: Value where a count is 0: "one", "zero" or "nan".

    Returns:
      Scores by name.

    Raises:
      ValueError: The policy is unknown, or an accumulator met ids beyond `max_instances` (seen
        outside of jit only).
    """
    scores: dict[str, Array] = {}
    for name, sums in acc.items():
        if isinstance(sums, MatchCounts):
            _refuse_overflow(name, sums)
            rates = match_rates(sums, empty=empty)
            scores |= {f"{name}/{field}": value for field, value in rates._asdict().items()}
        else:
            total, count = (jnp.asarray(x).astype(jnp.float32) for x in sums)
            scores[name] = divide(total, count, empty=empty)
    return scores


def _refuse_overflow(name: str, counts: MatchCounts) -> None:
    if isinstance(counts.overflow, Tracer):
        return
    lost = int(np.sum(counts.overflow))
    if lost:
        raise ValueError(f"{name}: {lost} pixels have ids beyond max_instances; give a larger one")
