"""Scores of one ranking each, from `Ranks`: average precision, precision@k, first hit; jittable.

A query without right answers has no average precision: NaN, which counts in no mean.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cellml.metrics.ranks import Ranks, check_ties


@partial(jax.jit, static_argnames="ties")
def ap_ranking(ranks: Ranks, *, ties: str = "threshold") -> Float[Array, " q"]:
    """Average precision of a ranking: the mean, over right answers, of the precision down to each.

    Args:
      ranks: Right answers of q queries.
      ties: See `TiePolicy`.

    Returns:
      Values in (0, 1]; NaN for queries without right answers.

    Raises:
      ValueError: `ties` is unknown (at trace time).
    Source: for "expected", McSherry & Najork 2008, ECIR, "Computing information retrieval
      performance measures efficiently in the presence of tied scores".
    """
    check_ties(ties)
    precision = _expected_share(ranks) if ties == "expected" else precision_steps(ranks, ties=ties)
    return _mean_over_right(precision, ranks)


@partial(jax.jit, static_argnames="ties")
def ap_interpolated(ranks: Ranks, *, ties: str = "threshold") -> Float[Array, " q"]:
    """Mean, over right answers, of the best precision at this recall or beyond.

    That is the area under the interpolated precision-recall curve, without a grid.

    Args:
      ranks: Right answers of q queries.
      ties: See `TiePolicy`; "expected" has no closed form here.

    Returns:
      Values not below `ap_ranking`; NaN for queries without right answers.

    Raises:
      ValueError: `ties` is unknown or "expected" (at trace time).
    """
    return _mean_over_right(_best_from_here(ranks, ties), ranks)


@partial(jax.jit, static_argnames=("n_points", "ties", "lag"))
def interpolated_precision(
    ranks: Ranks, *, n_points: int, ties: str = "threshold", lag: bool = False
) -> Float[Array, "q r"]:
    """Interpolated precision p(r) = max over r' >= r, at recalls r = 0, 1/(n - 1), ... 1.

    Args:
      ranks: Right answers of q queries.
      n_points: Static number n of recalls, >= 2.
      ties: See `TiePolicy`; "expected" has no closed form here.
      lag: Read the curve one recall later, as the loop of the published notebooks does.

    Returns:
      One curve per query, never increasing; NaN for queries without right answers.

    Raises:
      ValueError: `n_points` is below 2, or `ties` is unknown or "expected" (at trace time).
    """
    if n_points < 2:
        raise ValueError(f"n_points must be 2 or more, found {n_points}")
    best = _best_from_here(ranks, ties)
    i = jnp.arange(n_points, dtype=jnp.int32)[None, :]
    n_right = ranks.n_right[:, None]
    last = n_points - 1
    # Recall r_i needs ceil(r_i * n_right) right answers; in integers, which do not round.
    if lag:
        needed = jnp.minimum(i + 1, last) * n_right // last + 1
    else:
        needed = (i * n_right + last - 1) // last
    index = jnp.clip(needed, 1, jnp.maximum(n_right, 1)) - 1
    curve = jnp.take_along_axis(best, index, axis=1)
    return jnp.where(n_right > 0, curve, jnp.nan)


@partial(jax.jit, static_argnames=("k", "ties"))
def precision_at_k(ranks: Ranks, *, k: int, ties: str = "threshold") -> Float[Array, " q"]:
    """Share of right answers among the k most similar candidates.

    Args:
      ranks: Right answers of q queries.
      k: Static, >= 1. With fewer candidates the others count as wrong.
      ties: See `TiePolicy`. Where place k is shared, "threshold" and "expected" both count the
        tied right answers by the share of the tied candidates that fit.

    Returns:
      Values in [0, 1]; 0 for queries without right answers.

    Raises:
      ValueError: `k` is below 1, or `ties` is unknown (at trace time).
    """
    check_ties(ties)
    if k < 1:
        raise ValueError(f"k must be 1 or more, found {k}")
    if ties in ("threshold", "expected"):
        room = jnp.clip(k - ranks.above, 0, ranks.tied).astype(jnp.float32)
        inside = room / jnp.maximum(ranks.tied, 1).astype(jnp.float32)
    else:
        inside = (_position(ranks, ties) <= k).astype(jnp.float32)
    return jnp.where(ranks.valid, inside, 0.0).sum(1) / k


@partial(jax.jit, static_argnames="ties")
def first_rank(ranks: Ranks, *, ties: str = "threshold") -> Float[Array, " q"]:
    """Place of the first right answer, counted from 1; infinity where there is none.

    Args:
      ranks: Right answers of q queries.
      ties: "optimistic" is the first place that it may have, "pessimistic" and "threshold" the one
        behind all wrong answers that tie with it, "expected" the mean over all orders.

    Returns:
      Places; whole numbers but for "expected".

    Raises:
      ValueError: `ties` is unknown (at trace time).
    """
    check_ties(ties)
    above, tied, right = (x[:, 0] for x in (ranks.above, ranks.tied, ranks.tied_right))
    if ties == "expected":
        # The first of m right ones among t tied stands at (t + 1) / (m + 1) on average.
        numbers = ((tied + 1).astype(jnp.float32), (right + 1).astype(jnp.float32))
        place = above.astype(jnp.float32) + numbers[0] / numbers[1]
    else:
        order = "optimistic" if ties == "optimistic" else "pessimistic"
        place = _position(ranks, order)[:, 0].astype(jnp.float32)
    return jnp.where(ranks.n_right > 0, place, jnp.inf)


def precision_steps(ranks: Ranks, *, ties: str = "threshold") -> Float[Array, "q p"]:
    """Precision down to each right answer, by decreasing similarity; 0 at padding.

    Args:
      ranks: Right answers of q queries.
      ties: "threshold", "pessimistic" or "optimistic".

    Returns:
      Step p is where recall reaches (p + 1) / n_right, or jumps over it in a tie.

    Raises:
      ValueError: `ties` is unknown, or "expected", which is not a set of points.
    """
    check_ties(ties)
    if ties == "expected":
        raise ValueError('ties="expected" has no precision-recall curve; use "threshold"')
    if ties == "threshold":
        right, place = ranks.above_right + ranks.tied_right, ranks.above + ranks.tied
    else:
        right, place = ranks.above_right + _order(ranks), _position(ranks, ties)
    precision = right.astype(jnp.float32) / jnp.maximum(place, 1).astype(jnp.float32)
    return jnp.where(ranks.valid, precision, 0.0)


def _order(ranks: Ranks) -> Int[Array, "q p"]:
    """Number of each right answer within its tie, from 1."""
    index = jnp.arange(ranks.above.shape[1], dtype=jnp.int32)[None, :]
    return index - ranks.above_right + 1


def _position(ranks: Ranks, ties: str) -> Int[Array, "q p"]:
    """Place of each right answer, from 1, where ties go all against it or all for it."""
    wrong_first = ranks.tied - ranks.tied_right if ties == "pessimistic" else 0
    return ranks.above + wrong_first + _order(ranks)


def _best_from_here(ranks: Ranks, ties: str) -> Float[Array, "q p"]:
    steps = precision_steps(ranks, ties=ties)
    return jax.lax.cummax(steps, axis=1, reverse=True)


def _mean_over_right(values: Float[Array, "q p"], ranks: Ranks) -> Float[Array, " q"]:
    count = ranks.n_right.astype(jnp.float32)
    total = jnp.where(ranks.valid, values, 0.0).sum(1)
    return jnp.where(ranks.n_right > 0, total / jnp.maximum(count, 1.0), jnp.nan)


def _expected_share(ranks: Ranks) -> Float[Array, "q p"]:
    """Expected precision at the right answers of a tie, shared equally among them.

    A tie of t candidates, m of them right, below a candidates, r of them right, adds
    sum_{j=1..t} (m / t) (r + 1 + (j - 1) b) / (a + j) with b = (m - 1) / (t - 1). With harmonic
    numbers that is (m / t) (b t + (r + 1 - b - b a) (H(a + t) - H(a))).
    """
    above, tied, above_right, right = (
        x.astype(jnp.float32)
        for x in (ranks.above, ranks.tied, ranks.above_right, ranks.tied_right)
    )
    tied = jnp.maximum(tied, 1.0)
    slope = jnp.maximum(right - 1, 0.0) / jnp.maximum(tied - 1, 1.0)
    total = slope * tied + (above_right + 1 - slope - slope * above) * _harmonic(above, tied)
    alone = (above_right + 1) / (above + 1)
    return jnp.where(tied > 1, total / tied, alone)


def _harmonic(start: Float[Array, "q p"], count: Float[Array, "q p"]) -> Float[Array, "q p"]:
    """Sum of 1 / (start + j) for j = 1..count, without cancellation for a large start."""
    total = jnp.zeros_like(start)
    for _ in range(8):  # Euler-Maclaurin is good to 1e-8 from 8 on
        near = (start < 8) & (count > 0)
        step = jnp.where(near, 1.0, 0.0)
        total = total + step / (start + 1)
        start, count = start + step, count - step
    start = jnp.maximum(start, 8.0)
    end = start + count

    def tail(x: Array) -> Array:
        return 0.5 / x - 1 / (12 * x * x) + 1 / (120 * x**4)

    return total + jnp.where(count > 0, jnp.log1p(count / start) + tail(end) - tail(start), 0.0)
