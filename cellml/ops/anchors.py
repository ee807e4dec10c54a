"""Anchors of the region proposal network: boxes of fixed sizes around the cells of a pyramid."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32


def anchor_boxes(
    image_shape: tuple[int, int],
    scales: Sequence[float],
    ratios: Sequence[float],
    strides: Sequence[int],
    *,
    anchor_stride: int = 1,
) -> Float32[np.ndarray, "n 4"]:
    """Anchors of all levels, as a constant on the host.

    Args:
      image_shape: (h, w) in px of the image that the network sees.
      scales: Square root of the anchors' area in px, one a level.
      ratios: Width over height; the area does not depend on it.
      strides: Pixels between the cells of each level, which has ceil(h / stride) rows of cells.
      anchor_stride: Anchors at every so many cells.
    Returns:
      Boxes in the order level, y, x, ratio; centres at multiples of the stride, so that the first
      anchors of each level reach out of the image by half their size. Not clipped. With three
      ratios and strides 4 to 64: 65,472 boxes at 512 x 512, 261,888 at 1,024 x 1,024.
    Raises:
      ValueError: Not one scale a stride, or something is not positive.
    Source: matterport/Mask_RCNN, `generate_pyramid_anchors`.
    """
    if len(scales) != len(strides):
        raise ValueError(
            f"anchors: one scale a level is needed, found {len(scales)} scales and "
            f"{len(strides)} strides"
        )
    if min(*image_shape, anchor_stride, *scales, *ratios, *strides) <= 0:
        raise ValueError(
            f"anchors: image shape {image_shape}, scales {scales}, ratios {ratios}, strides "
            f"{strides}, anchor stride {anchor_stride} have to be positive"
        )
    levels = [
        _level_anchors(image_shape, scale, ratios, stride, anchor_stride)
        for scale, stride in zip(scales, strides, strict=True)
    ]
    return np.concatenate(levels).astype(np.float32)


def _level_anchors(
    image_shape: tuple[int, int],
    scale: float,
    ratios: Sequence[float],
    stride: int,
    anchor_stride: int,
) -> np.ndarray:
    """Anchors of one level, float64, shape (n, 4)."""
    root = np.sqrt(np.asarray(ratios, np.float64))
    sides = np.stack([scale / root, scale * root], axis=-1)  # (ratio, 2): height, width
    rows, columns = (
        np.arange(0, -(-side // stride), anchor_stride, dtype=np.float64) * stride
        for side in image_shape
    )
    centers = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None]
    boxes = np.concatenate([centers - 0.5 * sides, centers + 0.5 * sides], axis=-1)
    return boxes.reshape(-1, 4)
