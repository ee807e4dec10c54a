"""Scores of label images on the host: named presets, one image after another, then all together."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cellml.metrics.assignment import optimal_pairs
from cellml.metrics.instance import DSB2018_THRESHOLDS
from cellml.metrics.overlap import OverlapPairs, instance_areas, overlap_pairs
from cellml.metrics.policy import EmptyPolicy, empty_value


class Preset(NamedTuple):
    """How matches are counted and averaged.

    Attributes:
      name: Used in messages and tables.
      strict: A match needs IoU > threshold; otherwise >= suffices.
      matching: "unique": every pair above the threshold is a match (thresholds >= 0.5 only, where
        this is one-to-one). "any": a true instance is found if any prediction hits it, and
        fp = n_pred - tp. "optimal": Hungarian assignment with the most matches, then the largest
        IoU.
      pooled: Counts are summed over the images and divided once; otherwise each image is scored
        and the scores are averaged.
      empty: Score of an image with no instance in truth and prediction.
    """

    name: str
    strict: bool
    matching: Literal["unique", "any", "optimal"]
    pooled: bool
    empty: EmptyPolicy


PRESETS = {
    "kaggle": Preset("kaggle", strict=True, matching="unique", pooled=False, empty="nan"),
    "nucleaizer": Preset("nucleaizer", strict=True, matching="any", pooled=False, empty="nan"),
    "stardist": Preset("stardist", strict=False, matching="optimal", pooled=True, empty="zero"),
    "cellpose": Preset("cellpose", strict=False, matching="optimal", pooled=False, empty="nan"),
}
"""The definitions in use, by name.

kaggle: Data Science Bowl 2018. The competition leaves images without instances undefined (0 / 0).
nucleaizer: The evaluation of nucleAIzer, which counts false positives as n_pred - tp: the same
  numbers as kaggle from threshold 0.5 on, and possibly fp < 0 below. Its mean leaves out images
  without a detection; that is not copied: here such images count as 0.
stardist: `stardist.matching.matching_dataset(by_image=False)`.
cellpose: `cellpose.metrics.average_precision`, averaged over images.
"""


@dataclass(frozen=True)
class InstanceScores:
    """Scores of one image, or of many (from `summarise`).

    Attributes:
      preset: Definition that was used.
      thresholds: IoU thresholds, shape (t,).
      n_images: Number of images.
      n_missing: Images without a prediction.
      n_undefined: Images whose score is NaN because neither side has instances.
      n_true: True instances.
      n_pred: Predicted instances.
      tp: Matches at each threshold, int64, shape (t,); for many images always their sum.
      fp: Predicted instances without a match, shape (t,).
      fn: True instances without a match, shape (t,).
      precision: tp / (tp + fp), shape (t,).
      recall: tp / (tp + fn), shape (t,).
      f1: 2 tp / (2 tp + fp + fn), shape (t,).
      ap: tp / (tp + fp + fn), shape (t,).
      mean_matched_iou: Mean IoU of the matches, 0 without any, shape (t,).
      ap_dsb2018: Mean of `ap` over the thresholds.
      pq: Panoptic quality at IoU 0.5 (Kirillov et al. 2019), whatever the thresholds.
      sq: Its segmentation quality: mean IoU of the matches at 0.5.
      rq: Its recognition quality: f1 at 0.5.
      aji: Aggregated Jaccard index (Kumar et al. 2017), see `cellml.metrics.instance.aji_sums`.
      sums: What pooling adds up: tp, fp, fn and sum of IoU at 0.5, then numerator and denominator
        of AJI, then the sum of IoU at each threshold; shape (6 + t,).
    """

    preset: Preset
    thresholds: np.ndarray
    n_images: int
    n_missing: int
    n_undefined: int
    n_true: int
    n_pred: int
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    ap: np.ndarray
    mean_matched_iou: np.ndarray
    ap_dsb2018: float
    pq: float
    sq: float
    rq: float
    aji: float
    sums: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """Returns plain numbers, lists and strings, with NaN as None, as JSON wants them."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sums"}
        values["preset"] = self.preset.name
        return {name: _plain(value) for name, value in values.items()}


_RATES = ("precision", "recall", "f1", "ap", "mean_matched_iou")
_SCALARS = ("ap_dsb2018", "pq", "sq", "rq", "aji")


def evaluate_labels(
    true: ArrayLike,
    pred: ArrayLike | None,
    *,
    preset: str | Preset = "kaggle",
    thresholds: Sequence[float] | np.ndarray = DSB2018_THRESHOLDS,
    empty: EmptyPolicy | None = None,
) -> InstanceScores:
    """Scores one predicted label image against the truth.

    Args:
      true: Label image of any shape; 0 is background, ids are whole numbers of any integer or float
        dtype and need not be contiguous.
      pred: Likewise, or None for a missing prediction: all true instances are then missed, and an
        image without any scores 0.
      preset: Name in `PRESETS`, or a preset of your own.
      thresholds: IoU thresholds within (0, 1], rounded to 9 decimals so that `numpy.arange` does
        no harm; the preset "kaggle" takes 0.5 and above only.
      empty: Replaces the preset's policy for images without instances.

    Returns:
      Counts and scores.

    Raises:
      ValueError: The shapes differ (the message names both), a label is negative or not whole (the
        value is named), or an option is out of range.
    Source: Caicedo et al. 2019, Nat. Methods 16:1247; Kirillov et al. 2019, CVPR; Kumar et al.
      2017, IEEE Trans. Med. Imaging 36:1550.
    """
    rule = _resolve_preset(preset, empty)
    levels = _check_thresholds(thresholds, rule)
    if pred is None:
        nothing = np.zeros(0, np.int64)
        pairs = OverlapPairs(instance_areas(true, "true"), nothing, nothing, nothing, nothing)
    else:
        pairs = overlap_pairs(true, pred)
    tp, iou_sum = _count_matches(pairs, np.append(levels, 0.5), rule)
    n_true, n_pred = pairs.area_true.size, pairs.area_pred.size
    half = [tp[-1], n_pred - tp[-1], n_true - tp[-1], iou_sum[-1]]
    counts = (tp[:-1], n_pred - tp[:-1], n_true - tp[:-1])
    sums = np.concatenate([half, _aji_sums(pairs), iou_sum[:-1]])
    nothing_at_all = n_true + n_pred == 0
    blank = "zero" if pred is None else rule.empty
    rates = _rates(counts, sums, empty_value(blank) if nothing_at_all else None)
    return InstanceScores(
        preset=rule,
        thresholds=levels,
        n_images=1,
        n_missing=int(pred is None),
        n_undefined=int(nothing_at_all and blank == "nan"),
        n_true=n_true,
        n_pred=n_pred,
        tp=counts[0],
        fp=counts[1],
        fn=counts[2],
        sums=sums,
        **rates,
    )


def summarise(
    scores: Sequence[InstanceScores], preset: str | Preset | None = None
) -> InstanceScores:
    """Joins the scores of many images as the preset says: a mean of scores, or pooled counts.

    Args:
      scores: From `evaluate_labels`, all with one preset and one set of thresholds.
      preset: The preset that is expected; None takes that of the scores.

    Returns:
      Counts are sums. Scores are means over the images that have one (`n_undefined` have none), or
      follow from the summed counts if the preset pools.

    Raises:
      ValueError: There is nothing to join, or presets or thresholds differ.
    """
    if not scores:
        raise ValueError("summarise needs the scores of at least one image, found none")
    rule, levels = scores[0].preset, scores[0].thresholds
    name = preset.name if isinstance(preset, Preset) else preset
    for s in scores:
        if s.preset != rule or name not in (None, s.preset.name):
            raise ValueError(f"scores were made with {s.preset}, expected {name or rule}")
        if not np.array_equal(s.thresholds, levels):
            raise ValueError(f"scores differ in thresholds: {levels} and {s.thresholds}")
    counts = tuple(np.sum([getattr(s, f) for s in scores], axis=0) for f in ("tp", "fp", "fn"))
    sums = np.sum([s.sums for s in scores], axis=0)
    n_true, n_pred = sum(s.n_true for s in scores), sum(s.n_pred for s in scores)
    if rule.pooled:
        rates = _rates(counts, sums, empty_value(rule.empty) if n_true + n_pred == 0 else None)
    else:
        rates = {field: _mean_defined(scores, field) for field in (*_RATES, *_SCALARS)}
    return InstanceScores(
        preset=rule,
        thresholds=levels,
        n_images=sum(s.n_images for s in scores),
        n_missing=sum(s.n_missing for s in scores),
        n_undefined=sum(s.n_undefined for s in scores),
        n_true=n_true,
        n_pred=n_pred,
        tp=counts[0],
        fp=counts[1],
        fn=counts[2],
        sums=sums,
        **rates,
    )


def _resolve_preset(preset: str | Preset, empty: str | None) -> Preset:
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"preset must be one of {sorted(PRESETS)}, found {preset!r}")
        preset = PRESETS[preset]
    if empty is not None:
        preset = preset._replace(empty=empty)
    empty_value(preset.empty)  # refuses an unknown policy
    return preset


def _check_thresholds(thresholds: Sequence[float] | np.ndarray, rule: Preset) -> np.ndarray:
    levels = np.array([round(float(t), 9) for t in thresholds])
    if not levels.size or not ((levels > 0) & (levels <= 1)).all():
        raise ValueError(
            f"thresholds must be one or more numbers within (0, 1], found {thresholds}"
        )
    if rule.matching == "unique" and levels.min() < 0.5:
        raise ValueError(
            f"the preset {rule.name!r} counts pairs without an assignment, which is one-to-one "
            f"from threshold 0.5 on; found {levels.min()}"
        )
    return levels


def _count_matches(
    pairs: OverlapPairs, levels: np.ndarray, rule: Preset
) -> tuple[np.ndarray, np.ndarray]:
    """Returns matches and the sum of their IoU at each threshold, see `cellml.metrics.instance`."""
    # Two fractions a / b and c / d round to one double only if b * d > 2**53: comparing quotients
    # with k / 20 is exact for any area below 2**48.
    iou = pairs.intersection / pairs.union
    exceeds = np.greater if rule.strict else np.greater_equal
    tp, iou_sum = np.zeros(levels.size, np.int64), np.zeros(levels.size)
    for k, level in enumerate(levels):
        matched = iou[exceeds(iou, level)]
        if level < 0.5 and rule.matching == "any":
            best = np.zeros(pairs.area_true.size)
            np.maximum.at(best, pairs.row, iou)
            matched = best[exceeds(best, level)]
        elif level < 0.5:
            matched = iou[optimal_pairs(pairs, iou, exceeds(iou, level))]
        tp[k], iou_sum[k] = matched.size, matched.sum()
        if level == 0.5 and not rule.strict:  # instances cut into halves count once
            half = iou == 0.5
            n_ends = np.unique(pairs.row[half]).size + np.unique(pairs.column[half]).size
            extra = 2 * np.count_nonzero(half) - n_ends
            tp[k], iou_sum[k] = tp[k] - extra, iou_sum[k] - 0.5 * extra
    return tp, iou_sum


def _aji_sums(pairs: OverlapPairs) -> tuple[int, int]:
    """Numerator and denominator of AJI, by the rules of `cellml.metrics.instance.aji_sums`."""
    union = pairs.union
    order = np.lexsort((-pairs.intersection, -pairs.intersection / union, pairs.row))
    rows, first = np.unique(pairs.row[order], return_index=True)
    best = order[first]
    alone_true = np.delete(pairs.area_true, rows).sum()
    alone_pred = np.delete(pairs.area_pred, pairs.column[best]).sum()
    return int(pairs.intersection[best].sum()), int(union[best].sum() + alone_true + alone_pred)


def _rates(counts: Sequence[np.ndarray], sums: np.ndarray, blank: float | None) -> dict[str, Any]:
    """Returns all scores that follow from sums; all are `blank` unless that is None."""
    tp, fp, fn = counts
    half_tp, half_fp, half_fn, half_iou, aji_intersection, aji_union = sums[:6]
    rates = {
        "precision": _divide(tp, tp + fp),
        "recall": _divide(tp, tp + fn),
        "f1": _divide(2 * tp, 2 * tp + fp + fn),
        "ap": _divide(tp, tp + fp + fn),
        "mean_matched_iou": _divide(sums[6:], tp),
    }
    sq, rq = _divide(half_iou, half_tp), _divide(2 * half_tp, 2 * half_tp + half_fp + half_fn)
    scalars = (rates["ap"].mean(), sq * rq, sq, rq, _divide(aji_intersection, aji_union))
    rates |= dict(zip(_SCALARS, map(float, scalars), strict=True))
    if blank is None:
        return rates
    return {k: np.full_like(v, blank) if k in _RATES else blank for k, v in rates.items()}


def _divide(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray:
    """Divides in float64; 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def _mean_defined(scores: Sequence[InstanceScores], field: str) -> Any:
    """Mean over the images that have a score; NaN if none has."""
    values = [getattr(s, field) for s in scores if not s.n_undefined]
    if not values:
        return getattr(scores[0], field)
    mean = np.mean(values, axis=0)
    return mean if field in _RATES else float(mean)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()]
    if isinstance(value, float) and np.isnan(value):
        return None
    return value
