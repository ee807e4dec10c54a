"""Detections to label images at full resolution, on the host."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

OVERLAPS = ("highest", "lowest")


class Instances(NamedTuple):
    """Objects of one image without overlap.

    Attributes:
      labels: int32, 0 is background, 1..k by falling score.
      scores: Of object i + 1.
      probability: Mask probability of the object that a pixel belongs to; of the surest object
        around it in the background; 0 where there is none.
    """

    labels: Int[np.ndarray, "h w"]
    scores: Float[np.ndarray, " k"]
    probability: Float[np.ndarray, "h w"]


def paste(
    boxes: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    masks: Float[np.ndarray, "n m m"],
    valid: Bool[np.ndarray, " n"],
    shape: tuple[int, int],
    *,
    mask_min: float = 0.5,
    overlap: str = "highest",
    whole_px: bool = False,
    area_min_px: int = 1,
) -> Instances:
    """Resamples every mask to its box and paints it; the highest score wins a contested pixel.

    Args:
      boxes: (y0, x0, y1, x1) in px of the image, half-open; may be fractional.
      scores: Any order.
      masks: Probabilities on a grid over the box.
      valid: False leaves a row out.
      shape: Height and width of the image.
      mask_min: A pixel belongs to an object from this probability on.
      overlap: `"highest"`, or `"lowest"`: the lowest score wins, as the nucleus sample of
        matterport/Mask_RCNN and nucleAIzer have it.
      whole_px: Round the boxes to whole pixels first (matterport).
      area_min_px: Objects left with fewer pixels are dropped.
    Returns:
      The objects; labels without gaps.
    Raises:
      ValueError: `overlap` is unknown.
    """
    if overlap not in OVERLAPS:
        raise ValueError(f"overlap: unknown {overlap!r}; known: {', '.join(OVERLAPS)}")
    labels = np.zeros(shape, np.int32)
    probability = np.zeros(shape, np.float32)
    rows = np.flatnonzero(valid)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    # what is painted last wins
    painted = rows[::-1] if overlap == "highest" else rows
    rank = {int(row): i + 1 for i, row in enumerate(rows)}
    for row in painted:
        box = np.rint(boxes[row]) if whole_px else boxes[row]
        place, values = _resample(masks[row], box, shape)
        inside = values >= mask_min
        labels[place][inside] = rank[int(row)]
        around = np.maximum(probability[place], np.minimum(values, np.float32(mask_min)))
        probability[place] = np.where(inside, values, around)
    area = np.bincount(labels.ravel(), minlength=len(rows) + 1)
    kept = area >= area_min_px
    kept[0] = False
    lookup = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return Instances(lookup[labels], scores[rows][kept[1:]], probability)


def _resample(
    mask: Float[np.ndarray, "m m"], box: Float[np.ndarray, " 4"], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], Float[np.ndarray, "a b"]]:
    """The pixels of the image whose centres lie in the box, and the mask's values there."""
    slices, weights = [], []
    for low, high, length in zip(box[:2], box[2:], shape, strict=True):
        first = int(np.clip(np.ceil(low - 0.5), 0, length))
        last = int(np.clip(np.ceil(high - 0.5), first, length))
        slices.append(slice(first, last))
        at = (np.arange(first, last) + 0.5 - low) / max(high - low, 1e-6) * len(mask) - 0.5
        at = np.clip(at, 0, len(mask) - 1)
        lower = np.minimum(at.astype(int), max(len(mask) - 2, 0))
        share = (at - lower).astype(np.float32)
        table = np.zeros((len(at), len(mask)), np.float32)
        table[np.arange(len(at)), lower] += 1 - share
        table[np.arange(len(at)), np.minimum(lower + 1, len(mask) - 1)] += share
        weights.append(table)
    return (slices[0], slices[1]), weights[0] @ mask.astype(np.float32) @ weights[1].T
