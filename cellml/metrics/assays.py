"""Scores of predicted assay readouts, per assay and fold: AUROC, AP, PR-AUC, enrichment, hit rate.

Where a fold holds no hit of an assay, or only hits, nothing can be ranked: all scores are NaN there
and count in no mean (see `cellml.metrics.assay_summary`).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from cellml.metrics.assay_ranks import (
    Labels,
    ReadoutLayout,
    ReadoutTable,
    lay_out_readouts,
    table_ranks,
)
from cellml.metrics.ranking import ap_ranking
from cellml.metrics.ranks import Ranks

TOP_FRACTIONS = (0.01, 0.05, 0.1)
"""Shares of the readouts at which enrichment is given."""

LOW_BITS = 12


class AssayScores(NamedTuple):
    """Scores of t assays in k folds; NaN where a fold has no hit or only hits.

    Attributes:
      auroc: Area under the receiver operating characteristic; a tie counts one half.
      ap: Average precision, as `sklearn.metrics.average_precision_score`.
      pr_auc_trapezoid: Area under the precision-recall curve drawn with straight lines, as
        `sklearn.metrics.auc` of `precision_recall_curve`; it flatters where hits are rare.
      enrichment: By share of the readouts: hits among the best predicted ones over the hits that
        chance would put there. The number of best ones is rounded up; of readouts that tie across
        the border the share counts that fits.
      hit_rate: Hits among the tested, the AP of chance; NaN where nothing was tested.
      n_tested: Readouts.
      n_hits: Hits.
    """

    auroc: Float[np.ndarray, "t k"]
    ap: Float[np.ndarray, "t k"]
    pr_auc_trapezoid: Float[np.ndarray, "t k"]
    enrichment: dict[float, Float[np.ndarray, "t k"]]
    hit_rate: Float[np.ndarray, "t k"]
    n_tested: Int[np.ndarray, "t k"]
    n_hits: Int[np.ndarray, "t k"]


def score_assays(
    labels: Labels,
    scores: Float[np.ndarray | Array, "n t"],
    *,
    folds: Integer[np.ndarray, " n"] | None = None,
    n_folds: int | None = None,
    fractions: tuple[float, ...] = TOP_FRACTIONS,
    drop_unpredicted: bool = False,
) -> AssayScores:
    """Scores the predictions of one predictor.

    Args:
      labels: 1 hit, 0 no hit, NaN not tested.
      scores: Higher means more likely a hit: probabilities, logits or anything else that ranks.
      folds: Fold of each compound, -1 leaves it out; one fold, if None.
      n_folds: Number of folds; the largest of `folds` plus one, if None.
      fractions: Shares of `AssayScores.enrichment`, within (0, 1].
      drop_unpredicted: Leave out tested readouts whose score is not finite, such as those of
        compounds without a profile, instead of refusing them. Predictors are then compared on
        different readouts.

    Returns:
      Scores per assay and fold.

    Raises:
      ValueError: Shapes differ, labels are no labels, a fraction is out of range, or a tested
        readout has no finite score.
    """
    if scores.shape != labels.shape:
        raise ValueError(f"scores have shape {scores.shape}, labels {labels.shape}")
    predicted = np.isfinite(scores) if drop_unpredicted else None
    layout = lay_out_readouts(labels, folds=folds, n_folds=n_folds, scored=predicted)
    return score_layout(layout, jnp.asarray(scores), fractions=fractions)


def score_layout(
    layout: ReadoutLayout,
    scores: Float[Array, "n t"],
    *,
    fractions: tuple[float, ...] = TOP_FRACTIONS,
) -> AssayScores:
    """Scores a predictor of readouts that are laid out already; arguments as in `score_assays`.

    Raises:
      ValueError: The shape is another one, a fraction is out of range, or a score is not finite.
    """
    _check(layout, scores)
    tops = tuple(_top_counts(layout, fraction) for fraction in fractions)
    values, finite = _all_scores(layout.tables, scores, tops, n_cells=layout.n_hits.size)
    _refuse_missing(finite)
    shape = layout.n_hits.shape
    auroc, ap, trapezoid, *enrichment = (np.asarray(v).reshape(shape) for v in values)
    tested = layout.n_tested.astype(np.float32)
    rate = np.divide(
        layout.n_hits, tested, out=np.full(shape, np.nan, np.float32), where=tested > 0
    )
    return AssayScores(
        auroc,
        ap,
        trapezoid,
        dict(zip(fractions, enrichment, strict=True)),
        rate,
        layout.n_tested,
        layout.n_hits,
    )


def auroc_assays(layout: ReadoutLayout, scores: Float[Array, "n t"]) -> Float[np.ndarray, "t k"]:
    """AUROC alone, per assay and fold; NaN where it is undefined.

    Raises:
      ValueError: The shape is not the layout's, or a tested readout has no finite score.
    """
    _check(layout, scores)
    values, finite = _auroc(layout.tables, scores, n_cells=layout.n_hits.size)
    _refuse_missing(finite)
    return np.asarray(values).reshape(layout.n_hits.shape)


def auroc_ranks(ranks: Ranks) -> Float[Array, " q"]:
    """AUROC of each ranking: the chance that a hit stands above a miss, ties counting one half.

    Counted in integers, so that no rounding adds up. NaN without a hit or without a miss.
    """
    misses_above = ranks.above - ranks.above_right
    misses_tied = ranks.tied - ranks.tied_right
    # Twice the misses in front of each hit; high and low bits apart, as sums could pass 2^31.
    front = jnp.where(ranks.valid, 2 * misses_above + misses_tied, 0)
    low = (front & (2**LOW_BITS - 1)).sum(1, dtype=jnp.int32).astype(jnp.float32)
    high = (front >> LOW_BITS).sum(1, dtype=jnp.int32).astype(jnp.float32)
    hits = ranks.n_right.astype(jnp.float32)
    misses = (ranks.n_candidates - ranks.n_right).astype(jnp.float32)
    pairs = jnp.maximum(hits, 1) * jnp.maximum(misses, 1)
    value = 1 - (high * 2.0**LOW_BITS + low) / (2 * pairs)
    return jnp.where((hits > 0) & (misses > 0), value, jnp.nan)


def pr_auc_trapezoid(ranks: Ranks) -> Float[Array, " q"]:
    """Area under the precision-recall curve drawn with straight lines between thresholds.

    The curve starts at recall 0 with precision 1. NaN for rankings without hits.
    """
    above, above_right, tied, tied_right = (
        x.astype(jnp.float32)
        for x in (ranks.above, ranks.above_right, ranks.tied, ranks.tied_right)
    )
    before = jnp.where(above > 0, above_right / jnp.maximum(above, 1), 1.0)
    after = (above_right + tied_right) / jnp.maximum(above + tied, 1)
    total = jnp.where(ranks.valid, (before + after) / 2, 0.0).sum(1)
    hits = ranks.n_right.astype(jnp.float32)
    return jnp.where(hits > 0, total / jnp.maximum(hits, 1), jnp.nan)


def enrichment_factor(ranks: Ranks, n_top: Int[Array | np.ndarray, " q"]) -> Float[Array, " q"]:
    """Hits among the best `n_top` candidates over the hits that chance would put there.

    Args:
      ranks: Hits among the candidates.
      n_top: Candidates at the top of each ranking, >= 1; of those that tie across the border the
        share counts that fits.

    Returns:
      Values from 0 to candidates / `n_top`; NaN for rankings without hits.
    """
    room = jnp.clip(jnp.asarray(n_top)[:, None] - ranks.above, 0, ranks.tied).astype(jnp.float32)
    inside = room / jnp.maximum(ranks.tied, 1).astype(jnp.float32)
    found = jnp.where(ranks.valid, inside, 0.0).sum(1)
    hits = ranks.n_right.astype(jnp.float32)
    by_chance = hits * jnp.asarray(n_top).astype(jnp.float32)
    by_chance = by_chance / jnp.maximum(ranks.n_candidates, 1).astype(jnp.float32)
    return jnp.where(hits > 0, found / jnp.where(hits > 0, by_chance, 1.0), jnp.nan)


@partial(jax.jit, static_argnames="n_cells")
def _auroc(
    tables: tuple[ReadoutTable, ...], scores: Float[Array, "n t"], *, n_cells: int
) -> tuple[Float[Array, " c"], Bool[Array, ""]]:
    values = jnp.full(n_cells, jnp.nan, jnp.float32)
    finite = jnp.array(True)
    for table in tables:
        ranks, good = table_ranks(table, scores.reshape(-1))
        values, finite = values.at[table.cell].set(auroc_ranks(ranks)), finite & good
    return values, finite


@partial(jax.jit, static_argnames="n_cells")
def _all_scores(
    tables: tuple[ReadoutTable, ...],
    scores: Float[Array, "n t"],
    tops: tuple[Int[Array | np.ndarray, " c"], ...],
    *,
    n_cells: int,
) -> tuple[list[Float[Array, " c"]], Bool[Array, ""]]:
    """AUROC, AP, PR-AUC and enrichments of all groups, and whether all scores are finite."""
    values = [jnp.full(n_cells, jnp.nan, jnp.float32)] * (3 + len(tops))
    finite = jnp.array(True)
    for table in tables:
        ranks, good = table_ranks(table, scores.reshape(-1))
        found = [auroc_ranks(ranks), ap_ranking(ranks), pr_auc_trapezoid(ranks)]
        found += [enrichment_factor(ranks, jnp.asarray(top)[table.cell]) for top in tops]
        values = [v.at[table.cell].set(f) for v, f in zip(values, found, strict=True)]
        finite = finite & good
    return values, finite


def _top_counts(layout: ReadoutLayout, fraction: float) -> Int[np.ndarray, " c"]:
    if not 0 < fraction <= 1:
        raise ValueError(f"fractions must lie within (0, 1], found {fraction}")
    # .1 * 30 is 3.0000000000000004 and must not become 4
    top = np.ceil(layout.n_tested.reshape(-1) * fraction - 1e-9)
    return np.maximum(top, 1).astype(np.int32)


def _check(layout: ReadoutLayout, scores: Float[Array, "n t"]) -> None:
    if scores.shape != layout.shape:
        raise ValueError(f"scores have shape {scores.shape}, the layout is of {layout.shape}")


def _refuse_missing(finite: Bool[Array, ""]) -> None:
    if not bool(finite):
        raise ValueError(
            "some tested readouts have no finite score: leave them out (drop_unpredicted) or "
            "predict them"
        )
