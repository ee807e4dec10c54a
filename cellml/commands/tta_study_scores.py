"""What the study of test-time augmentation measures: one row per checkpoint and image, and sums.

Three results of one network are compared on every image: without TTA, with TTA (the mean of the
de-augmented maps; or, of a model that finds objects one by one, the merge of its objects), and
without TTA but dilated by one pixel. The last one is the baseline of Deep
Retina (3rd in the Data Science Bowl 2018), which found it as good as its TTA; a gain which it
reaches as well says more about small masks than about TTA.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, Integer
from scipy import ndimage
from skimage.segmentation import expand_labels

from cellml.metrics.bootstrap import paired_bootstrap
from cellml.metrics.pixel import iou
from cellml.metrics.scores import evaluate_labels
from cellml.tasks.nucleus_models import Copies

EVERY = "all"
SCORES = ("iou", "ap_dsb2018")
"""Foreground IoU of one image, and mAP_DSB of one image (mean AP over IoU .50 to .95)."""
METHODS = ("none", "tta", "dilated")
COMPARISONS = {
    "delta": ("tta", "none"),
    "delta_dilated": ("dilated", "none"),
    "tta_minus_dilated": ("tta", "dilated"),
}


class StudyModel(NamedTuple):
    """One checkpoint under study.

    Attributes:
      group: Condition that it was trained under, such as "with augmentation".
      checkpoint: Its name.
      epoch: Its place in the training run.
      predict: Record to its transformed copies; copy 0 is the identity.
      instances: Whether TTA merges objects instead of maps.
    """

    group: str
    checkpoint: str
    epoch: int
    predict: Callable[[Mapping[str, Any]], Copies]
    instances: bool = False


class Variant(NamedTuple):
    """One method's result on one image."""

    foreground: Bool[np.ndarray, "h w"]
    labels: Int[np.ndarray, "h w"]


def variants(copies: Copies) -> dict[str, Variant]:
    """The results of all methods from one set of predictions.

    Args:
      copies: What a checkpoint says of one image.

    Returns:
      One result for each of `METHODS`.
    """
    found = {}
    for method, indices in (("none", [0]), ("tta", range(len(copies.probability)))):
        merged = copies.merge(indices)
        found[method] = Variant(merged.foreground, merged.labels)
    # Both dilate by the four neighbours; labels do not grow into each other.
    found["dilated"] = Variant(
        ndimage.binary_dilation(found["none"].foreground),
        np.asarray(expand_labels(found["none"].labels, distance=1)),
    )
    return found


def foreground_iou(true: Integer[np.ndarray, "h w"], pred: Bool[np.ndarray, "h w"]) -> float:
    """Scores the foreground of one image.

    Args:
      true: True labels, 0 is background.
      pred: Predicted foreground.

    Returns:
      Intersection over union; 1 where neither has any foreground.
    """
    return float(iou(true > 0, pred, empty="one"))


def score_rows(
    model: StudyModel, source: Sequence[Mapping[str, Any]], *, preset: str = "kaggle"
) -> Iterator[dict[str, Any]]:
    """Scores a checkpoint on every image.

    Args:
      model: The checkpoint.
      source: Records with id, image, labels and, if known, modality.
      preset: Definition of the instance score, see `cellml.metrics.scores`.
    Yields:
      One row an image, with the columns of `ROW_SCHEMA`. mAP_DSB is NaN where the preset does not
      define it (no nucleus, and none predicted).
    """
    for index in range(len(source)):
        record = source[index]
        true = np.asarray(record["labels"])
        copies = model.predict(record)
        row: dict[str, Any] = {
            "group": model.group,
            "checkpoint": model.checkpoint,
            "epoch": model.epoch,
            "row": index,
            "id": str(record["id"]),
            "modality": str(record.get("modality", "unknown")),
            "mean_variance": float(copies.probability.var(axis=0).mean()),
        }
        for method, found in variants(copies).items():
            scores = evaluate_labels(true, found.labels, preset=preset)
            row["n_true"] = scores.n_true
            row[f"n_pred_{method}"] = scores.n_pred
            row[f"iou_{method}"] = foreground_iou(true, found.foreground)
            row[f"ap_dsb2018_{method}"] = scores.ap_dsb2018
        for score in SCORES:
            for name, (after, before) in COMPARISONS.items():
                row[f"{score}_{name}"] = row[f"{score}_{after}"] - row[f"{score}_{before}"]
        yield row


ROW_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("group", "checkpoint", "id", "modality")),
        *((name, pa.int64()) for name in ("epoch", "row", "n_true")),
        *((f"n_pred_{method}", pa.int64()) for method in METHODS),
        *((f"{s}_{name}", pa.float64()) for s in SCORES for name in (*METHODS, *COMPARISONS)),
        ("mean_variance", pa.float64()),
    ]
)
"""Columns of the table: `<score>_<method>` and `<score>_<comparison>`; `row` counts from 0."""


def summarise_rows(rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> dict[str, Any]:
    """Means, and intervals of the paired differences.

    Args:
      rows: Of all checkpoints, all on the same images.
      seed: Of the bootstrap over images.
    Returns:
      "checkpoints": one entry per group, checkpoint and modality (`"all"` has every image);
      "groups": one entry per group and modality, in which every image counts once, with its mean
      over the group's checkpoints, because checkpoints of one run are not independent.
    """
    checkpoints, groups = [], []
    for group in _distinct(rows, "group"):
        inside = [row for row in rows if row["group"] == group]
        for modality in [EVERY, *sorted(_distinct(inside, "modality"))]:
            part = [row for row in inside if modality in (row["modality"], EVERY)]
            if modality != EVERY and len(part) == len(inside):
                continue  # the only modality: the entry "all" says it
            for name in _distinct(part, "checkpoint"):
                own = [row for row in part if row["checkpoint"] == name]
                entry = {"group": group, "checkpoint": name, "epoch": own[0]["epoch"]}
                checkpoints.append(entry | {"modality": modality} | _summary(own, seed))
            means = _image_means(part)
            entry = {"group": group, "modality": modality}
            entry["n_checkpoints"] = len(_distinct(part, "checkpoint"))
            groups.append(entry | _summary(means, seed))
    return {"checkpoints": checkpoints, "groups": groups}


def _distinct(rows: Sequence[Mapping[str, Any]], column: str) -> list[Any]:
    return list(dict.fromkeys(row[column] for row in rows))


def _image_means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """One row an image: the mean of every score over the checkpoints."""
    names = [f"{s}_{name}" for s in SCORES for name in (*METHODS, *COMPARISONS)]
    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_image.setdefault(row["row"], []).append(row)
    return [
        {name: float(np.mean([row[name] for row in same])) for name in names}
        for same in by_image.values()
    ]


def _summary(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    result: dict[str, Any] = {"n_images": len(rows)}
    for score in SCORES:
        values = {
            name: np.array([row[f"{score}_{name}"] for row in rows], float)
            for name in (*METHODS, *COMPARISONS)
        }
        # An image counts where every method has a score, or the means would not be comparable.
        defined = np.all([np.isfinite(column) for column in values.values()], axis=0)
        entry: dict[str, Any] = {"n_undefined": int(np.sum(~defined))}
        for name, column in values.items():
            kept = column[defined]
            if kept.size == 0:
                entry[name] = None
            elif name in METHODS:
                entry[name] = float(kept.mean())
            else:
                found = paired_bootstrap(seed, kept)
                entry[name] = {
                    "mean": found.mean,
                    "median": float(np.median(kept)),
                    "low95": found.low,
                    "high95": found.high,
                    "share_worse": found.share_worse,
                    "share_better": float(np.mean(kept > 0)),
                }
        result[score] = entry
    return result
