"""Jittable scores of instance segmentation: one-to-one matches at IoU thresholds, AP, PQ and AJI.

Everything works on one image and is meant for `jax.vmap`. The host entry for files is
`cellml.metrics.scores.evaluate_labels`; both rest on the same two facts.

For IoU > 1/2 a pair shares more than half of either instance, so that every instance is in one
pair at most: matches are unique and need no assignment step.

For IoU >= 1/2 an instance with two partners P and Q must be covered by them exactly, half by each:
3|A n P| >= |A| + |P| and the same for Q add up to |A| >= |P| + |Q|. P and Q then lie inside A and
have no other partner. So every ambiguity is one instance cut into two equal halves, which is worth
one match of IoU 1/2 whichever half is taken: the Hungarian method finds the same numbers.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cellml.metrics.overlap import Labels, OverlapTable, PixelMask, overlap_table
from cellml.metrics.policy import divide, empty_value

DSB2018_THRESHOLDS = tuple(k / 20 for k in range(10, 20))
"""IoU thresholds 0.50, 0.55 ... 0.95, each the double nearest to its decimal (arange drifts)."""


class MatchCounts(NamedTuple):
    """Sums of one image, or of many: adding two of them pools the images.

    Attributes:
      tp: Matched pairs at each threshold (no axis t for a single threshold).
      fp: Predicted instances without a match.
      fn: True instances without a match.
      iou_sum: Sum of the IoU of the matched pairs.
      overflow: Pixels whose id did not fit `max_instances`; unless it is 0 the rest is wrong.
    """

    tp: Int[Array, "*t"]
    fp: Int[Array, "*t"]
    fn: Int[Array, "*t"]
    iou_sum: Float[Array, "*t"]
    overflow: Int[Array, ""]


class MatchRates(NamedTuple):
    """Scores that follow from `MatchCounts`, each of the shape of its thresholds.

    Attributes:
      precision: tp / (tp + fp).
      recall: tp / (tp + fn).
      f1: 2 tp / (2 tp + fp + fn), also called RQ, the recognition quality.
      ap: tp / (tp + fp + fn), the average precision of DSB2018.
      sq: Mean IoU of the matched pairs, the segmentation quality.
      pq: Panoptic quality, sq * f1.
    """

    precision: Float[Array, "*t"]
    recall: Float[Array, "*t"]
    f1: Float[Array, "*t"]
    ap: Float[Array, "*t"]
    sq: Float[Array, "*t"]
    pq: Float[Array, "*t"]


class AjiSums(NamedTuple):
    """Numerator and denominator of the aggregated Jaccard index; they add over images.

    Attributes:
      intersection: Pixels shared by the true instances and their best predictions.
      union: Pixels of their unions, and of predictions that are nobody's best.
    """

    intersection: Int[Array, ""]
    union: Int[Array, ""]


def match_instances(
    true: Labels,
    pred: Labels,
    *,
    max_instances: int,
    iou_min: int | float | Sequence[float] = 0.5,
    strict: bool = False,
    mask: PixelMask | None = None,
    valid: Bool[Array | np.ndarray, ""] | None = None,
) -> MatchCounts:
    """Counts one-to-one instance matches at one IoU threshold or at several.

    Comparisons are exact, in integers, and equal to those of an optimal assignment.

    Args:
      true: Label image, 0 is background, ids below `max_instances`; gaps are fine.
      pred: Likewise.
      max_instances: Static size of the overlap table, background included.
      iou_min: Static, within [0.5, 1], so that matches are unique; at most 9 decimals count.
      strict: A match needs IoU > `iou_min`; otherwise >= suffices.
      mask: Pixels to count; all, if None.
      valid: False turns all counts into 0 (a padding image).

    Returns:
      Counts, scalar for a single threshold. Two empty images give all zeros.

    Raises:
      ValueError: Shapes or dtypes do not fit, or an option is out of range (at trace time).
    Source: Caicedo et al. 2019, Nat. Methods 16:1247.
    """
    table = overlap_table(true, pred, max_instances=max_instances, mask=mask)
    counts = count_matches(table, n_pixels=true.size, iou_min=iou_min, strict=strict)
    if valid is None:
        return counts
    kept = jnp.asarray(valid)
    return MatchCounts(*(jnp.where(kept, x, jnp.zeros_like(x)) for x in counts))


def count_matches(
    table: OverlapTable,
    *,
    n_pixels: int,
    iou_min: int | float | Sequence[float] = 0.5,
    strict: bool = False,
) -> MatchCounts:
    """Counts one-to-one matches in an overlap table.

    Args:
      table: From `overlap_table`.
      n_pixels: Pixels of the image; bounds the integers that are compared.
      iou_min: Static, within [0.5, 1]: one threshold, or several.
      strict: A match needs IoU > `iou_min`; otherwise >= suffices.

    Returns:
      Counts, scalar for a single threshold.

    Raises:
      ValueError: A threshold is missing, out of range, or has so many decimals that the comparison
        would not be exact in 32 bits.
    """
    single = np.ndim(iou_min) == 0
    fractions = [_fraction(float(t), n_pixels) for t in np.atleast_1d(iou_min)]
    if not fractions:
        raise ValueError("iou_min must name at least one threshold")
    counts = _count_matches(table, tuple(fractions), strict)
    if not single:
        return counts
    tp, fp, fn, iou_sum = (x[0] for x in counts[:4])
    return MatchCounts(tp, fp, fn, iou_sum, counts.overflow)


@partial(jax.jit, static_argnames="empty")
def match_rates(counts: MatchCounts, *, empty: str = "nan") -> MatchRates:
    """Turns counts of one image, or pooled over many, into scores.

    Args:
      counts: From `match_instances`, possibly summed.
      empty: Score where there is neither a true nor a predicted instance: "one", "zero" or "nan".

    Returns:
      Scores in [0, 1]. With instances on one side only, all are 0.

    Raises:
      ValueError: The policy is unknown.
    """
    tp, fp, fn = (x.astype(jnp.float32) for x in (counts.tp, counts.fp, counts.fn))
    defined = tp + fp + fn > 0
    sq = divide(counts.iou_sum, tp, empty="zero")
    f1 = divide(2.0 * tp, 2.0 * tp + fp + fn, empty="zero")
    rates = MatchRates(
        precision=divide(tp, tp + fp, empty="zero"),
        recall=divide(tp, tp + fn, empty="zero"),
        f1=f1,
        ap=divide(tp, tp + fp + fn, empty="zero"),
        sq=sq,
        pq=sq * f1,
    )
    return MatchRates(*(jnp.where(defined, x, empty_value(empty)) for x in rates))


def ap_dsb2018(
    true: Labels,
    pred: Labels,
    *,
    max_instances: int,
    thresholds: Sequence[float] = DSB2018_THRESHOLDS,
    strict: bool = True,
    mask: PixelMask | None = None,
    valid: Bool[Array | np.ndarray, ""] | None = None,
    empty: str = "nan",
) -> Float[Array, ""]:
    """Mean over IoU thresholds of tp / (tp + fp + fn): the score of one image in DSB2018.

    Args:
      true: Label image, 0 is background, ids below `max_instances`; gaps are fine.
      pred: Likewise.
      max_instances: Static size of the overlap table, background included.
      thresholds: Static, each within [0.5, 1].
      strict: A match needs IoU > threshold, as in the competition.
      mask: Pixels to count; all, if None.
      valid: False makes the score NaN (a padding image), which `accumulate.summed` leaves out.
      empty: Score where there is nothing in either image: "one", "zero" or "nan".

    Returns:
      The score in [0, 1]; NaN where an id did not fit `max_instances`.

    Raises:
      ValueError: Shapes or dtypes do not fit, or an option is out of range (at trace time).
    Source: https://www.kaggle.com/c/data-science-bowl-2018, Evaluation; Caicedo et al. 2019,
      Nat. Methods 16:1247.
    """
    counts = match_instances(
        true, pred, max_instances=max_instances, iou_min=tuple(thresholds), strict=strict, mask=mask
    )
    score = match_rates(counts, empty=empty).ap.mean()
    usable = counts.overflow == 0
    if valid is not None:
        usable &= jnp.asarray(valid)
    return jnp.where(usable, score, jnp.nan)


@jax.jit
def aji_sums(table: OverlapTable) -> AjiSums:
    """Returns numerator and denominator of the aggregated Jaccard index (AJI).

    Every true instance takes the prediction of the largest IoU (of equals, the one that shares
    more pixels); a prediction may be taken twice, as in the paper's algorithm 1. A true instance
    that nothing overlaps adds its area to the denominator, and so does a prediction nobody took.

    Args:
      table: From `overlap_table`.

    Returns:
      Two sums of pixels; AJI = intersection / union. IoUs are compared in float32, so that ties
      closer than 1e-7 may be decided by the shared pixels.
    Source: Kumar et al. 2017, IEEE Trans. Med. Imaging 36:1550, algorithm 1.
    """
    inter = table.intersection
    union = table.area_true[:, None] + table.area_pred[None, :] - inter
    ratio = inter.astype(jnp.float32) / jnp.maximum(union, 1).astype(jnp.float32)
    best_ratio = ratio.max(1, keepdims=True)
    candidate = jnp.where((ratio == best_ratio) & (inter > 0), inter, 0)
    best, shared = candidate.argmax(1), candidate.max(1)
    found = shared > 0
    best_union = table.area_true + jnp.where(found, table.area_pred[best] - shared, 0)
    taken = jnp.zeros(found.shape, bool).at[best].max(found)
    return AjiSums(shared.sum(), best_union.sum() + jnp.where(taken, 0, table.area_pred).sum())


def aji(
    true: Labels,
    pred: Labels,
    *,
    max_instances: int,
    mask: PixelMask | None = None,
    valid: Bool[Array | np.ndarray, ""] | None = None,
    empty: str = "nan",
) -> Float[Array, ""]:
    """Aggregated Jaccard index of one image, see `aji_sums`; arguments as in `ap_dsb2018`.

    Returns:
      The score in [0, 1]; NaN where an id did not fit `max_instances` or `valid` is False.

    Raises:
      ValueError: Shapes or dtypes do not fit, or an option is out of range (at trace time).
    """
    table = overlap_table(true, pred, max_instances=max_instances, mask=mask)
    sums = aji_sums(table)
    score = divide(
        sums.intersection.astype(jnp.float32), sums.union.astype(jnp.float32), empty=empty
    )
    usable = table.overflow == 0
    if valid is not None:
        usable &= jnp.asarray(valid)
    return jnp.where(usable, score, jnp.nan)


@partial(jax.jit, static_argnames=("thresholds", "strict"))
def _count_matches(
    table: OverlapTable, thresholds: tuple[Fraction, ...], strict: bool
) -> MatchCounts:
    row_area, column_area = table.area_true[:, None], table.area_pred[None, :]
    # IoU > 1/2 <=> 3 I > A + B. Such pairs are alone in their row: its sum is the pair's own value.
    sure = 3 * table.intersection > row_area + column_area
    inter = jnp.where(sure, table.intersection, 0).sum(1)
    other = jnp.where(sure, column_area, 0).sum(1)
    union = jnp.where(inter > 0, table.area_true + other - inter, 1)
    ratio = inter.astype(jnp.float32) / union.astype(jnp.float32)

    tp, iou_sum = [], []
    for t in thresholds:
        left, right = t.denominator * inter, t.numerator * union
        hit = (left > right) if strict else (left >= right)
        hits = hit.sum(dtype=jnp.int32)
        ious = jnp.where(hit, ratio, 0.0).sum()
        if t == Fraction(1, 2) and not strict:
            halves = _count_halves(table)
            hits, ious = hits + halves, ious + 0.5 * halves.astype(jnp.float32)
        tp.append(hits)
        iou_sum.append(ious)
    n_true = (table.area_true > 0).sum(dtype=jnp.int32)
    n_pred = (table.area_pred > 0).sum(dtype=jnp.int32)
    matched, quality = jnp.stack(tp), jnp.stack(iou_sum)
    return MatchCounts(matched, n_pred - matched, n_true - matched, quality, table.overflow)


def _count_halves(table: OverlapTable) -> Array:
    """Counts the matches of IoU exactly 1/2, one for each instance that is cut into halves.

    The pairs form single edges and stars with two leaves (see the top of the file). With r rows, c
    columns and e pairs, r + c - e counts each of these once.
    """
    half = 3 * table.intersection == table.area_true[:, None] + table.area_pred[None, :]
    half &= table.intersection > 0
    rows, columns = half.any(1).sum(dtype=jnp.int32), half.any(0).sum(dtype=jnp.int32)
    return rows + columns - half.sum(dtype=jnp.int32)


def _fraction(threshold: float, n_pixels: int) -> Fraction:
    """Returns the decimal that a threshold stands for, or says why it cannot be compared."""
    if not 0.5 <= threshold <= 1:
        raise ValueError(f"iou_min must lie within [0.5, 1], found {threshold}")
    fraction = Fraction(f"{threshold:.9f}")
    # The union of two instances may cover the image, and 3 * area is compared as well.
    if max(fraction.denominator, 4) * n_pixels >= 2**31:
        raise ValueError(
            f"iou_min={threshold} on {n_pixels} pixels cannot be compared exactly in 32 bits: "
            "use a threshold of fewer decimals, or evaluate_labels"
        )
    return fraction
