"""What `cellml profile evaluate` and `report` say of profiles, beside how to print it.

Retrieval under both protocols, chance (p and q values), nearest neighbours of other compounds and
batches, and whether replicates resemble each other.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from cellml.commands.profile_corrected import Corrected
from cellml.commands.profile_layout import Layout, completed
from cellml.metrics.neighbours import (
    NeighbourAccuracy,
    n_answerable,
    nearest_neighbours,
    neighbour_accuracy,
)
from cellml.metrics.protocols import PROTOCOLS, RetrievalScores, evaluate_retrieval
from cellml.metrics.relations import shared_labels
from cellml.metrics.replicates import Reproducibility, replicate_reproducibility
from cellml.metrics.significance import ap_p_values, false_discovery_rate, map_p_values
from cellml.profiling.aggregate import group_codes, group_mean

Q_LIMIT = 0.05
N_NULL = 1000
"""Random sets of wells that replicates are compared with, for each number of replicates."""


class Retrieval(NamedTuple):
    """Scores by protocol, "strict" first.

    Attributes:
      scores: By protocol.
      missing: Why a protocol has no scores, by its name.
    """

    scores: Mapping[str, RetrievalScores]
    missing: Mapping[str, str]


class Significance(NamedTuple):
    """Chance of the average precision of t treatments.

    Attributes:
      treatments: Names.
      ap: Average precision; mean over its queries at the levels well and site.
      p: Chance that a random ranking does as well.
      q: False discovery rate (Benjamini-Hochberg) over the treatments.
      share: Share of treatments with q at most `Q_LIMIT`, of those that have one.
    """

    treatments: tuple[str, ...]
    ap: Float[np.ndarray, " t"]
    p: Float[np.ndarray, " t"]
    q: Float[np.ndarray, " t"]
    share: float


class Neighbour(NamedTuple):
    """Nearest neighbours of other compounds (and batches).

    Attributes:
      accuracy: See `cellml.metrics.neighbours`.
      n_answerable: Queries with at least one right candidate.
    """

    accuracy: NeighbourAccuracy
    n_answerable: int


def retrieval(layout: Layout, features: Float[np.ndarray, "m f"], *, ties: str) -> Retrieval:
    """Scores profiles under both protocols.

    Args:
      layout: Of the table's rows.
      features: Of all rows, corrected.
      ties: See `cellml.metrics.ranks.TiePolicy`.

    Returns:
      `moshkov2024` is missing where a label is no regular expression, as its notebooks need it.
    """
    profiles = layout.profiles(features)
    found: dict[str, RetrievalScores] = {}
    missing: dict[str, str] = {}
    for protocol in PROTOCOLS:
        try:
            relation = layout.relation(protocol)
        except ValueError as error:
            missing[protocol] = str(error)
            continue
        found[protocol] = evaluate_retrieval(
            profiles,
            relation,
            protocol=protocol,
            level=layout.level,
            treatments=layout.treatment,
            exclude=layout.exclude,
            ties=ties,
        )
    return Retrieval(found, missing)


def significance(
    layout: Layout, scores: RetrievalScores, *, size: int, seed: int = 0
) -> Significance:
    """Compares the average precisions of a retrieval with random rankings.

    Args:
      layout: Of the profiles.
      scores: Under `strict`.
      size: Samples of a null distribution that is too long to enumerate.
      seed: Of the samples.

    Returns:
      One entry a treatment.
    """
    queries = scores.queries
    treatment = layout.treatment[queries.query]
    if layout.level == "treatment":
        ap = queries.ap.astype(np.float64)
        p = ap_p_values(seed, ap, queries.n_right, queries.n_candidates, size=size)
        codes = treatment
    else:
        codes, ap, p = map_p_values(
            seed, queries.ap, queries.n_right, queries.n_candidates, treatment, size=size
        )
    q = false_discovery_rate(p)
    tested = q[~np.isnan(q)]
    share = float((tested <= Q_LIMIT).mean()) if tested.size else np.nan
    return Significance(tuple(str(layout.treatments[c]) for c in codes), ap, p, q, share)


def other_compounds(
    layout: Layout,
    corrected: Corrected,
    features: Float[np.ndarray, "m f"],
    compound_column: str,
    *,
    other_batches: bool,
) -> Neighbour | str:
    """Nearest neighbour among profiles of other compounds (NSC), and other batches (NSCB).

    Args:
      layout: Of the table's rows; with labels.
      corrected: The table, and the batches.
      features: Of all rows, corrected.
      compound_column: Compound of a row.
      other_batches: Whether candidates of the query's own batch are left out as well. A treatment
        has then one profile a batch.

    Returns:
      Accuracy; or in words why there is none.
    """
    if layout.labels is None:
        return "no labels were asked for"
    compounds = corrected.table.column(compound_column)
    labels, first = layout.labels, layout.first_row
    if not other_batches:
        profiles = layout.profiles(features)
        codes = group_codes(compounds[first])[1][:, None]
    else:
        if len(np.unique(corrected.batches[layout.rows])) < 2:
            return "all profiles are of one batch; --batch-column says where the batches are"
        profiles = layout.profiles(features)
        if layout.level == "treatment":
            profiles, labels, first = _by_batch(layout, corrected, features)
        both = compounds[first], corrected.batches[first]
        codes = np.stack([group_codes(texts)[1] for texts in both], 1)
    relation = shared_labels(labels)
    neighbours = nearest_neighbours(profiles, exclude=codes)
    return Neighbour(
        neighbour_accuracy(neighbours, relation), n_answerable(relation, exclude=codes)
    )


def reproducibility(
    layout: Layout, features: Float[np.ndarray, "m f"], *, seed: int = 0
) -> Reproducibility | str:
    """Whether the wells of a treatment resemble each other more than those of different ones.

    Args:
      layout: Of the table's rows.
      features: Of all rows, corrected.
      seed: Of the null distribution.

    Returns:
      The comparison; or in words why there is none.
    """
    treatment = layout.treatment_of_well
    if np.bincount(treatment).max(initial=0) < 2:
        return "no treatment has two wells"
    wells = completed(layout.wells(features))
    try:
        return replicate_reproducibility(seed, wells, treatment, n_null=N_NULL)
    except ValueError as error:
        return str(error)


def plain_scores(scores: RetrievalScores) -> dict[str, Any]:
    """Numbers as JSON has them; undefined ones are null."""
    return {
        "map": plain_number(scores.map),
        "map_interpolated": plain_number(scores.map_interpolated),
        "folds_of_enrichment": plain_number(scores.folds_of_enrichment),
        "folds_of_enrichment_median": plain_number(scores.folds_median),
        "log_odds": plain_number(scores.log_odds),
        "infinite_share": plain_number(scores.infinite_share),
        "precision_at_k": {str(k): plain_number(v) for k, v in scores.precision_at_k.items()},
        "hits_top1pct": scores.hits_top1pct,
        "n_treatments": scores.n_treatments,
        "n_queries": dict(scores.n_queries),
        "how": dict(scores.definitions),
    }


def plain_number(value: float) -> float | None:
    """A number as JSON has it; None where it is undefined."""
    return float(value) if np.isfinite(value) else None


def plain_neighbour(found: Neighbour | str) -> dict[str, Any] | None:
    """A nearest-neighbour accuracy as JSON has it; None where there is none."""
    if isinstance(found, str):
        return None
    right, n = found.accuracy.n_right, found.accuracy.n_queries
    return {
        "accuracy": plain_number(found.accuracy.accuracy),
        "n_right": right,
        "n_queries": n,
        "n_answerable": found.n_answerable,
        "accuracy_answerable": right / found.n_answerable if found.n_answerable else None,
    }


def plain_reproducibility(found: Reproducibility | str) -> dict[str, Any] | None:
    """Replicate reproducibility as JSON has it; None where there is none."""
    if isinstance(found, str):
        return None
    return {
        "share": plain_number(found.share),
        "n_reproducible": int(found.reproducible.sum()),
        "n_treatments": int(found.group.size),
    }


def _by_batch(
    layout: Layout, corrected: Corrected, features: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """One profile a treatment and batch, its label and the first row behind it."""
    assert layout.labels is not None
    first_of_well = layout.rows[np.unique(layout.well_of_row, return_index=True)[1]]
    batches = group_codes(corrected.batches[first_of_well])[1]
    keys = layout.treatment_of_well * (batches.max() + 1) + batches
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    profiles = completed(group_mean(layout.wells(features), group, n_groups=len(first)))
    labels = tuple(layout.labels[t] for t in layout.treatment_of_well[first])
    return profiles, labels, first_of_well[first]
