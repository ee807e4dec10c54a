"""Bootstrap interval of a mean paired difference."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class BootstrapInterval(NamedTuple):
    """Mean paired difference with its percentile interval.

    Attributes:
      mean: Mean of the differences.
      low: Lower end of the interval.
      high: Upper end of the interval.
      share_worse: Share of the pairs with a difference below 0.
      n_pairs: Number of pairs.
      level: Coverage of the interval.
    """

    mean: float
    low: float
    high: float
    share_worse: float
    n_pairs: int
    level: float


def paired_bootstrap(
    seed: int, deltas: ArrayLike, *, n: int = 10_000, level: float = 0.95
) -> BootstrapInterval:
    """Resamples the pairs with replacement and takes percentiles of their mean.

    Args:
      seed: Seed of the resampling; the same seed gives the same interval.
      deltas: One difference (after - before) per image, shape (p,).
      n: Number of resamples.
      level: Coverage, within (0, 1).

    Returns:
      Mean, interval and the share of images made worse.

    Raises:
      ValueError: `deltas` is empty, not one-dimensional or not finite, or an option is out of
        range.
    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13.
    """
    values = np.asarray(deltas, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"deltas must be one non-empty row of numbers, found shape {values.shape}")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"deltas[{bad}] is {values[bad]}; leave out images without a score first")
    if n < 1 or not 0 < level < 1:
        raise ValueError(f"expected n >= 1 and 0 < level < 1, found n={n}, level={level}")
    rng = np.random.default_rng(seed)
    rows = max(1, 2**22 // values.size)  # bounds the memory of one block of resamples
    means = np.concatenate(
        [
            values[rng.integers(0, values.size, (min(rows, n - start), values.size))].mean(1)
            for start in range(0, n, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    worse = float(np.mean(values < 0))
    return BootstrapInterval(
        float(values.mean()), float(low), float(high), worse, values.size, level
    )
