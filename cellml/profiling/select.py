"""Feature selection, rule by rule the same as pycytominer 1.7 makes, its blocklist included.

Every rule takes profiles and returns the features to keep. Rules of `select_features` run one after
the other on what is left, in the given order.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

Keep = Bool[np.ndarray, " f"]

_STAINS = ("AGP", "DNA", "ER", "Mito", "RNA")
BLOCKLIST = (
    *(
        f"Nuclei_Correlation_{k}_{a}_{b}"
        for k in ("Manders", "RWC")
        for a, b in permutations(_STAINS, 2)
    ),
    *(f"Nuclei_Granularity_{scale}_{stain}" for scale in (14, 15, 16) for stain in _STAINS),
)
"""Names of CellProfiler's features that are known to be noisy; pycytominer leaves them out as well.

Source: Way 2019, "Blacklist Features - Cell Profiler", figshare, doi:10.6084/m9.figshare.10255811.
"""


def keep_varying(profiles: Float[np.ndarray, "n f"], *, min_variance: float = 1e-6) -> Keep:
    """Keeps features with a variance (over n, NaN left out) above `min_variance`."""
    _check_range("min_variance", min_variance, 0.0, np.inf)
    there = ~np.isnan(profiles)
    count = np.maximum(there.sum(0), 1)
    values = profiles.astype(np.float64)
    mean = np.where(there, values, 0).sum(0) / count
    variance = np.where(there, (values - mean) ** 2, 0).sum(0) / count
    # A constant feature may have a variance of 1e-32 by rounding.
    spread = np.where(there, values, -np.inf).max(0) - np.where(there, values, np.inf).min(0)
    return there.any(0) & (variance > min_variance) & (spread > 0)


def keep_complete(profiles: Float[np.ndarray, "n f"], *, max_missing: float = 0.05) -> Keep:
    """Keeps features with at most the share `max_missing` of NaN."""
    _check_range("max_missing", max_missing, 0.0, 1.0)
    return np.isnan(profiles).mean(0) <= max_missing


def keep_bounded(profiles: Float[np.ndarray, "n f"], *, max_absolute: float = 500.0) -> Keep:
    """Keeps features whose smallest and largest number lie within +-`max_absolute`.

    Those without a number are kept, as in pycytominer (`drop_outliers`).
    """
    absolute = np.where(np.isnan(profiles), 0, np.abs(profiles))
    return absolute.max(0) <= max_absolute


def keep_frequent(
    profiles: Float[np.ndarray, "n f"], *, min_ratio: float = 0.05, min_unique: float = 0.01
) -> Keep:
    """Keeps features that do not sit on a single value.

    Args:
      profiles: NaN is no value.
      min_ratio: Smallest count of the second most common value, as a share of the most common's.
      min_unique: Smallest number of distinct values, as a share of the profiles.

    Returns:
      Features that pass both.

    Raises:
      ValueError: A share is out of [0, 1].
    """
    _check_range("min_ratio", min_ratio, 0.0, 1.0)
    _check_range("min_unique", min_unique, 0.0, 1.0)
    keep = np.zeros(profiles.shape[1], bool)
    for i, column in enumerate(profiles.T):
        count = np.sort(np.unique(column[~np.isnan(column)], return_counts=True)[1])
        ratio = count[-2] / count[-1] if count.size > 1 else 0.0
        keep[i] = ratio >= min_ratio and count.size / len(column) >= min_unique
    return keep


def keep_uncorrelated(profiles: Float[np.ndarray, "n f"], *, max_correlation: float = 0.9) -> Keep:
    """Drops one feature of every pair with a Pearson correlation above `max_correlation`.

    Of a pair the feature goes whose absolute correlations with all features sum to more. The sign
    counts: a correlation of -1 drops nothing. Every pair is judged on the whole matrix, so that
    of three features that all correlate two go.

    Args:
      profiles: NaN is left out pair by pair.
      max_correlation: Within [0, 1].

    Returns:
      Features to keep. Constant features correlate with none.

    Raises:
      ValueError: The limit is out of range, or a value is infinite.
    """
    _check_range("max_correlation", max_correlation, 0.0, 1.0)
    if np.isinf(profiles).any():
        raise ValueError("profiles have infinite values: drop outliers first")
    correlation = pairwise_correlation(profiles)
    strength = np.where(np.isnan(correlation), 0, np.abs(correlation)).sum(0)
    rank = np.empty(strength.size, np.int64)
    rank[np.argsort(strength, kind="quicksort")] = np.arange(strength.size)  # pandas' order in ties
    first, second = np.nonzero(np.tril(correlation > max_correlation, -1))
    keep = np.ones(strength.size, bool)
    keep[np.where(rank[first] > rank[second], first, second)] = False
    return keep


def keep_reproducible(
    profiles: Float[np.ndarray, "n f"], groups: Integer[np.ndarray, " n"], *, max_sd: float = 0.8
) -> Keep:
    """Keeps features whose standard deviation within groups of replicates is low on average.

    Args:
      profiles: Normalised, so that one limit suits all features.
      groups: Treatment of each profile.
      max_sd: Largest mean, over groups, of the standard deviation (over n) within a group.

    Returns:
      Features to keep ("noise removal" of pycytominer).
    """
    _, codes = np.unique(groups, return_inverse=True)
    deviations = np.full((codes.max(initial=-1) + 1, profiles.shape[1]), np.nan)
    for g in range(len(deviations)):
        part = profiles[codes == g].astype(np.float64)
        there = ~np.isnan(part)
        count = np.maximum(there.sum(0), 1)
        mean = np.where(there, part, 0).sum(0) / count
        variance = np.where(there, (part - mean) ** 2, 0).sum(0) / count
        deviations[g] = np.where(there.any(0), np.sqrt(variance), np.nan)
    there = ~np.isnan(deviations)
    mean = np.where(there, deviations, 0).sum(0) / np.maximum(there.sum(0), 1)
    return ~(mean > max_sd)


def keep_unlisted(names: Sequence[str], blocklist: Sequence[str]) -> Keep:
    """Keeps features whose name is not in the blocklist."""
    blocked = set(blocklist)
    return np.array([name not in blocked for name in names], bool)


RULES = {
    "variance_threshold": keep_varying,
    "correlation_threshold": keep_uncorrelated,
    "drop_na_columns": keep_complete,
    "drop_outliers": keep_bounded,
    "frequency_threshold": keep_frequent,
}
"""Rules that need the profiles alone, under the names that pycytominer gives them."""

DEFAULT_RULES = (
    "variance_threshold",
    "correlation_threshold",
    "drop_na_columns",
    "blocklist",
    "drop_outliers",
)


def select_features(
    profiles: Float[np.ndarray, "n f"],
    names: Sequence[str],
    *,
    rules: Sequence[str] = DEFAULT_RULES,
    blocklist: Sequence[str] = BLOCKLIST,
    groups: Integer[np.ndarray, " n"] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Keep, dict[str, tuple[str, ...]]]:
    """Applies rules one after the other, each to the features that are left.

    Args:
      profiles: Rows to decide on; pass the controls alone to decide on them.
      names: Name of each feature.
      rules: Names of `RULES`, "blocklist" or "noise_removal", in order.
      blocklist: Names that the rule "blocklist" drops.
      groups: Treatments for the rule "noise_removal".
      options: Keyword arguments by rule.

    Returns:
      Features to keep, and the names that each rule dropped.

    Raises:
      ValueError: Unknown rule, or names or groups are missing.
    """
    if len(names) != profiles.shape[1]:
        raise ValueError(f"found {len(names)} names for {profiles.shape[1]} features")
    keep = np.ones(profiles.shape[1], bool)
    dropped: dict[str, tuple[str, ...]] = {}
    for rule in rules:
        left = np.flatnonzero(keep)
        given = dict((options or {}).get(rule, {}))
        if rule == "blocklist":
            passed = keep_unlisted([names[i] for i in left.tolist()], blocklist)
        elif rule == "noise_removal":
            if groups is None:
                raise ValueError("rule noise_removal needs groups")
            passed = keep_reproducible(profiles[:, left], groups, **given)
        elif rule in RULES:
            passed = RULES[rule](profiles[:, left], **given)
        else:
            known = [*RULES, "blocklist", "noise_removal"]
            raise ValueError(f"rule must be one of {known}, found {rule!r}")
        dropped[rule] = tuple(str(names[i]) for i in left[~passed].tolist())
        keep[left[~passed]] = False
    return keep, dropped


def pairwise_correlation(profiles: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "f f"]:
    """Pearson correlations of all pairs of features over the rows where both have a number.

    NaN where a feature is constant there.
    """
    values = profiles.astype(np.float64)
    there = ~np.isnan(values)
    count = np.maximum(there.sum(0), 1)
    values = np.where(there, values - np.where(there, values, 0).sum(0) / count, 0)
    sd = np.sqrt((values**2).sum(0) / count)
    values = values / np.where(sd > 0, sd, 1)
    if there.all():
        n = np.array(float(len(values)))
        first = second = np.zeros((1, 1))
        own = (values**2).sum(0)
        variance = np.sqrt(own[:, None] * own[None, :])
    else:
        mask = there.astype(np.float64)
        n = np.maximum(mask.T @ mask, 1)
        first = values.T @ mask  # sum of feature i over the rows where j is there
        second = first.T
        square = (values**2).T @ mask
        variance = np.sqrt(
            np.maximum(square - first**2 / n, 0) * np.maximum(square.T - second**2 / n, 0)
        )
    covariance = values.T @ values - first * second / n
    defined = variance > 1e-12 * n
    correlation = np.where(defined, covariance / np.where(defined, variance, 1), np.nan)
    return np.clip(correlation, -1, 1)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must lie within [{low}, {high}], found {value}")
