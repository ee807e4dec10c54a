"""Finds the cell and its nucleus in crops of single cells, for `cellml.data.cell_measurements`.

Meant for measuring, not for segmenting fields: one object in the middle of each crop, with simple
thresholds, thousands of crops a minute. Stacks are labelled as volumes whose planes do not touch.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

BINS = 256
"""Of the histograms in which Otsu's threshold is found."""

SMOOTHING = 1 / 96
"""Standard deviation of the blur before a threshold, as a share of the crop's side."""

IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)


class CellObjects(NamedTuple):
    """Masks of n cells. A cell that was not found is empty, with its parts.

    Attributes:
      cells: The whole cells.
      nuclei: Within the cells.
      cytoplasm: The cells without their nuclei.
    """

    cells: Bool[np.ndarray, "n s s"]
    nuclei: Bool[np.ndarray, "n s s"]
    cytoplasm: Bool[np.ndarray, "n s s"]


def find_objects(
    planes: Float[np.ndarray, "n c s s"], masks: Bool[np.ndarray, "n s s"] | None, *, nucleus: int
) -> CellObjects:
    """Finds cells and nuclei.

    With masks, the nucleus is the largest piece above Otsu's threshold (of the mask's pixels) in
    the channel of the nuclei. Without, it is the piece nearest to the centre of the crop; the cell
    is what is above Otsu's threshold in the mean of all channels, connected with the nucleus, and
    nearer to it than to other nuclei.

    Args:
      planes: Intensities.
      masks: The cells, if they are known.
      nucleus: Channel of the nuclei.

    Returns:
      Masks; holes are filled where no mask was given.
    """
    sigma = max(planes.shape[-1] * SMOOTHING, 0.5)
    dna = ndimage.gaussian_filter(planes[:, nucleus], (0, sigma, sigma))
    if masks is not None:
        inside = dna > otsu_thresholds(dna, masks)[:, None, None]
        labels = label_planes(inside & masks)
        nuclei = fill_holes(labels == _largest(labels)[:, None, None]) & masks
        nuclei &= np.asarray(masks.any((1, 2)))[:, None, None]
        return CellObjects(masks, nuclei, masks & ~nuclei)
    everywhere = np.ones(dna.shape, bool)
    seeds = label_planes(dna > otsu_thresholds(dna, everywhere)[:, None, None])
    own = _nearest_to_centre(seeds)
    mean = ndimage.gaussian_filter(_even_mean(planes), (0, 2 * sigma, 2 * sigma))
    foreground = mean > otsu_thresholds(mean, everywhere)[:, None, None]
    nuclei = fill_holes((seeds == own[:, None, None]) & (own > 0)[:, None, None])
    cells = (foreground & _nearest_to_own(seeds, own)) | nuclei
    pieces = label_planes(cells)
    piece = _label_under(pieces, nuclei)
    cells = fill_holes((pieces == piece[:, None, None]) & (piece > 0)[:, None, None])
    return CellObjects(cells, nuclei, cells & ~nuclei)


def otsu_thresholds(
    planes: Float[np.ndarray, "n s s"], masks: Bool[np.ndarray, "n s s"]
) -> Float[np.ndarray, " n"]:
    """Otsu's threshold of the masked pixels of each plane.

    Args:
      planes: Intensities.
      masks: Pixels that count.

    Returns:
      Upper edge of the last bin of the darker class; infinity where no pixel counts, and the
      intensity itself where all are equal: nothing is above.
    """
    n = len(planes)
    low = np.where(masks, planes, np.inf).min((1, 2), initial=np.inf).astype(np.float64)
    high = np.where(masks, planes, -np.inf).max((1, 2), initial=-np.inf).astype(np.float64)
    there = masks.any((1, 2))
    low, high = np.where(there, low, 0), np.where(there, high, 0)
    width = np.where(high > low, (high - low) / BINS, 1)
    which, y, x = np.nonzero(masks)
    bins = ((planes[which, y, x] - low[which]) / width[which]).astype(np.int64)
    bins = np.clip(bins, 0, BINS - 1)
    histogram = np.bincount(which * BINS + bins, minlength=n * BINS).reshape(n, BINS)
    below = histogram.cumsum(1).astype(np.float64)
    total = (histogram * np.arange(BINS)).cumsum(1).astype(np.float64)
    above = below[:, -1:] - below
    defined = (below > 0) & (above > 0)
    difference = total / np.maximum(below, 1) - (total[:, -1:] - total) / np.maximum(above, 1)
    between = np.where(defined, below * above * difference**2, -1.0)
    best = between.argmax(1)
    return np.where(high > low, low + (best + 1) * width, np.where(there, high, np.inf))


def label_planes(stack: Bool[np.ndarray, "n s s"]) -> Int[np.ndarray, "n s s"]:
    """Labels the pieces (sides touch) of all planes, 1, 2, ... through the whole stack."""
    if not stack.size:
        return np.zeros(stack.shape, np.int32)
    labels = np.empty(stack.shape, np.int32)
    ndimage.label(stack, IN_PLANE, output=labels)
    return labels


def fill_holes(stack: Bool[np.ndarray, "n s s"]) -> Bool[np.ndarray, "n s s"]:
    """Fills the holes of objects: background that is not connected with the plane's border."""
    labels = label_planes(~stack)
    if not labels.size:
        return stack
    outside = np.zeros(int(labels.max()) + 1, bool)
    for side in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outside[side] = True
    outside[0] = False
    return ~outside[labels]


def _label_planes_of(labels: Int[np.ndarray, "n s s"]) -> tuple[Int[np.ndarray, " m"], int]:
    """Plane of every label (that of 0 says nothing), and the number of labels with 0."""
    plane = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    which, y, x = np.nonzero(labels)
    plane[labels[which, y, x]] = which
    return plane, plane.size


def _largest(labels: Int[np.ndarray, "n s s"]) -> Int[np.ndarray, " n"]:
    """Label with most pixels of each plane, -1 where there is none."""
    plane, count = _label_planes_of(labels)
    size = np.bincount(labels.reshape(-1), minlength=count)
    order = np.argsort(size[1:], kind="stable") + 1
    found = np.full(len(labels), -1)
    found[plane[order]] = order  # the last one, the largest, stays
    return found


def _nearest_to_centre(labels: Int[np.ndarray, "n s s"]) -> Int[np.ndarray, " n"]:
    """Label with the pixel nearest to the centre of each plane, 0 where there is none."""
    offset = np.arange(labels.shape[1]) - labels.shape[1] // 2
    distance = np.where(
        labels > 0, offset[:, None] ** 2 + offset[None] ** 2, np.iinfo(np.int64).max
    )
    flat = distance.reshape(len(labels), -1)
    nearest = flat.argmin(1) if flat.size else np.zeros(0, np.int64)
    return np.take_along_axis(labels.reshape(flat.shape), nearest[:, None], 1)[:, 0].astype(
        np.int64
    )


def _nearest_to_own(
    seeds: Int[np.ndarray, "n s s"], own: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, "n s s"]:
    """Pixels whose nearest seed of the plane is the own one."""
    result = np.ones(seeds.shape, bool)
    others = ((seeds > 0) & (seeds != own[:, None, None])).any((1, 2))
    for i in np.flatnonzero(others):
        y, x = ndimage.distance_transform_edt(
            seeds[i] == 0, return_distances=False, return_indices=True
        )
        result[i] = seeds[i][y, x] == own[i]
    return result


def _label_under(
    labels: Int[np.ndarray, "n s s"], nuclei: Bool[np.ndarray, "n s s"]
) -> Int[np.ndarray, " n"]:
    """Label of the piece in which the nucleus lies, 0 without a nucleus."""
    return np.where(nuclei, labels, 0).max((1, 2), initial=0).astype(np.int64)


def _even_mean(planes: Float[np.ndarray, "n c s s"]) -> Float[np.ndarray, "n s s"]:
    """Mean over the channels after each was scaled to its own range."""
    low = planes.min((2, 3), keepdims=True, initial=np.inf)
    high = planes.max((2, 3), keepdims=True, initial=-np.inf)
    scale = np.where(high > low, high - low, np.float32(1))
    return ((planes - low) / scale).mean(1)
