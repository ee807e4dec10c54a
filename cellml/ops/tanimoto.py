"""Nearest neighbours of bit fingerprints by Tanimoto similarity, in blocks of bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Shaped

BLOCK = 512
"""Queries at a time: 512 against 16,000 compounds are 33 MB."""


def nearest_tanimoto(
    queries: Shaped[np.ndarray, "q b"],
    reference: Shaped[np.ndarray, "n b"],
    *,
    query_groups: Integer[np.ndarray, " q"] | None = None,
    reference_groups: Integer[np.ndarray, " n"] | None = None,
    block: int = BLOCK,
) -> tuple[Float[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """Finds the most similar reference compound of each query.

    Args:
      queries: Bits, 0 or 1 (or False or True).
      reference: Likewise, of the same length.
      query_groups: A compound is never compared with one of its own group, such as its own fold.
      reference_groups: Groups of the reference; needed together with `query_groups`.
      block: Queries at a time.

    Returns:
      Tanimoto similarity and row of the nearest, the first of equals; similarity 0 and row -1 where
      there is nothing to compare with. Two fingerprints without a bit are similar 0.

    Raises:
      ValueError: Shapes do not fit, or groups are given on one side only.
    """
    if queries.shape[1:] != reference.shape[1:]:
        raise ValueError(f"fingerprints have {queries.shape[1]} and {reference.shape[1]} bits")
    if (query_groups is None) != (reference_groups is None):
        raise ValueError("groups are needed for queries and reference, or for neither")
    n = len(queries)
    if n == 0 or len(reference) == 0:
        return np.zeros(n, np.float32), np.full(n, -1, np.int32)
    # Different numbers, if there are no groups: everything is compared.
    ours = np.zeros(n, np.int32) if query_groups is None else query_groups.astype(np.int32)
    theirs = np.ones(len(reference), np.int32)
    theirs = theirs if reference_groups is None else reference_groups.astype(np.int32)
    bits = jnp.asarray(reference != 0)
    found = []
    for start in range(0, n, min(block, n)):
        part, own = queries[start : start + block] != 0, ours[start : start + block]
        fill = min(block, n) - len(part)
        part, own = np.pad(part, ((0, fill), (0, 0))), np.pad(own, (0, fill))
        similarity, row = _nearest(jnp.asarray(part), bits, jnp.asarray(own), jnp.asarray(theirs))
        keep = slice(0, len(own) - fill)
        found.append((np.asarray(similarity)[keep], np.asarray(row)[keep]))
    similarity, row = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return similarity, row


@jax.jit
def _nearest(
    queries: Array, reference: Array, ours: Array, theirs: Array
) -> tuple[Float[Array, " q"], Int[Array, " q"]]:
    # Counts below 2^24 are exact in float32, and matrix products beat counting bits.
    queries, reference = queries.astype(jnp.float32), reference.astype(jnp.float32)
    both = jnp.matmul(queries, reference.T, precision=jax.lax.Precision.HIGHEST)
    either = queries.sum(1)[:, None] + reference.sum(1)[None, :] - both
    similarity = jnp.where(either > 0, both / jnp.maximum(either, 1), 0.0)
    similarity = jnp.where(ours[:, None] != theirs[None, :], similarity, -1.0)
    best = similarity.max(1)
    row = jnp.where(best >= 0, similarity.argmax(1).astype(jnp.int32), -1)
    return jnp.maximum(best, 0), row
