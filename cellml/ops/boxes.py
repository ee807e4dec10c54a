"""Arithmetic of boxes: areas, overlaps, clipping, and the deltas that detectors regress.

Boxes are float32 (y0, x0, y1, x1), half-open pixels: a box of one pixel at the origin is
(0, 0, 1, 1). A box without extent (y1 <= y0 or x1 <= x0), such as a padded row of zeros, has
area 0, overlaps nothing and has deltas 0, with gradients 0.

`closed=True` is the arithmetic of matterport's graph, which takes boxes as
(y0, x0, y1 - 1, x1 - 1): a box of one pixel has no extent there.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Boxes = Float[Array | np.ndarray, "*n 4"]
Deltas = Float[Array | np.ndarray, "*n 4"]
Std = tuple[float, float, float, float]

MAX_LOG_RATIO = math.log(1000.0 / 16.0)
"""Largest log dh, log dw under `decode(clamp=True)`, as in torchvision and Detectron2."""


def area(boxes: Boxes) -> Float[Array, "*n"]:
    """Area in px^2; 0 for a box without extent."""
    boxes = jnp.asarray(boxes)
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def iou_matrix(
    a: Float[Array | np.ndarray, "n 4"], b: Float[Array | np.ndarray, "m 4"]
) -> Float[Array, "n m"]:
    """Intersection over union of all pairs; 0 where one of the boxes has no extent.

    Args:
      a: Boxes of the rows.
      b: Boxes of the columns.
    Returns:
      Values in [0, 1].
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    low = jnp.maximum(a[:, None, :2], b[None, :, :2])
    high = jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = jnp.maximum(high - low, 0.0)
    shared = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - shared
    # the union is positive wherever something is shared
    return jnp.where(shared > 0, shared / jnp.where(shared > 0, union, 1.0), 0.0)


def clip(boxes: Boxes, shape: tuple[int, int]) -> Float[Array, "*n 4"]:
    """Boxes cut off at the borders of an image of `shape` (h, w); one outside loses its extent."""
    boxes = jnp.asarray(boxes)
    h, w = (float(side) for side in shape)
    return jnp.clip(boxes, 0.0, _row((h, w, h, w), boxes))


def encode(
    boxes: Boxes,
    reference: Boxes,
    *,
    std: Std = (1.0, 1.0, 1.0, 1.0),
    closed: bool = False,
) -> Float[Array, "*n 4"]:
    """Deltas that take reference boxes (anchors, proposals) to boxes; `decode` is the inverse.

    Args:
      boxes: The boxes to reach.
      reference: As many.
      std: Each delta is divided by its entry.
      closed: See the head of this module.
    Returns:
      (dy, dx, log dh, log dw): the distance of the centres in sides of the reference, and the
      logarithm of the ratio of the sides. Where one of the two boxes has no extent along an axis,
      both deltas of that axis are 0, with gradients 0.
    Source: Girshick et al. 2014, CVPR; matterport/Mask_RCNN, `box_refinement_graph`.
    """
    center, side = _center_side(boxes, closed)
    center_reference, side_reference = _center_side(reference, closed)
    good = (side > 0) & (side_reference > 0)
    # twice where: what is not chosen must be finite as well, or its gradient is NaN
    side = jnp.where(good, side, 1.0)
    side_reference = jnp.where(good, side_reference, 1.0)
    shift = jnp.where(good, (center - center_reference) / side_reference, 0.0)
    scale = jnp.where(good, jnp.log(side / side_reference), 0.0)
    deltas = jnp.concatenate([shift, scale], axis=-1)
    return deltas / _row(std, deltas)


def decode(
    deltas: Deltas,
    reference: Boxes,
    *,
    std: Std = (1.0, 1.0, 1.0, 1.0),
    closed: bool = False,
    clamp: bool = False,
) -> Float[Array, "*n 4"]:
    """Boxes that deltas make of reference boxes; see `encode`.

    Args:
      deltas: (dy, dx, log dh, log dw), divided by `std`.
      reference: As many boxes.
      std: As in `encode`.
      closed: As in `encode`.
      clamp: Limit log dh and log dw to `MAX_LOG_RATIO`, against overflow early in training.
        Matterport does not.
    Returns:
      Boxes, half-open in any case, not clipped to an image.
    """
    center, side = _center_side(reference, closed)
    deltas = jnp.asarray(deltas) * _row(std, jnp.asarray(deltas))
    logarithm = deltas[..., 2:]
    if clamp:
        logarithm = jnp.minimum(logarithm, MAX_LOG_RATIO)
    center = center + deltas[..., :2] * side
    side = side * jnp.exp(logarithm)
    low = center - 0.5 * side
    return jnp.concatenate([low, low + side + float(closed)], axis=-1)


def _center_side(boxes: Boxes, closed: bool) -> tuple[Array, Array]:
    """Centres and sides (y, x), of shape (..., 2)."""
    boxes = jnp.asarray(boxes)
    side = boxes[..., 2:] - boxes[..., :2] - float(closed)
    return boxes[..., :2] + 0.5 * side, side


def _row(values: Std, like: Array) -> Array:
    """`values` as an array that broadcasts against `like` (..., 4) without rank promotion."""
    return jnp.asarray(values, like.dtype).reshape((1,) * (like.ndim - 1) + (4,))
