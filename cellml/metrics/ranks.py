"""Where the right answers stand in a ranking by similarity, ties included; jittable.

Nothing is sorted unless a query has very many right answers: all scores of a ranking follow from
how many candidates, and how many right answers among them, lie above each right answer or tie with
it. Counting that is a few comparisons per candidate, several times faster than a sort.
"""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

COUNT_MAX = 256
"""Up to this many right answers per query counting beats sorting (measured on CPU)."""

TiePolicy = Literal["threshold", "expected", "pessimistic", "optimistic"]
"""What candidates of equal similarity are worth.

`"threshold"` cuts the list between distinct similarities only, as scikit-learn does; `"expected"`
is the mean over all orders of the tied ones; `"pessimistic"` puts wrong answers first,
`"optimistic"` right ones (what copairs does). Without ties all four agree.
"""


class Ranks(NamedTuple):
    """Ranking of q queries seen from their right answers, the most similar first.

    Attributes:
      above: Candidates that are strictly more similar to the query than right answer p.
      tied: Candidates that are equally similar, the right answer itself included.
      above_right: Right answers among `above`.
      tied_right: Right answers among `tied`.
      valid: False marks padding, which stands at the end.
      n_right: Right answers of each query.
      n_candidates: Candidates of each query.
    """

    above: Int[Array, "q p"]
    tied: Int[Array, "q p"]
    above_right: Int[Array, "q p"]
    tied_right: Int[Array, "q p"]
    valid: Bool[Array, "q p"]
    n_right: Int[Array, " q"]
    n_candidates: Int[Array, " q"]


@jax.jit
def unit_rows(profiles: Float[Array, "n f"]) -> Float[Array, "n f"]:
    """Scales every row to length 1; a row of zeros stays, and is similar 0 to everything."""
    largest = jnp.abs(profiles).max(1, keepdims=True, initial=0)  # squares could overflow
    scaled = profiles / jnp.where(largest > 0, largest, 1)
    length = jnp.sqrt((scaled * scaled).sum(1, keepdims=True))
    return scaled / jnp.where(length > 0, length, 1)


def cosine_similarity(
    queries: Float[Array, "q f"], gallery: Float[Array, "n f"]
) -> Float[Array, "q n"]:
    """Inner products in full precision, also on accelerators; rows are to have length 1."""
    return jnp.matmul(queries, gallery.T, precision=jax.lax.Precision.HIGHEST)


@partial(jax.jit, static_argnames="sort")
def rank_answers(
    similarity: Float[Array, "q n"],
    allowed: Bool[Array, "q n"],
    right: Int[Array, "q p"],
    *,
    sort: bool | None = None,
) -> Ranks:
    """Ranks the right answers of each query among its candidates.

    Args:
      similarity: Of each query to each profile, finite.
      allowed: Which profiles are candidates; the query itself must not be.
      right: Indices of the right answers among the candidates, each once, in any order; -1 is
        padding.
      sort: Sort the candidates instead of counting; None chooses by p.

    Returns:
      Ranks of the right answers, by decreasing similarity.

    Raises:
      ValueError: Shapes differ (at trace time).
    """
    if allowed.shape != similarity.shape or right.shape[0] != similarity.shape[0]:
        raise ValueError(
            f"similarity {similarity.shape}, allowed {allowed.shape} and right {right.shape} "
            "must have the same queries and profiles"
        )
    lowest = jnp.array(-jnp.inf, similarity.dtype)
    values = jnp.where(allowed, similarity, lowest)
    valid = right >= 0
    at_right = jnp.take_along_axis(values, jnp.maximum(right, 0), axis=1)
    at_right = -jnp.sort(-jnp.where(valid, at_right, lowest), axis=1)
    n_right = valid.sum(1, dtype=jnp.int32)
    valid = jnp.arange(right.shape[1], dtype=jnp.int32)[None, :] < n_right[:, None]
    if right.shape[1] > COUNT_MAX if sort is None else sort:
        above, tied = _by_sorting(values, at_right)
    else:
        above, tied = _by_counting(values, at_right)
    above_right, tied_right = _within(at_right)
    n_candidates = allowed.sum(1, dtype=jnp.int32)
    zero = jnp.zeros_like(above)
    return Ranks(
        above=jnp.where(valid, above, zero),
        tied=jnp.where(valid, tied, zero),
        above_right=jnp.where(valid, above_right, zero),
        tied_right=jnp.where(valid, tied_right, zero),
        valid=valid,
        n_right=n_right,
        n_candidates=n_candidates,
    )


def top_count(
    similarity: Float[Array, "q n"], allowed: Bool[Array, "q n"], n_top: Int[Array, " q"], *, k: int
) -> Int[Array, " q"]:
    """Counts the candidates that a percentile of the similarities leaves strictly above it.

    The percentile lies between the candidates ranked `n_top` and `n_top + 1`; candidates that tie
    across that border are not above it.

    Args:
      similarity: Of each query to each profile.
      allowed: Which profiles are candidates.
      n_top: Candidates above the percentile if no two tie, below k.
      k: Static bound.

    Returns:
      At most `n_top`.
    """
    lowest = jnp.array(-jnp.inf, similarity.dtype)
    best = jax.lax.top_k(jnp.where(allowed, similarity, lowest), min(k, similarity.shape[1]))[0]
    border = jnp.minimum(n_top, best.shape[1] - 1)
    next_below = jnp.take_along_axis(best, border[:, None], axis=1)
    strictly = (best > next_below).sum(1, dtype=jnp.int32)
    return jnp.where(n_top < best.shape[1], strictly, n_top)


def check_ties(ties: str) -> None:
    """Raises ValueError unless `ties` is a `TiePolicy`."""
    if ties not in get_args(TiePolicy):
        raise ValueError(f"ties must be one of {list(get_args(TiePolicy))}, found {ties!r}")


def _by_counting(values: Array, at_right: Array) -> tuple[Array, Array]:
    def one_query(row_and_right: tuple[Array, Array]) -> tuple[Array, Array]:
        row, at = row_and_right
        above = (row[None, :] > at[:, None]).sum(1, dtype=jnp.int32)
        tied = (row[None, :] == at[:, None]).sum(1, dtype=jnp.int32)
        return above, tied

    return jax.lax.map(one_query, (values, at_right))


def _by_sorting(values: Array, at_right: Array) -> tuple[Array, Array]:
    ascending = jnp.sort(values, axis=1)
    n = jnp.array(values.shape[1], jnp.int32)
    low, high = (
        jax.vmap(partial(jnp.searchsorted, side=side))(ascending, at_right).astype(jnp.int32)
        for side in ("left", "right")
    )
    return n - high, high - low


def _within(at_right: Array) -> tuple[Array, Array]:
    """Right answers above and tied with each, from their descending similarities."""
    ascending = at_right[:, ::-1]
    n = jnp.array(at_right.shape[1], jnp.int32)
    low, high = (
        jax.vmap(partial(jnp.searchsorted, side=side))(ascending, at_right).astype(jnp.int32)
        for side in ("left", "right")
    )
    return n - high, high - low
