"""Is an average precision better than chance? Permutation p-values and false discovery rates.

Under the null hypothesis the r right answers stand anywhere among the n candidates, so that the
null distribution depends on (r, n) alone. It is enumerated where that is short, else sampled by
drawing the r places only, never a ranking of all n.
"""

import math
from collections.abc import Iterable
from itertools import combinations

import numpy as np
from jaxtyping import Float, Integer

EXACT_MAX = 50_000
"""Null distributions of up to this many outcomes are enumerated."""

EQUAL = 1e-6
"""Average precisions closer than this are equal: scores come in float32. This errs to large p."""


def ap_of_places(places: Integer[np.ndarray, "m r"]) -> Float[np.ndarray, " m"]:
    """Average precision of m rankings whose r right answers stand at ascending places, from 1."""
    return (np.arange(1, places.shape[1] + 1) / places).mean(1)


def null_ap(seed: int, *, n_right: int, n_candidates: int, size: int) -> Float[np.ndarray, " m"]:
    """Average precisions of random rankings.

    Args:
      seed: Of the sample; enters together with `n_right` and `n_candidates`.
      n_right: Right answers, 1 <= n_right <= n_candidates.
      n_candidates: Candidates.
      size: Number of samples.

    Returns:
      All outcomes, equally likely, if there are no more than `EXACT_MAX`; else `size` samples.

    Raises:
      ValueError: The counts are out of range.
    """
    if not 1 <= n_right <= n_candidates or size < 1:
        raise ValueError(
            f"expected 1 <= n_right <= n_candidates and size >= 1, found n_right={n_right}, "
            f"n_candidates={n_candidates}, size={size}"
        )
    if is_exact(n_right, n_candidates):
        places = combinations(range(1, n_candidates + 1), n_right)
        return ap_of_places(np.array(list(places)))
    rng = np.random.default_rng([seed, n_right, n_candidates])
    return ap_of_places(random_places(rng, n_right, n_candidates, size))


def is_exact(n_right: int, n_candidates: int) -> bool:
    """Whether `null_ap` enumerates."""
    return math.comb(n_candidates, n_right) <= EXACT_MAX


def random_places(
    rng: np.random.Generator, n_right: int, n_candidates: int, size: int
) -> Integer[np.ndarray, "m r"]:
    """Draws places of right answers, uniformly among all sets.

    Args:
      rng: Random numbers.
      n_right: Places per set.
      n_candidates: Places from 1 to this.
      size: Number of sets.

    Returns:
      Distinct places, ascending within a row.
    """
    if n_right**2 > 2 * n_candidates:  # repeats are likely: rank random numbers instead
        rows = max(1, 2**22 // n_candidates)
        return np.concatenate(
            [
                np.sort(
                    rng.random((min(rows, size - start), n_candidates)).argpartition(
                        n_right - 1, axis=1
                    )[:, :n_right]
                )
                + 1
                for start in range(0, size, rows)
            ]
        )
    places = np.sort(rng.integers(1, n_candidates + 1, (size, n_right)))
    while True:
        # Rows with a repeat are drawn again as a whole, which keeps all sets equally likely.
        again = np.flatnonzero((np.diff(places) == 0).any(1))
        if again.size == 0:
            return places
        places[again] = np.sort(rng.integers(1, n_candidates + 1, (again.size, n_right)))


def ap_p_values(
    seed: int,
    ap: Float[np.ndarray, " q"],
    n_right: Integer[np.ndarray, " q"],
    n_candidates: Integer[np.ndarray, " q"],
    *,
    size: int = 10_000,
) -> Float[np.ndarray, " q"]:
    """Chance that a random ranking reaches an average precision, ties counted (>=).

    Args:
      seed: Of the sampled null distributions.
      ap: Average precisions; NaN gives NaN.
      n_right: Right answers of each query.
      n_candidates: Candidates of each query.
      size: Samples of a null distribution that is too long to enumerate.

    Returns:
      The exact share of outcomes, or (1 + outcomes as good) / (1 + size), which is never 0.
    Source: Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39.
    """
    result = np.full(len(ap), np.nan)
    defined = ~np.isnan(ap) & (n_right > 0)
    for r, n in np.unique(np.stack([n_right, n_candidates], 1)[defined], axis=0):
        at = defined & (n_right == r) & (n_candidates == n)
        null = np.sort(null_ap(seed, n_right=int(r), n_candidates=int(n), size=size))
        reached = null.size - np.searchsorted(null, ap[at].astype(np.float64) - EQUAL)
        exact = is_exact(int(r), int(n))
        result[at] = reached / null.size if exact else (1 + reached) / (1 + null.size)
    return result


def map_p_values(
    seed: int,
    ap: Float[np.ndarray, " q"],
    n_right: Integer[np.ndarray, " q"],
    n_candidates: Integer[np.ndarray, " q"],
    groups: Integer[np.ndarray, " q"],
    *,
    size: int = 10_000,
) -> tuple[np.ndarray, Float[np.ndarray, " g"], Float[np.ndarray, " g"]]:
    """P-values of the mean average precision of groups of queries.

    Members of a group are taken as independent. Where their nulls have no more than `EXACT_MAX`
    outcomes together, all of them are counted. Else every member gets a sample of its own, also
    members of equal counts: with a shared one their mean would vary as a single query does.

    Args:
      seed: Of the samples.
      ap: Average precisions; NaN leaves a query out.
      n_right: Right answers of each query.
      n_candidates: Candidates of each query.
      groups: Group of each query, such as its treatment.
      size: Samples.

    Returns:
      Codes of the groups, their mean average precision, their p-values (>=), exact where that was
      possible as in `ap_p_values`. NaN for groups without a defined query.
    """
    codes, group = np.unique(groups, return_inverse=True)
    mean, p = np.full(codes.size, np.nan), np.full(codes.size, np.nan)
    for g in range(codes.size):
        members = np.flatnonzero((group == g) & ~np.isnan(ap) & (n_right > 0))
        if members.size == 0:
            continue
        counts = [(int(n_right[q]), int(n_candidates[q])) for q in members]
        mean[g] = ap[members].mean(dtype=np.float64)
        exact = math.prod(math.comb(n, r) for r, n in counts) <= EXACT_MAX
        null = _sum_of_outcomes(counts) if exact else np.zeros(size)
        if not exact:
            for k, (r, n) in enumerate(counts):
                rng = np.random.default_rng([seed, g, k])
                null += ap_of_places(random_places(rng, r, n, size))
        reached = int((null / members.size >= mean[g] - EQUAL).sum())
        p[g] = reached / null.size if exact else (1 + reached) / (1 + size)
    return codes, mean, p


def _sum_of_outcomes(counts: Iterable[tuple[int, int]]) -> Float[np.ndarray, " m"]:
    """Sums of average precisions over every joint outcome of queries with such (r, n)."""
    total = np.zeros(1)
    for r, n in counts:
        total = np.add.outer(total, null_ap(0, n_right=r, n_candidates=n, size=1)).ravel()
    return total


def false_discovery_rate(p_values: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """Benjamini-Hochberg: the smallest false discovery rate at which each test is rejected.

    Args:
      p_values: In [0, 1]; NaN is no test.

    Returns:
      Adjusted p-values, in the given order; NaN where there was no test.

    Raises:
      ValueError: A p-value lies outside [0, 1].
    Source: Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289.
    """
    p = np.asarray(p_values, np.float64)
    tests = np.flatnonzero(~np.isnan(p))
    if ((p[tests] < 0) | (p[tests] > 1)).any():
        raise ValueError("p-values must lie within [0, 1]")
    adjusted = np.full(p.shape, np.nan)
    order = tests[np.argsort(p[tests])[::-1]]
    rank = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum.accumulate(np.minimum(p[order] * order.size / rank, 1))
    return adjusted
