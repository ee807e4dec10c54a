"""Ranks within the columns of a table with holes, and what rests on ranks; jittable."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def column_ranks(values: Float[Array, "n t"], known: Bool[Array, "n t"]) -> Float[Array, "n t"]:
    """Ranks each column's known values from 1, ties sharing the mean of their ranks.

    Args:
      values: Finite where known.
      known: Which of them count.

    Returns:
      Ranks; 0 where nothing is known.
    """

    def one(column: Float[Array, " n"], there: Bool[Array, " n"]) -> Float[Array, " n"]:
        # What is not known stands at the end, behind everything that is searched.
        ordered = jnp.sort(jnp.where(there, column, jnp.inf))
        below = jnp.searchsorted(ordered, column, side="left")
        upto = jnp.searchsorted(ordered, column, side="right")
        return jnp.where(there, (below + upto + 1).astype(jnp.float32) / 2, 0.0)

    return jax.vmap(one, in_axes=1, out_axes=1)(values, known)


def spearman_columns(
    first: Float[Array, "n t"], second: Float[Array, "n t"], known: Bool[Array, "n t"]
) -> Float[Array, " t"]:
    """Spearman's rank correlation of two tables, column by column.

    Args:
      first: Finite where known.
      second: Likewise.
      known: Which entries count.

    Returns:
      Values from -1 to 1; NaN where one of the two is constant, or less than two are known.
    """
    n = jnp.maximum(known.sum(0).astype(jnp.float32), 1)
    ranks = [column_ranks(values, known) for values in (first, second)]
    # Ranks have the mean (n + 1) / 2, ties or not.
    x, y = (jnp.where(known, rank - (n[None] + 1) / 2, 0.0) for rank in ranks)
    spread = jnp.sqrt((x**2).sum(0)) * jnp.sqrt((y**2).sum(0))
    return jnp.where(spread > 0, (x * y).sum(0) / jnp.where(spread > 0, spread, 1.0), jnp.nan)
