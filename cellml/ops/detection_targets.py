"""What the region proposal network and the heads are trained to say, for one image at fixed sizes.

True objects are padded rows with a validity mask. Random choices are the top of masked uniform
noise, so that every shape is static; `jax.vmap` these functions over a batch.
Source: He et al. 2017, Mask R-CNN; thresholds and numbers of matterport/Mask_RCNN.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from cellml.ops import boxes as box_ops
from cellml.ops.roi_align import crop_and_resize, roi_align
from cellml.types import Key

ANCHOR_IOU_MIN = 0.7
"""An anchor is positive from this IoU on (or if no other overlaps an object more)."""
ANCHOR_IOU_MAX = 0.3
"""An anchor is negative below this IoU."""
REGION_IOU_MIN = 0.5
"""A region is positive from this IoU on, else negative."""


class AnchorTargets(NamedTuple):
    """Anchors that the RPN's loss looks at: p positive slots, then q negative ones.

    Attributes:
      index: Row of the anchor.
      valid: False where the slot is not used.
      positive: True for positive anchors.
      deltas: Of the positive slots, towards the object that the anchor overlaps most.
    """

    index: Int[Array, " s"]
    valid: Bool[Array, " s"]
    positive: Bool[Array, " s"]
    deltas: Float[Array, "p 4"]


class RegionTargets(NamedTuple):
    """Regions that the heads are trained on: p positive slots, then negative ones.

    Attributes:
      boxes: Regions in px; zero where not valid.
      valid: False where the slot is not used.
      classes: True class, 0 for background.
      deltas: Of the positive slots, as the box head should give them.
      objects: Of the positive slots, row of the true object.
    """

    boxes: Float[Array, "s 4"]
    valid: Bool[Array, " s"]
    classes: Int[Array, " s"]
    deltas: Float[Array, "p 4"]
    objects: Int[Array, " p"]


def choose(key: Key, mask: Bool[Array, " n"], count: int) -> tuple[Int[Array, " c"], Array]:
    """Rows drawn at random, without repetition, among those where `mask` is True.

    Args:
      key: Random key.
      mask: Candidates.
      count: Static number of slots; at most as many as rows are filled.
    Returns:
      Rows, and whether each slot is filled; all candidates if they are fewer than the slots.
    """
    slots = min(count, mask.shape[0])
    noise = jax.random.uniform(key, mask.shape)
    drawn, rows = lax.top_k(jnp.where(mask, noise, -1.0), slots)
    rows, filled = rows.astype(jnp.int32), drawn >= 0
    missing = count - slots
    return jnp.pad(rows, (0, missing)), jnp.pad(filled, (0, missing))


def anchor_targets(
    key: Key,
    anchors: Float[Array, "a 4"],
    boxes: Float[Array, "n 4"],
    valid: Bool[Array, " n"],
    *,
    count: int,
    std: tuple[float, float, float, float],
    closed: bool,
) -> AnchorTargets:
    """Chooses the anchors of the RPN's loss.

    Args:
      key: Random key.
      anchors: All anchors of the image.
      boxes: True boxes.
      valid: Which of them exist.
      count: Slots; half of them for positives.
      std: Deltas are divided by this.
      closed: See `boxes.encode`.
    Returns:
      Slots. Without objects all anchors are negative.
    """
    iou = jnp.where(valid[None], box_ops.iou_matrix(anchors, boxes), 0.0)
    best = jnp.max(iou, axis=1)
    # every object keeps the anchors that overlap it most, all ties, however small the overlap
    most = jnp.max(iou, axis=0)
    claimed = jnp.any((iou == most[None]) & (most > 0)[None] & valid[None], axis=1)
    positive = (best >= ANCHOR_IOU_MIN) | claimed
    negative = (best < ANCHOR_IOU_MAX) & ~positive
    key_positive, key_negative = jax.random.split(key)
    chosen, filled = choose(key_positive, positive, count // 2)
    # negatives fill what positives leave
    others, others_filled = choose(key_negative, negative, count)
    others_filled &= jnp.arange(count) < count - jnp.sum(filled)
    object_of = jnp.argmax(iou[chosen], axis=1)
    deltas = box_ops.encode(boxes[object_of], anchors[chosen], std=std, closed=closed)
    return AnchorTargets(
        jnp.concatenate([chosen, others]),
        jnp.concatenate([filled, others_filled]),
        jnp.concatenate([filled, jnp.zeros_like(others_filled)]),
        jnp.where(filled[:, None], deltas, 0.0),
    )


def region_targets(
    key: Key,
    regions: Float[Array, "r 4"],
    region_valid: Bool[Array, " r"],
    boxes: Float[Array, "n 4"],
    classes: Int[Array, " n"],
    valid: Bool[Array, " n"],
    *,
    count: int,
    max_positive: int,
    fill_negatives: bool,
    positive_share: float,
    std: tuple[float, float, float, float],
    closed: bool,
) -> RegionTargets:
    """Chooses the regions that the heads are trained on.

    Args:
      key: Random key.
      regions: Proposals, no gradient runs into them.
      region_valid: Which of them exist.
      boxes: True boxes.
      classes: Their classes, 1 and up.
      valid: Which of them exist.
      count: Slots.
      max_positive: Slots for regions on objects; the others are for background.
      fill_negatives: Use every slot for background that there is a region for.
      positive_share: Else, background is limited so that positives make this share.
      std: Deltas are divided by this.
      closed: See `boxes.encode`.
    Returns:
      Slots.
    """
    regions = lax.stop_gradient(regions)
    iou = jnp.where(valid[None], box_ops.iou_matrix(regions, boxes), 0.0)
    best = jnp.max(iou, axis=1)
    key_positive, key_negative = jax.random.split(key)
    positive, positive_filled = choose(
        key_positive, region_valid & (best >= REGION_IOU_MIN), max_positive
    )
    n_negative = count - max_positive
    negative, negative_filled = choose(
        key_negative, region_valid & (best < REGION_IOU_MIN), n_negative
    )
    if not fill_negatives:
        n_positive = jnp.sum(positive_filled)
        allowed = jnp.floor(n_positive.astype(jnp.float32) / positive_share).astype(jnp.int32)
        negative_filled &= jnp.arange(n_negative) < allowed - n_positive
    objects = jnp.argmax(iou[positive], axis=1).astype(jnp.int32)
    deltas = box_ops.encode(boxes[objects], regions[positive], std=std, closed=closed)
    rows = jnp.concatenate([positive, negative])
    filled = jnp.concatenate([positive_filled, negative_filled])
    object_classes = jnp.where(positive_filled, classes[objects], 0).astype(jnp.int32)
    return RegionTargets(
        boxes=jnp.where(filled[:, None], regions[rows], 0.0),
        valid=filled,
        classes=jnp.concatenate([object_classes, jnp.zeros(n_negative, jnp.int32)]),
        deltas=jnp.where(positive_filled[:, None], deltas, 0.0),
        objects=objects,
    )


def mask_targets(
    masks: Float[Array, "p m1 m2"],
    object_boxes: Float[Array, "p 4"],
    regions: Float[Array, "p 4"],
    *,
    size: int,
    pooling: str,
    whole: bool = False,
) -> Float[Array, "p s s"]:
    """True masks as seen through the regions, 0 or 1.

    Args:
      masks: Mask of each region's object: of its box (mini-mask), or of the whole image.
      object_boxes: Box of the object in px.
      regions: Regions in px.
      size: Side of the result.
      pooling: As the mask head's input: corners aligned for `"crop_and_resize"` (matterport),
        centres of the pixels for `"roi_align"`.
      whole: The masks are of whole images, in px.
    Returns:
      The resampled masks, from one half on 1.
    """
    height, width = masks.shape[1:]
    if whole:
        object_boxes = jnp.broadcast_to(
            jnp.asarray([[0.0, 0.0, float(height), float(width)]]), object_boxes.shape
        )
    if pooling == "crop_and_resize":  # corners are the centres of the outermost pixels
        last = jnp.asarray([0.0, 0.0, 1.0, 1.0])[None]
        object_boxes, regions = object_boxes - last, regions - last
    side = jnp.maximum(object_boxes[:, 2:] - object_boxes[:, :2], 1e-3)
    origin = jnp.concatenate([object_boxes[:, :2]] * 2, axis=1)
    # the region within the object's box, 0 to 1
    relative = (regions - origin) / jnp.concatenate([side, side], axis=1)

    def one(mask: Float[Array, "m1 m2"], box: Float[Array, " 4"]) -> Float[Array, "s s"]:
        features = mask[..., None]
        if pooling == "crop_and_resize":
            return crop_and_resize(features, box[None], size)[0, ..., 0]
        scale = jnp.asarray([height, width, height, width], jnp.float32)
        return roi_align(features, (box * scale)[None], size, sampling=1)[0, ..., 0]

    # values just below one half come of rounding in the interpolation
    return (jax.vmap(one)(masks, relative) >= 0.5 - 1e-6).astype(jnp.float32)
