"""Is one predictor better than another on the same assays? Does it rest on similar compounds?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from cellml.metrics.assays import score_assays
from cellml.metrics.bootstrap import BootstrapInterval, paired_bootstrap

SIMILARITY_EDGES = (0.0, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Test compounds between these Tanimoto similarities to the training set are scored apart."""


class PairedTest(NamedTuple):
    """Two predictors on the assays that both have a score of.

    Attributes:
      n_assays: Such assays.
      better: Assays on which the second is better.
      worse: Assays on which it is worse; the others tie.
      p_value: Wilcoxon's signed-rank test, two-sided; 1 if all tie.
      difference: Mean of second - first with its bootstrap interval over assays.
      median_difference: Median of second - first.
    """

    n_assays: int
    better: int
    worse: int
    p_value: float
    difference: BootstrapInterval
    median_difference: float


def compare_predictors(
    first: Float[np.ndarray, " t"],
    second: Float[np.ndarray, " t"],
    *,
    seed: int = 0,
    n_resamples: int = 10_000,
) -> PairedTest:
    """Compares two predictors assay by assay.

    Args:
      first: Score of each assay; NaN is left out.
      second: Likewise.
      seed: Of the bootstrap.
      n_resamples: Of the bootstrap.

    Returns:
      The test. Assays that share compounds are not independent, so that p is too small rather
      than too large.

    Raises:
      ValueError: The numbers of assays differ, or no assay has both scores.
    Source: Wilcoxon 1945, Biometrics Bulletin 1:80.
    """
    if first.shape != second.shape:
        raise ValueError(f"found scores of {first.size} and of {second.size} assays")
    delta = second.astype(np.float64) - first.astype(np.float64)
    delta = delta[~np.isnan(delta)]
    if not delta.size:
        raise ValueError("no assay has a score of both predictors")
    # Pratt's way with zeros, as ties are frequent on assays with few hits.
    test = stats.wilcoxon(delta, zero_method="pratt", method="approx") if delta.any() else None
    return PairedTest(
        delta.size,
        int((delta > 0).sum()),
        int((delta < 0).sum()),
        1.0 if test is None else float(test.pvalue),
        paired_bootstrap(seed, delta, n=n_resamples),
        float(np.median(delta)),
    )


class SimilarityStratum(NamedTuple):
    """Test compounds within a range of similarity to the training compounds.

    Attributes:
      low: Smallest similarity of the nearest training compound, inclusive.
      high: Largest, exclusive but for the last stratum.
      n_compounds: Test compounds in the range.
      auroc: Per assay among these compounds; NaN where undefined.
      n_hits: Hits per assay.
      n_tested: Readouts per assay.
    """

    low: float
    high: float
    n_compounds: int
    auroc: Float[np.ndarray, " t"]
    n_hits: Int[np.ndarray, " t"]
    n_tested: Int[np.ndarray, " t"]


def score_by_similarity(
    labels: Float[np.ndarray, "n t"],
    scores: Float[np.ndarray, "n t"],
    nearest: Float[np.ndarray, " n"],
    *,
    edges: Sequence[float] = SIMILARITY_EDGES,
) -> tuple[SimilarityStratum, ...]:
    """Scores compounds apart by how similar the training set is to them.

    Args:
      labels: 1 hit, 0 no hit, NaN not tested, of test compounds.
      scores: Predictions of one predictor.
      nearest: Tanimoto similarity of each to its nearest training compound, see
        `cellml.ops.tanimoto.nearest_tanimoto`.
      edges: Ascending; the first and last bound all similarities.

    Returns:
      One stratum between each two edges.

    Raises:
      ValueError: Edges do not ascend, or a similarity lies outside of them.
    """
    limits = np.asarray(edges, np.float64)
    stratum = similarity_strata(nearest, edges)
    k = limits.size - 1
    found = score_assays(labels, scores, folds=stratum, n_folds=k)
    return tuple(
        SimilarityStratum(
            float(limits[i]),
            float(limits[i + 1]),
            int((stratum == i).sum()),
            found.auroc[:, i],
            found.n_hits[:, i],
            found.n_tested[:, i],
        )
        for i in range(k)
    )


def similarity_strata(
    nearest: Float[np.ndarray, " n"], edges: Sequence[float] = SIMILARITY_EDGES
) -> Int[np.ndarray, " n"]:
    """Puts compounds into ranges of similarity.

    Args:
      nearest: As in `score_by_similarity`; NaN, for a compound that could not be compared, is in
        no range.
      edges: Likewise.

    Returns:
      Number of the range, -1 for none.

    Raises:
      ValueError: Edges do not ascend, or a similarity lies outside of them.
    """
    limits = np.asarray(edges, np.float64)
    if limits.size < 2 or (np.diff(limits) <= 0).any():
        raise ValueError(f"edges must ascend, found {list(edges)}")
    known = ~np.isnan(nearest)
    there = nearest[known]
    if there.min(initial=limits[0]) < limits[0] or there.max(initial=0) > limits[-1]:
        raise ValueError(f"similarities must lie within {limits[0]} and {limits[-1]}")
    stratum = np.searchsorted(limits[1:-1], nearest.astype(np.float64), side="right")
    return np.where(known, stratum, -1)
