"""A model of somebody who annotates: lazy contours, and brush strokes that correct an outline.

It answers AnnotatorJ's question, is it faster and better, without a person: masks of the truth are
outlined carelessly, the assist makes its proposal, and the strokes are counted until the outline is
good enough. It is a model: it neither measures seconds nor tires.

The lazy contour. The outline as seen from the centroid, R(angle), becomes

    R(angle) * (1 + s) + noise(angle),   moved by (dx, dy)

with s ~ N(size, size_sd), dx and dy ~ N(0, offset * d), d the diameter of the disc of equal area,
and noise a smooth periodic function (waves 2 to 6 around the object, random phases) of standard
deviation `max(noise * d / 2, tremor_px)`. A shape that is not star-shaped loses its bays, as a lazy
hand would have it.

The correction. One stroke of a round brush fixes, of the largest connected region that is wrong
(missing or too much), what lies under one disc; the disc is put where it fixes most. Nothing else
is touched, so a stroke is careful and short.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool

from cellml.annotate.assist import mask_iou

ANGLES = 72
WAVES = np.arange(2, 7)
STROKES_MAX = 200
BRUSH_PX = 5.0
"""Radius of the brush."""


@dataclass(frozen=True)
class LazyHand:
    """How careless a contour is drawn, see the module's docstring.

    Attributes:
      size: Mean relative error of size; above 0 the contour encloses the object loosely.
      size_sd: Its standard deviation.
      offset: Standard deviation of the displacement along each axis, in diameters.
      noise: Standard deviation of the outline's noise, in radii.
      tremor_px: The noise is at least this, however small the object.
    """

    size: float = 0.10
    size_sd: float = 0.10
    offset: float = 0.06
    noise: float = 0.10
    tremor_px: float = 1.0


def lazy_contour(
    rng: np.random.Generator, mask: Bool[np.ndarray, "h w"], hand: LazyHand | None = None
) -> list[tuple[float, float]]:
    """Outlines an object carelessly.

    Args:
      rng: Source of randomness, advanced.
      mask: One object.
      hand: How careless; None for the default.

    Returns:
      Points (x, y) of a closed line, in pixels of the mask's image, pixel centres at + 0.5.

    Raises:
      ValueError: The mask is empty.
    """
    hand = hand or LazyHand()
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("lazy_contour: the mask is empty")
    y, x = rows.mean() + 0.5, columns.mean() + 0.5
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    radii = _radii(rows + 0.5 - y, columns + 0.5 - x, angles)
    diameter = float(np.sqrt(4 * len(rows) / np.pi))
    phases = rng.uniform(0, 2 * np.pi, len(WAVES))
    waves = np.cos(np.outer(angles, WAVES) + phases).sum(axis=1) / np.sqrt(len(WAVES) / 2)
    noise = max(hand.noise * diameter / 2, hand.tremor_px) * waves
    radii = radii * (1 + rng.normal(hand.size, hand.size_sd)) + noise
    dy, dx = rng.normal(0, hand.offset * diameter, 2)
    # even a lazy line goes around something
    radii = np.maximum(radii, 0.25 * diameter)
    return [
        (float(x + dx + r * np.cos(a)), float(y + dy + r * np.sin(a)))
        for r, a in zip(radii, angles, strict=True)
    ]


def count_strokes(
    found: Bool[np.ndarray, "h w"],
    truth: Bool[np.ndarray, "h w"],
    *,
    goals: Sequence[float],
    radius_px: float = BRUSH_PX,
) -> list[int]:
    """Counts the strokes that bring an outline up to each goal.

    Args:
      found: The outline to be corrected.
      truth: What it should be, not empty.
      goals: IoU, each within (0, 1].
      radius_px: Of the brush.

    Returns:
      Strokes to the first IoU that reaches each goal, in the order of the goals; at most
      `STROKES_MAX`.

    Raises:
      ValueError: A goal is out of range, or the truth is empty.
    """
    if not truth.any() or not all(0 < goal <= 1 for goal in goals):
        raise ValueError(f"expected a truth with pixels and goals within (0, 1], found {goals}")
    axis = np.arange(-int(radius_px), int(radius_px) + 1)
    brush = (np.hypot(axis[:, None], axis[None, :]) <= radius_px).astype(np.float32)
    box = ndi.find_objects((found | truth).astype(np.int32))[0]
    pad = brush.shape[0]
    now, goal = (np.pad(one[box], pad) for one in (found, truth))
    counts: list[int | None] = [None] * len(goals)
    for stroke in range(STROKES_MAX + 1):
        iou = mask_iou(now, goal)
        counts = [
            stroke if done is None and iou >= wanted else done
            for done, wanted in zip(counts, goals, strict=True)
        ]
        if all(done is not None for done in counts):
            break
        fix = _best_stroke(now, goal, brush)
        now = np.where(fix, goal, now)
    return [STROKES_MAX if done is None else done for done in counts]


def _best_stroke(
    now: Bool[np.ndarray, "h w"], goal: Bool[np.ndarray, "h w"], brush: np.ndarray
) -> Bool[np.ndarray, "h w"]:
    """The pixels that one stroke fixes."""
    missing, n_missing = ndi.label(goal & ~now)
    surplus, _ = ndi.label(now & ~goal)
    regions = np.where(surplus > 0, surplus + n_missing, missing)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    region = regions == sizes.argmax()
    box = ndi.find_objects(region.astype(np.int32))[0]
    half = brush.shape[0] // 2
    grown = tuple(slice(max(0, s.start - half), s.stop + half) for s in box)
    gain = ndi.convolve(region[grown].astype(np.float32), brush, mode="constant")
    row, column = np.unravel_index(gain.argmax(), gain.shape)
    row, column = row + grown[0].start, column + grown[1].start
    fix = np.zeros(region.shape, bool)
    place = np.s_[row - half : row + half + 1, column - half : column + half + 1]
    fix[place] = region[place] & (brush > 0)
    return fix


def _radii(dy: np.ndarray, dx: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Distance of the outermost pixel in every direction; gaps are bridged."""
    radius = np.hypot(dy, dx) + 0.5
    sector = np.round(np.arctan2(dy, dx) / (2 * np.pi) * len(angles)).astype(int) % len(angles)
    far = np.zeros(len(angles))
    np.maximum.at(far, sector, radius)
    known = np.flatnonzero(far > 0)
    return np.interp(np.arange(len(angles)), known, far[known], period=len(angles))
