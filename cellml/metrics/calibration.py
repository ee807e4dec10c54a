"""Can probabilities, spreads and intervals be taken at their word? All per assay, and jitted.

A missing readout (NaN) counts nowhere. Sums go with the bins, so that assays can be pooled: 100
readouts of probability .2 hold 20 hits, whatever assay they are from.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cellml.metrics.column_ranks import column_ranks, spearman_columns

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Intervals whose coverage is counted."""

Table = Float[np.ndarray | Array, "n t"]


class ReliabilityBins(NamedTuple):
    """Readouts of t assays by their predicted probability.

    Attributes:
      count: Readouts of each bin.
      predicted: Sum of their probabilities: the hits to expect.
      observed: Hits among them.
    """

    count: Int[np.ndarray | Array, "t b"]
    predicted: Float[np.ndarray | Array, "t b"]
    observed: Float[np.ndarray | Array, "t b"]

    def pooled(self) -> "ReliabilityBins":
        """All assays as one, summed in float64."""
        count, predicted, observed = (np.asarray(x) for x in self)
        sums = (x.astype(np.float64).sum(0, keepdims=True) for x in (predicted, observed))
        return ReliabilityBins(count.sum(0, keepdims=True), *sums)


class SpreadBins(NamedTuple):
    """Readouts of t assays in bins of equal size, the smallest predicted spread first.

    Attributes:
      count: Readouts of each bin; they differ by one at most but for ties of the spread, which stay
        together.
      spread: Root of the mean squared spread; NaN in an empty bin, likewise `error`.
      error: Root of the mean squared error: equal to the spread where that is honest.
    """

    count: Int[np.ndarray | Array, "t b"]
    spread: Float[np.ndarray | Array, "t b"]
    error: Float[np.ndarray | Array, "t b"]


def even_edges(n_bins: int = 10) -> Float[np.ndarray, " b1"]:
    """Edges of bins of one width over [0, 1]."""
    return np.linspace(0, 1, n_bins + 1).astype(np.float32)


def equal_count_edges(
    probabilities: Float[np.ndarray, "..."], n_bins: int = 10
) -> Float[np.ndarray, " b1"]:
    """Edges of bins that hold equal numbers of predictions; fewer bins where many tie.

    Rare hits have small probabilities: of bins of one width the first holds nearly everything.

    Args:
      probabilities: Any; NaN is left out.
      n_bins: Number of bins wanted.

    Returns:
      Ascending edges from 0 to 1.
    """
    known = probabilities[~np.isnan(probabilities)].astype(np.float64)
    if not known.size:
        return even_edges(1)
    inner = np.unique(np.quantile(known, np.linspace(0, 1, n_bins + 1)[1:-1]).astype(np.float32))
    return np.concatenate([np.zeros(1, np.float32), inner[(inner > 0) & (inner < 1)],
                           np.ones(1, np.float32)])  # fmt: skip


@jax.jit
def reliability_bins(
    labels: Table, probabilities: Table, edges: Float[np.ndarray | Array, " b1"]
) -> ReliabilityBins:
    """Counts readouts, expected and observed hits by predicted probability.

    Args:
      labels: 1 hit, 0 no hit, NaN not tested.
      probabilities: Within [0, 1]; readouts without one (NaN) are left out.
      edges: Ascending, b + 1 of them; the first and the last are ignored, so that nothing falls
        out. A bin holds what lies above its lower edge, up to and with its upper one, as in
        scikit-learn's `calibration_curve`.

    Returns:
      One row an assay.
    """
    labels, p = jnp.asarray(labels), jnp.asarray(probabilities)
    known = ~jnp.isnan(labels) & ~jnp.isnan(p)
    place = jnp.searchsorted(jnp.asarray(edges)[1:-1], p, side="left").astype(jnp.int32)

    def one(number: Int[Array, ""]) -> tuple[Array, Array, Array]:
        mine = known & (place == number)
        predicted, observed = (jnp.where(mine, x, 0.0).sum(0) for x in (p, labels))
        return mine.sum(0, dtype=jnp.int32), predicted, observed

    found = jax.lax.map(one, jnp.arange(edges.shape[0] - 1, dtype=jnp.int32))
    return ReliabilityBins(*(each.T for each in found))


def expected_calibration_error(bins: ReliabilityBins) -> Float[np.ndarray, " t"]:
    """Mean distance of the share of hits from the mean probability, bins by their size.

    Args:
      bins: From `reliability_bins`.

    Returns:
      Values from 0 to 1, which depend on the bins; NaN for an assay without readouts.
    Source: Naeini et al. 2015, AAAI 29:2901.
    """
    count, predicted, observed = (np.asarray(x).astype(np.float64) for x in bins)
    total = count.sum(1)
    gap = np.abs(predicted - observed).sum(1)
    return np.where(total > 0, gap / np.maximum(total, 1), np.nan)


@jax.jit
def brier_score(labels: Table, probabilities: Table) -> Float[Array, " t"]:
    """Mean squared distance of the probability from 1 (hit) or 0 of each assay.

    Args:
      labels: As in `reliability_bins`.
      probabilities: Likewise.

    Returns:
      Values from 0 to 1; NaN for an assay without readouts. Saying the share of hits r for all
      gives r (1 - r).
    Source: Brier 1950, Monthly Weather Review 78:1.
    """
    labels, p = jnp.asarray(labels), jnp.asarray(probabilities)
    known = ~jnp.isnan(labels) & ~jnp.isnan(p)
    count = known.sum(0).astype(jnp.float32)
    total = (jnp.where(known, p - labels, 0.0) ** 2).sum(0)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


@partial(jax.jit, static_argnames="n_bins")
def spread_bins(labels: Table, predicted: Table, spread: Table, *, n_bins: int = 10) -> SpreadBins:
    """Compares errors with the spread that was predicted, such as that of an ensemble.

    Args:
      labels: Readouts, NaN where there is none.
      predicted: Values, or probabilities of a hit.
      spread: Standard deviations in the same units, >= 0; NaN leaves a readout out.
      n_bins: Number of bins.

    Returns:
      One row an assay.
    """
    labels, predicted, spread = map(jnp.asarray, (labels, predicted, spread))
    known = ~(jnp.isnan(labels) | jnp.isnan(predicted) | jnp.isnan(spread))
    count = jnp.maximum(known.sum(0), 1).astype(jnp.float32)
    share = (column_ranks(spread, known) - 0.5) / count[None]
    place = jnp.clip(jnp.floor(share * n_bins), 0, n_bins - 1).astype(jnp.int32)
    error = jnp.where(known, predicted - labels, 0.0)

    def one(number: Int[Array, ""]) -> tuple[Array, Array, Array]:
        mine = known & (place == number)
        n = mine.sum(0, dtype=jnp.int32)
        sums = (jnp.where(mine, x**2, 0.0).sum(0) for x in (spread, error))
        roots = (jnp.sqrt(x / jnp.maximum(n, 1).astype(jnp.float32)) for x in sums)
        width, far = (jnp.where(n > 0, x, jnp.nan) for x in roots)
        return n, width, far

    found = jax.lax.map(one, jnp.arange(n_bins, dtype=jnp.int32))
    return SpreadBins(*(each.T for each in found))


def spread_error(bins: SpreadBins) -> Float[np.ndarray, " t"]:
    """Mean over the bins of the distance of error and spread, in units of the spread (ENCE).

    Args:
      bins: From `spread_bins`.

    Returns:
      0 is honest, 1 an error of twice the spread or none at all; NaN where no bin has a spread.
    Source: Levi et al. 2022, Sensors 22:5540.
    """
    spread, error = (np.asarray(x).astype(np.float64) for x in bins[1:])
    there = np.nan_to_num(spread) > 0
    gap = np.where(there, np.abs(error - spread) / np.where(there, spread, 1), 0)
    return np.where(there.any(1), gap.sum(1) / np.maximum(there.sum(1), 1), np.nan)


@jax.jit
def spread_rank_correlation(labels: Table, predicted: Table, spread: Table) -> Float[Array, " t"]:
    """Spearman's correlation of absolute error and spread; arguments as in `spread_bins`.

    Returns:
      Above 0 where the larger spread has the larger error; NaN where one of them is constant.
    """
    labels, predicted, spread = map(jnp.asarray, (labels, predicted, spread))
    known = ~(jnp.isnan(labels) | jnp.isnan(predicted) | jnp.isnan(spread))
    error = jnp.where(known, jnp.abs(predicted - labels), 0.0)
    return spearman_columns(error, jnp.where(known, spread, 0.0), known)


def interval_coverage(
    labels: Table, predicted: Table, spread: Table, *, levels: Sequence[float] = LEVELS
) -> Float[np.ndarray, "t l"]:
    """Share of the readouts within the central intervals of a normal distribution.

    Args:
      labels: As in `spread_bins`.
      predicted: Means.
      spread: Standard deviations.
      levels: What the intervals promise to hold, within (0, 1).

    Returns:
      Equal to the levels where the spread is honest, below where it is too small; NaN for an assay
      without readouts.

    Raises:
      ValueError: A level is out of range.
    """
    if not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels must lie within (0, 1), found {list(levels)}")
    return np.asarray(_coverage(labels, predicted, spread, np.array(levels, np.float32)))


@jax.jit
def _coverage(
    labels: Table, predicted: Table, spread: Table, levels: Float[np.ndarray | Array, " l"]
) -> Float[Array, "t l"]:
    labels, predicted, spread = map(jnp.asarray, (labels, predicted, spread))
    known = ~(jnp.isnan(labels) | jnp.isnan(predicted) | jnp.isnan(spread))
    count = known.sum(0).astype(jnp.float32)

    def one(level: Float[Array, ""]) -> Float[Array, " t"]:
        width = jax.scipy.stats.norm.ppf((1 + level) / 2)
        inside = known & (jnp.abs(predicted - labels) <= width * spread)
        share = inside.sum(0).astype(jnp.float32) / jnp.maximum(count, 1)
        return jnp.where(count > 0, share, jnp.nan)

    return jax.lax.map(one, jnp.asarray(levels)).T
