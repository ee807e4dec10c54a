"""Scores of every profile as a query among the others, in blocks of bounded memory.

Only one block of similarities exists at a time: 10,000 profiles of 672 features need about 100 MB
where the full matrix of similarities, ranks and pairs would take several gigabytes.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from cellml.metrics.ranking import (
    ap_interpolated,
    ap_ranking,
    first_rank,
    interpolated_precision,
    precision_at_k,
)
from cellml.metrics.ranks import cosine_similarity, rank_answers, top_count, unit_rows
from cellml.metrics.relations import Relation

Profiles = Float[np.ndarray | Array, "n f"]

BLOCK = 256
"""Queries per block; the memory of a block is about 5 x 4 bytes x BLOCK x profiles."""


class QueryScores(NamedTuple):
    """Scores of q queries, on the host.

    Attributes:
      query: Row of each query in the profiles.
      ap: Average precision; NaN without right answers. Likewise `ap_interpolated`.
      ap_interpolated: Mean best precision at this recall or beyond; over the recalls of the right
        answers, or over `recall_points` recalls if that was asked for.
      precision_at: k to the share of right answers among the k most similar.
      first_rank: Place of the first right answer, from 1; infinity without any.
      n_right: Right answers.
      n_candidates: Candidates.
      n_top: Candidates strictly above the 99th percentile of the similarities.
      right_in_top: Right answers among `n_top`.
      recall: Recalls of `precision`.
      precision: Interpolated precision at `recall`, mean over the queries with at least
        `min_right` right answers; NaN if there is none.
    """

    query: np.ndarray
    ap: np.ndarray
    ap_interpolated: np.ndarray
    precision_at: dict[int, np.ndarray]
    first_rank: np.ndarray
    n_right: np.ndarray
    n_candidates: np.ndarray
    n_top: np.ndarray
    right_in_top: np.ndarray
    recall: np.ndarray
    precision: np.ndarray


def score_queries(
    profiles: Profiles,
    relation: Relation,
    *,
    queries: Bool[np.ndarray, " n"] | None = None,
    candidates: Bool[np.ndarray, " n"] | None = None,
    exclude: Integer[np.ndarray, "n g"] | None = None,
    ks: tuple[int, ...] = (1, 5, 10),
    ties: str = "threshold",
    recall_points: int | None = None,
    lag: bool = False,
    min_right: int = 2,
    block: int = BLOCK,
) -> QueryScores:
    """Ranks, for every query, the candidates by cosine similarity and scores the ranking.

    Args:
      profiles: Finite. A row of zeros has similarity 0 to all.
      relation: Right answers, see `cellml.metrics.relations`.
      queries: Which profiles are queries; all, if None.
      candidates: Which profiles are ranked; all, if None. A query never ranks itself.
      exclude: Columns of codes; a candidate that shares a code >= 0 with the query in any column
        is left out, right or wrong (own well, same compound, same batch).
      ks: Places of `precision_at`.
      ties: See `cellml.metrics.ranks.TiePolicy`. "expected" holds for `ap`, precision@k and the
        first place; the interpolated curve has no expectation in closed form and is cut as
        "threshold".
      recall_points: Recalls of the curve; 101 and an exact `ap_interpolated`, if None.
      lag: Read the curve as the published notebooks do, see `interpolated_precision`.
      min_right: Right answers that a query needs to enter the mean curve.
      block: Queries at a time.

    Returns:
      One row per query, in the order of the profiles.

    Raises:
      ValueError: Shapes do not fit, profiles are not finite, or an option is out of range.
    """
    gallery = prepare_gallery(profiles)
    n = gallery.shape[0]
    if relation.n_profiles != n:
        raise ValueError(f"relation is of {relation.n_profiles} profiles, found {n}")
    rows, is_candidate, codes = check_masks(n, queries, candidates, exclude)
    width = list_width(relation, rows)
    score = partial(
        _score_block,
        ks=tuple(ks),
        ties=ties,
        n_points=recall_points or 101,
        exact=recall_points is None,
        lag=lag,
        k_top=-(-max(n - 1, 1) // 100) + 1,
    )
    scores: list[dict[str, np.ndarray]] = []
    curve, n_curves = np.zeros(recall_points or 101), 0
    for some, n_valid in blocks_of(rows, block):
        right = right_lists(relation, some, is_candidate, codes, width=width)
        found = score(gallery, codes, is_candidate, some, right)
        found = {name: np.asarray(value)[:n_valid] for name, value in found.items()}
        curves = found.pop("curve")[found["n_right"] >= max(min_right, 1)]
        curve, n_curves = curve + curves.sum(0, dtype=np.float64), n_curves + len(curves)
        scores.append(found)
    columns = {name: np.concatenate([s[name] for s in scores]) for name in scores[0]}
    at = columns.pop("precision_at")
    return QueryScores(
        query=rows,
        precision_at={k: at[:, i] for i, k in enumerate(ks)},
        recall=np.linspace(0, 1, curve.size),
        precision=curve / n_curves if n_curves else np.full(curve.size, np.nan),
        **columns,
    )


def prepare_gallery(profiles: Profiles) -> Float[Array, "n f"]:
    """Rows of length 1 in float32, after a check that there are some and all are finite.

    Raises:
      ValueError: No profiles or no features, or a value is NaN or infinite.
    """
    values = np.asarray(profiles)
    if values.size == 0:
        raise ValueError(f"profiles have shape {values.shape}, expected at least one number")
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {len(values)} profiles are not finite, the first is row "
            f"{int(np.flatnonzero(bad)[0])}: drop these profiles or features first"
        )
    if values.dtype != np.float32:
        # Divided in float64: what overflows or vanishes in float32 would change the direction.
        largest = np.abs(values).max(1, keepdims=True)
        values = (values / np.where(largest > 0, largest, 1)).astype(np.float32)
    return unit_rows(jnp.asarray(values))


def check_masks(
    n: int,
    queries: Bool[np.ndarray, " n"] | None,
    candidates: Bool[np.ndarray, " n"] | None,
    exclude: Integer[np.ndarray, "n g"] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Puts masks and codes into one form.

    Args:
      n: Number of profiles.
      queries: Mask of the queries or None.
      candidates: Mask of the candidates or None.
      exclude: Codes or None.

    Returns:
      Rows of the queries, mask of the candidates, int32 codes of shape (n, g).

    Raises:
      ValueError: A length is not n, or there is no query.
    """
    for name, value in (("queries", queries), ("candidates", candidates), ("exclude", exclude)):
        if value is not None and len(value) != n:
            raise ValueError(f"{name} has {len(value)} rows, expected one for each of {n} profiles")
    rows = np.arange(n) if queries is None else np.flatnonzero(queries)
    if rows.size == 0:
        raise ValueError("queries selects no profile")
    is_candidate = np.ones(n, bool) if candidates is None else np.asarray(candidates)
    codes = np.full((n, 0), -1) if exclude is None else np.asarray(exclude)
    return rows, is_candidate, codes.astype(np.int32)


def blocks_of(rows: np.ndarray, block: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields rows in blocks of one size, the last filled up, with the number that counts."""
    if block < 1:
        raise ValueError(f"block must be 1 or more, found {block}")
    block = min(block, rows.size)
    for start in range(0, rows.size, block):
        some = rows[start : start + block]
        yield np.pad(some, (0, block - some.size), mode="edge"), some.size


def right_lists(
    relation: Relation,
    rows: np.ndarray,
    candidates: np.ndarray,
    codes: np.ndarray,
    *,
    width: int,
) -> np.ndarray:
    """Lists the right answers of some queries among their candidates.

    Args:
      relation: Right answers.
      rows: Queries, shape (q,).
      candidates: Which profiles are ranked, shape (n,).
      codes: Codes that queries and candidates must not share, shape (n, g).
      width: Length of a row.

    Returns:
      Indices, int32, shape (q, width), filled up with -1.

    Raises:
      ValueError: A query has more right answers than `width`.
    """
    table = relation.rows(rows)
    query = np.repeat(np.arange(rows.size), np.diff(table.indptr))
    answer = table.indices
    shared = (codes[rows[query]] == codes[answer]) & (codes[answer] >= 0)
    keep = candidates[answer] & (answer != rows[query]) & ~shared.any(1)
    query, answer = query[keep], answer[keep]
    count = np.bincount(query, minlength=rows.size)
    if count.max(initial=0) > width:
        raise ValueError(f"a query has {count.max()} right answers, expected {width} at most")
    place = np.arange(query.size) - np.repeat(np.cumsum(count) - count, count)
    lists = np.full((rows.size, width), -1, np.int32)
    lists[query, place] = answer
    return lists


def allowed_candidates(
    rows: Integer[Array | np.ndarray, " q"],
    candidates: Bool[Array | np.ndarray, " n"],
    codes: Integer[Array | np.ndarray, "n g"],
) -> Bool[Array, "q n"]:
    """Candidates of each query: not itself, and no code >= 0 in common; jittable.

    Args:
      rows: Rows of the queries.
      candidates: Which profiles are ranked.
      codes: Codes of all profiles.

    Returns:
      A mask per query.
    """
    rows, codes = jnp.asarray(rows), jnp.asarray(codes)
    index = jnp.arange(codes.shape[0], dtype=rows.dtype)
    allowed = jnp.asarray(candidates)[None, :] & (index[None, :] != rows[:, None])
    for g in range(codes.shape[1]):
        column = codes[:, g]
        shared = (column[rows][:, None] == column[None, :]) & (column >= 0)[None, :]
        allowed &= ~shared
    return allowed


def list_width(relation: Relation, rows: np.ndarray) -> int:
    """Length of `right_lists` of these queries: a power of two, so that few sizes are compiled."""
    most = int(relation.at_most()[rows].max(initial=1))
    return 1 << max(2, min(most, relation.n_profiles) - 1).bit_length()


@partial(jax.jit, static_argnames=("ks", "ties", "n_points", "exact", "lag", "k_top"))
def _score_block(
    gallery: Array,
    codes: Array,
    candidates: Array,
    rows: Array,
    right: Array,
    *,
    ks: tuple[int, ...],
    ties: str,
    n_points: int,
    exact: bool,
    lag: bool,
    k_top: int,
) -> dict[str, Array]:
    """Scores of one block of queries; every value has the axis q first."""
    similarity = cosine_similarity(gallery[rows], gallery)
    allowed = allowed_candidates(rows, candidates, codes)
    ranks = rank_answers(similarity, allowed, right)
    curve_ties = "threshold" if ties == "expected" else ties
    curve = interpolated_precision(ranks, n_points=n_points, ties=curve_ties, lag=lag)
    # The 99th percentile of m values lies between the ranks ceil((m - 1) / 100) and one more.
    n_top = (ranks.n_candidates + 98) // 100
    n_top = jnp.maximum(n_top, 0)
    in_top = ranks.valid & (ranks.above + ranks.tied <= n_top[:, None])
    return {
        "ap": ap_ranking(ranks, ties=ties),
        "ap_interpolated": ap_interpolated(ranks, ties=curve_ties) if exact else curve.mean(1),
        "precision_at": jnp.stack([precision_at_k(ranks, k=k, ties=ties) for k in ks], 1),
        "first_rank": first_rank(ranks, ties=ties),
        "n_right": ranks.n_right,
        "n_candidates": ranks.n_candidates,
        "n_top": top_count(similarity, allowed, n_top, k=k_top),
        "right_in_top": in_top.sum(1, dtype=jnp.int32),
        "curve": curve,
    }
