"""The most similar other profile, and how often it has the right label (1-NN, NSC, NSCB)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer

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


class Neighbours(NamedTuple):
    """Nearest neighbour of q queries, on the host.

    Attributes:
      query: Row of each query in the profiles.
      nearest: Row of the most similar candidate, the first of several; -1 without candidates.
      similarity: Cosine similarity to it; NaN without candidates.
    """

    query: np.ndarray
    nearest: np.ndarray
    similarity: np.ndarray


class NeighbourAccuracy(NamedTuple):
    """How often the nearest neighbour is a right answer.

    Attributes:
      accuracy: `n_right / n_queries`; NaN without queries.
      n_right: Queries whose nearest neighbour shares a label.
      n_queries: Queries with at least one label and one candidate. A query whose label nobody
        else has counts, and is missed.
    """

    accuracy: float
    n_right: int
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
    nearest, similarity = [], []
    for some, n_valid in blocks_of(rows, block):
        index, value = _nearest_block(gallery, codes, is_candidate, some)
        nearest.append(np.asarray(index)[:n_valid])
        similarity.append(np.asarray(value)[:n_valid])
    return Neighbours(rows, np.concatenate(nearest), np.concatenate(similarity))


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
    query, nearest = neighbours.query[counted], neighbours.nearest[counted]
    shared = relation.wanted[query].multiply(relation.offered[nearest]).sum(1)
    right = int((np.asarray(shared).ravel() > 0).sum())
    return NeighbourAccuracy(right / query.size if query.size else np.nan, right, int(query.size))


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
) -> tuple[Array, Array]:
    similarity = cosine_similarity(gallery[rows], gallery)
    allowed = allowed_candidates(rows, candidates, codes)
    values = jnp.where(allowed, similarity, -jnp.inf)
    best = values.max(1)
    found = best > -jnp.inf
    index = values.argmax(1).astype(jnp.int32)
    return jnp.where(found, index, -1), jnp.where(found, best, jnp.nan)
