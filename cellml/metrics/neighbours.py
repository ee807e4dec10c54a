"""The most similar other profile, and how often it has the right label (1-NN, NSC, NSCB)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer
from scipy import sparse

from cellml.metrics.ranks import cosine_similarity
from cellml.metrics.relations import Relation
from cellml.metrics.retrieval import (
    BLOCK,
    Profiles,
    allowed_candidates,
    blocks_of,
    check_masks,
    list_width,
    prepare_gallery,
    right_lists,
)

PAIRS = 1 << 17
"""Neighbours that are compared with their queries at a time."""


class Neighbours(NamedTuple):
    """Nearest neighbour of q queries, on the host.

    Attributes:
      query: Row of each query in the profiles.
      nearest: Row of the most similar candidate, the first of several; -1 without candidates.
      similarity: Cosine similarity to it; NaN without candidates.
      tied: All candidates of this similarity, bool, shape (q, profiles). `tied_share` counts these,
        so that no order of rows decides.
    """

    query: np.ndarray
    nearest: np.ndarray
    similarity: np.ndarray
    tied: sparse.csr_array


class NeighbourAccuracy(NamedTuple):
    """How often the nearest neighbour is a right answer.

    Attributes:
      accuracy: `n_right / n_queries`; NaN without queries.
      n_right: Queries whose nearest neighbour shares a label; of several that are equally near, the
        share that does.
      n_queries: Queries with at least one label and one candidate. A query whose label nobody
        else has counts, and is missed.
    """

    accuracy: float
    n_right: float
    n_queries: int


def nearest_neighbours(
    profiles: Profiles,
    *,
    queries: Bool[np.ndarray, " n"] | None = None,
    candidates: Bool[np.ndarray, " n"] | None = None,
    exclude: Integer[np.ndarray, "n g"] | None = None,
    block: int = BLOCK,
) -> Neighbours:
    """Finds the most similar candidate of each query by cosine similarity.

    Args:
      profiles: Finite.
      queries: Which profiles are queries; all, if None.
      candidates: Which profiles may be neighbours; all, if None. Never the query itself.
      exclude: Columns of codes; a candidate that shares a code >= 0 with the query in any of them
        is no neighbour. One column of compounds gives NSC (not same compound), a second one of
        batches NSCB (not same compound or batch).
      block: Queries at a time.

    Returns:
      One row per query.

    Raises:
      ValueError: As for `cellml.metrics.retrieval.score_queries`.
    Source: Ljosa et al. 2013, J. Biomol. Screen. 18:1321 (NSC); Ando et al. 2017, bioRxiv 161422
      (NSCB).
    """
    gallery = prepare_gallery(profiles)
    rows, is_candidate, codes = check_masks(gallery.shape[0], queries, candidates, exclude)
    nearest, similarity, tied = [], [], []
    for some, n_valid in blocks_of(rows, block):
        index, value, equal = _nearest_block(gallery, codes, is_candidate, some)
        nearest.append(np.asarray(index)[:n_valid])
        similarity.append(np.asarray(value)[:n_valid])
        tied.append(sparse.csr_array(np.asarray(equal)[:n_valid]))
    return Neighbours(
        rows,
        np.concatenate(nearest),
        np.concatenate(similarity),
        sparse.csr_array(sparse.vstack(tied, format="csr")),
    )


def tied_share(
    neighbours: Neighbours,
    fits: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Float[np.ndarray, " q"]:
    """Share of each query's nearest neighbours, equally near ones, of which something holds.

    Args:
      neighbours: From `nearest_neighbours`.
      fits: Takes rows of queries and of as many neighbours, returns whether it holds of each pair.

    Returns:
      0 or 1 where one candidate is the nearest; NaN without candidates.
    """
    counts = np.diff(neighbours.tied.indptr)
    query = np.repeat(np.arange(counts.size), counts)
    right = np.zeros(counts.size)
    for at in range(0, query.size, PAIRS):
        some = query[at : at + PAIRS]
        found = fits(neighbours.query[some], neighbours.tied.indices[at : at + PAIRS])
        right += np.bincount(some, found, counts.size)
    return np.divide(right, counts, out=np.full(counts.size, np.nan), where=counts > 0)


def neighbour_accuracy(neighbours: Neighbours, relation: Relation) -> NeighbourAccuracy:
    """Scores nearest neighbours against a relation.

    Args:
      neighbours: From `nearest_neighbours`.
      relation: Right answers, over the same profiles.

    Returns:
      Accuracy and its counts.
    """
    has_label = np.diff(relation.wanted.indptr)[neighbours.query] > 0
    counted = has_label & (neighbours.nearest >= 0)
    share = tied_share(neighbours, lambda query, other: _share_a_term(relation, query, other))
    right, n = float(share[counted].sum()), int(counted.sum())
    return NeighbourAccuracy(right / n if n else np.nan, right, n)


def _share_a_term(
    relation: Relation, query: np.ndarray, other: np.ndarray
) -> Bool[np.ndarray, " n"]:
    shared = relation.wanted[query].multiply(relation.offered[other]).sum(1)
    return np.asarray(shared).ravel() > 0


def n_answerable(
    relation: Relation, *, exclude: Integer[np.ndarray, "n g"] | None = None, block: int = BLOCK
) -> int:
    """Counts the queries that have a right candidate at all.

    The others can only be missed: Ando et al. leave mechanisms of one batch out of NSCB.

    Args:
      relation: Right answers.
      exclude: As in `nearest_neighbours`.
      block: Queries at a time.

    Returns:
      Number of queries.
    """
    rows, is_candidate, codes = check_masks(relation.n_profiles, None, None, exclude)
    width, count = list_width(relation, rows), 0
    for some, n_valid in blocks_of(rows, block):
        right = right_lists(relation, some, is_candidate, codes, width=width)
        count += int((right[:n_valid] >= 0).any(1).sum())
    return count


@partial(jax.jit)
def _nearest_block(
    gallery: Array, codes: Array, candidates: Array, rows: Array
) -> tuple[Array, Array, Array]:
    similarity = cosine_similarity(gallery[rows], gallery)
    allowed = allowed_candidates(rows, candidates, codes)
    values = jnp.where(allowed, similarity, -jnp.inf)
    best = values.max(1)
    found = best > -jnp.inf
    index = values.argmax(1).astype(jnp.int32)
    tied = allowed & (values == best[:, None])
    return jnp.where(found, index, -1), jnp.where(found, best, jnp.nan), tied
