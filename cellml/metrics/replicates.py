"""Do replicates of a treatment resemble each other more than wells of different treatments do?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer


class Reproducibility(NamedTuple):
    """Similarity of replicates against chance.

    Attributes:
      group: Codes of the treatments with two or more replicates.
      n_replicates: Their replicates.
      median: Median similarity over their pairs of replicates.
      threshold: Percentile of the null medians for that number of replicates.
      reproducible: `median > threshold`.
      share: Share of reproducible treatments ("percent replicating"); NaN without any.
    """

    group: np.ndarray
    n_replicates: np.ndarray
    median: np.ndarray
    threshold: np.ndarray
    reproducible: np.ndarray
    share: float


def replicate_reproducibility(
    seed: int,
    profiles: Float[np.ndarray, "n f"],
    groups: Integer[np.ndarray, " n"],
    *,
    centred: bool = True,
    candidates: Bool[np.ndarray, " n"] | None = None,
    n_null: int = 1000,
    percentile: float = 95.0,
) -> Reproducibility:
    """Compares the median similarity of replicates with that of random sets of profiles.

    A set of the null distribution has as many profiles as the treatment has replicates, each of
    another treatment.

    Args:
      seed: Of the null distribution.
      profiles: Finite, one per well.
      groups: Treatment of each profile; a negative code is left out.
      centred: Correlation of Pearson, as in the notebooks, instead of cosine.
      candidates: Profiles that may enter the null distribution; all with a treatment, if None.
      n_null: Sets per number of replicates.
      percentile: Of the null medians.

    Returns:
      One row per treatment with replicates.

    Raises:
      ValueError: Fewer treatments than replicates, so that no null set can be drawn.
    Source: Way et al. 2022, Cell Systems 13:911 ("percent replicating"); fraction strong in the
      notebooks of Moshkov et al. 2024.
    """
    rows = _unit(np.asarray(profiles, np.float64), centred=centred)
    codes, count = np.unique(groups[groups >= 0], return_counts=True)
    codes, count = codes[count >= 2], count[count >= 2]
    order = np.argsort(groups, kind="stable")
    start = np.searchsorted(groups[order], codes)
    median = np.array(
        [_median_pair(rows[order[s : s + c]][None])[0] for s, c in zip(start, count, strict=True)]
    )
    threshold = np.full(codes.size, np.nan)
    pool = groups >= 0 if candidates is None else candidates & (groups >= 0)
    for size in np.unique(count):
        null = null_medians(
            seed, rows, np.where(pool, groups, -1), n_members=int(size), n_null=n_null
        )
        threshold[count == size] = np.percentile(null, percentile)
    reproducible = median > threshold
    share = float(reproducible.mean()) if codes.size else float("nan")
    return Reproducibility(codes, count, median, threshold, reproducible, share)


def null_medians(
    seed: int,
    unit_rows: Float[np.ndarray, "n f"],
    groups: Integer[np.ndarray, " n"],
    *,
    n_members: int,
    n_null: int,
) -> Float[np.ndarray, " m"]:
    """Median similarities within random sets of profiles of different groups.

    Args:
      seed: Of the sets; enters together with `n_members`.
      unit_rows: Profiles of length 1.
      groups: Group of each profile; negative ones are not drawn.
      n_members: Profiles of a set.
      n_null: Number of sets.

    Returns:
      One median per set.

    Raises:
      ValueError: There are fewer groups than members.
    """
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] >= 0]
    _, start, count = np.unique(groups[order], return_index=True, return_counts=True)
    if start.size < n_members:
        raise ValueError(
            f"a null set of {n_members} profiles of different treatments cannot be drawn from "
            f"{start.size} treatments"
        )
    rng = np.random.default_rng([seed, n_members])
    result = np.empty(n_null)
    step = max(1, 2**24 // (n_members * unit_rows.shape[1]))  # about 128 MB of rows at a time
    for first in range(0, n_null, step):
        sets = min(step, n_null - first)
        picked = np.stack([rng.permutation(start.size)[:n_members] for _ in range(sets)])
        member = start[picked] + rng.integers(0, count[picked])
        result[first : first + sets] = _median_pair(unit_rows[order[member]])
    return result


def _median_pair(rows: np.ndarray) -> np.ndarray:
    """Median inner product over the pairs of each set, (m, r, f) to (m,)."""
    similarity = rows @ rows.transpose(0, 2, 1)
    upper = np.triu_indices(rows.shape[1], 1)
    return np.median(similarity[:, *upper], axis=1)


def _unit(rows: np.ndarray, *, centred: bool) -> np.ndarray:
    if centred:
        rows = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
