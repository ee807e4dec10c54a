"""Instances to training maps, and predicted maps back to instances. Host side (SciPy).

Three maps a pixel, in this order where all are used:
  foreground: 1 inside a nucleus.
  boundary: 1 where two nuclei touch or nearly touch (both within `reach_px`).
  distance: distance to the nucleus' edge over the nucleus' largest such distance; 1 at its core.
"""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool, Float, Integer
from skimage.segmentation import watershed

HEADS = ("foreground", "boundary", "distance")


def contact_mask(
    labels: Integer[np.ndarray, "h w"], *, reach_px: int = 2
) -> Bool[np.ndarray, "h w"]:
    """Pixels with two different nuclei within `reach_px` (Chebyshev distance)."""
    size = 2 * reach_px + 1
    largest = ndi.maximum_filter(labels, size=size)
    # The smallest non-zero label around: background must not win the minimum.
    top = np.iinfo(labels.dtype).max
    smallest = ndi.minimum_filter(np.where(labels == 0, top, labels), size=size)
    return (largest > 0) & (smallest != top) & (smallest != largest)


def normalised_distance(labels: Integer[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance to the edge of the own nucleus over its maximum there, in (0, 1]; 0 outside.

    The image's own border is no edge: a nucleus that it cuts keeps its core at the border.
    """
    out = np.zeros(labels.shape, np.float32)
    for label, box in enumerate(ndi.find_objects(labels), start=1):
        if box is None:
            continue
        inside = labels[box] == label
        # One ring of background around the box, except at the image's border.
        pad = [(int(s.start > 0), int(s.stop < n)) for s, n in zip(box, labels.shape, strict=True)]
        padded = np.pad(inside, pad)
        if padded.all():
            out[box][inside] = 1.0
            continue
        distance = ndi.distance_transform_edt(padded)[
            tuple(slice(p[0], p[0] + n) for p, n in zip(pad, inside.shape, strict=True))
        ]
        out[box][inside] = (distance[inside] / distance[inside].max()).astype(np.float32)
    return out


def training_maps(
    labels: Integer[np.ndarray, "h w"], heads: Sequence[str] = HEADS, *, touch_weight: float = 4.0
) -> tuple[Float[np.ndarray, "h w k"], Float[np.ndarray, "h w"]]:
    """Targets and pixel weights for one labelled field.

    Args:
      labels: Instance labels, 0 is background.
      heads: Which maps, in which order; names of `HEADS`.
      touch_weight: Extra weight of pixels where nuclei touch.
    Returns:
      Targets in [0, 1], and weights: 1, up to 3 in small nuclei (an object counts in the metric
      whatever its size), plus `touch_weight` at contacts.
    Raises:
      ValueError: Unknown head.
    """
    if unknown := [head for head in heads if head not in HEADS]:
        raise ValueError(f"heads: unknown {unknown}; known: {', '.join(HEADS)}")
    contact = contact_mask(labels)
    maps = {
        "foreground": lambda: labels > 0,
        "boundary": lambda: contact,
        "distance": lambda: normalised_distance(labels),
    }
    target = np.stack([maps[head]().astype(np.float32) for head in heads], axis=-1)
    area_px = np.bincount(labels.ravel())
    area_px[0] = 400
    small = np.clip(np.sqrt(400.0 / np.maximum(area_px, 1)), 1.0, 3.0).astype(np.float32)
    # The rim of a small nucleus needs the weight as much as its inside.
    weight = ndi.maximum_filter(small[labels], size=3) + np.float32(touch_weight) * contact
    return target, weight.astype(np.float32)


def labels_from_maps(
    maps: Float[np.ndarray, "h w k"],
    heads: Sequence[str] = HEADS,
    *,
    foreground_min: float = 0.5,
    seed_distance_min: float = 0.5,
    seed_boundary_max: float = 0.5,
    area_min_px: int = 12,
    smooth_px: float = 0.0,
    score_min: float = 0.0,
) -> Integer[np.ndarray, "h w"]:
    """Separates nuclei by a watershed from seeds.

    Seeds are the connected parts of the foreground whose `distance` is above
    `seed_distance_min` and whose `boundary` is below `seed_boundary_max`, as far as these heads
    exist. A piece of foreground without a seed becomes a nucleus of its own. What the network is
    unsure of on the whole (`score_min`) is no nucleus.

    Args:
      maps: Probabilities in [0, 1].
      heads: Names of the last axis; `foreground` must be among them.
      foreground_min: Inclusive threshold of a nucleus' pixels.
      seed_distance_min: Inclusive; ignored without a distance head.
      seed_boundary_max: Exclusive; ignored without a boundary head.
      area_min_px: Smaller nuclei are dropped.
      smooth_px: Standard deviation of a Gaussian over distance and boundary; 0 leaves them alone.
        A network with a strided stem leaves stripes of its stride's period in these maps, and
        a stripe at a threshold splits a seed. The foreground, hence the outline, stays as it is.
      score_min: Nuclei whose mean foreground probability is lower are dropped.
    Returns:
      int32 labels 1..n without gaps, 0 is background.
    Raises:
      ValueError: Channels and heads do not fit, or `smooth_px` is negative.
    """
    if maps.shape[-1] != len(heads) or "foreground" not in heads:
        raise ValueError(f"maps: expected heads {tuple(heads)}, found {maps.shape[-1]} channels")
    if smooth_px < 0:
        raise ValueError(f"smooth_px must not be negative, found {smooth_px}")
    named = {head: maps[..., i] for i, head in enumerate(heads)}
    if smooth_px > 0:
        for head in {"boundary", "distance"} & set(heads):
            named[head] = ndi.gaussian_filter(named[head], smooth_px)
    mask = named["foreground"] >= foreground_min
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    core = mask.copy()
    landscape = 1.0 - named["foreground"]
    if "boundary" in named:
        core &= named["boundary"] < seed_boundary_max
        landscape = landscape + named["boundary"]
    if "distance" in named:
        core &= named["distance"] >= seed_distance_min
        landscape = landscape - named["distance"]
    seeds, n_seeds = ndi.label(core)
    pieces, _ = ndi.label(mask)
    seeded = np.zeros(pieces.max() + 1, bool)
    seeded[pieces[seeds > 0]] = True
    orphan = (pieces > 0) & ~seeded[pieces]
    if orphan.any():
        extra, _ = ndi.label(orphan)
        seeds = np.where(orphan, extra + n_seeds, seeds)
    labels = watershed(landscape, seeds, mask=mask).astype(np.int32)
    if score_min > 0:
        labels = drop_unsure(labels, named["foreground"], score_min)
    return drop_small(labels, area_min_px)


def drop_unsure(
    labels: Integer[np.ndarray, "h w"], foreground: Float[np.ndarray, "h w"], score_min: float
) -> Integer[np.ndarray, "h w"]:
    """Removes nuclei that the network is not sure of; the others keep their label.

    Args:
      labels: 0 is background.
      foreground: Probability of every pixel.
      score_min: Smallest mean probability of a nucleus that stays.
    Returns:
      The labels, with 0 in place of those removed.
    """
    flat = labels.ravel()
    area_px = np.bincount(flat)
    total = np.bincount(flat, weights=foreground.ravel())
    return np.where((total >= score_min * area_px)[labels], labels, 0).astype(labels.dtype)


def drop_small(labels: Integer[np.ndarray, "h w"], area_min_px: int) -> Integer[np.ndarray, "h w"]:
    """Removes labels of fewer than `area_min_px` pixels and renumbers the rest 1..n in order."""
    area_px = np.bincount(labels.ravel())
    keep = area_px >= max(area_min_px, 1)
    keep[0] = False
    number = np.zeros(len(area_px), np.int32)
    number[keep] = np.arange(1, keep.sum() + 1, dtype=np.int32)
    return number[labels]
