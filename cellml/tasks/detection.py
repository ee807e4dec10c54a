"""The forward passes of Mask R-CNN around its network: proposals, regions, detections.

Pure and of fixed shapes: whatever may be fewer is padded and has a validity mask. Boxes are
(y0, x0, y1, x1) in px of the image that the network sees (`InstanceSpec.enlarge` included).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from cellml.models.mask_rcnn import MaskRCNN
from cellml.models.mask_rcnn_settings import STRIDES, MaskRCNNSettings
from cellml.ops import boxes as box_ops
from cellml.ops.anchors import anchor_boxes
from cellml.ops.nms import nms
from cellml.ops.roi_align import pool_pyramid
from cellml.types import Variables

Pyramid = tuple[Float[Array, "b _ _ c"], ...]


class Proposals(NamedTuple):
    """Regions that may hold an object, best first."""

    boxes: Float[Array, "b r 4"]
    valid: Bool[Array, "b r"]


class Detections(NamedTuple):
    """Objects found, best first; rows that are not valid are zero.

    Attributes:
      boxes: In px.
      scores: Probability of the class, within [0, 1].
      classes: 1 and up.
      masks: Probability within the box, on a square grid.
      valid: Which rows exist.
    """

    boxes: Float[Array, "b n 4"]
    scores: Float[Array, "b n"]
    classes: Int[Array, "b n"]
    masks: Float[Array, "b n m m"]
    valid: Bool[Array, "b n"]


def network(settings: MaskRCNNSettings, variables: Variables, x: Any, part: str) -> Any:
    """Runs one part of the network.

    Args:
      settings: Static.
      variables: Parameter tree of `MaskRCNN`.
      x: What the part takes.
      part: `"pyramid"`, `"propose"`, `"classify"` or `"masks"`.
    Returns:
      What the method of that name of `MaskRCNN` gives.
    """
    return MaskRCNN(settings).apply(variables, x, method=part)


def prepare(
    images: Float[Array, "b h w 3"], settings: MaskRCNNSettings, *, enlarge: int = 1
) -> Float[Array, "b h2 w2 3"]:
    """Images as the network takes them.

    Args:
      images: Normalised to [0, 1].
      settings: Mean pixel and scale.
      enlarge: Factor, bilinear.
    Returns:
      The enlarged images, minus the mean pixel, scaled.
    """
    if enlarge > 1:
        b, h, w, c = images.shape
        images = jax.image.resize(images, (b, h * enlarge, w * enlarge, c), "bilinear")
    mean = jnp.asarray(settings.mean_pixel, jnp.float32)[None, None, None]
    return (images * 255.0 - mean) * settings.pixel_scale


def all_anchors(image_shape: tuple[int, int], settings: MaskRCNNSettings) -> Float[Array, "a 4"]:
    """The anchors of an image, in the order of the RPN's outputs."""
    return jnp.asarray(
        anchor_boxes(
            image_shape,
            settings.anchor_scales,
            settings.anchor_ratios,
            STRIDES,
            anchor_stride=settings.anchor_stride,
        )
    )


def propose_regions(
    logits: Float[Array, "b a 2"],
    deltas: Float[Array, "b a 4"],
    image_shape: tuple[int, int],
    settings: MaskRCNNSettings,
    *,
    train: bool,
) -> Proposals:
    """Proposals from the RPN's outputs: best anchors, moved, clipped, suppressed.

    Args:
      logits: Background and object.
      deltas: Of the anchors, divided by `box_std`.
      image_shape: Height and width that the network saw.
      settings: Numbers and thresholds.
      train: Whether to use those of training.
    Returns:
      `post_nms_train` or `post_nms_inference` rows. No gradient runs through them.
    """
    anchors = all_anchors(image_shape, settings)
    iou_max = settings.rpn_nms_train if train else settings.rpn_nms_inference
    keep = settings.post_nms_train if train else settings.post_nms_inference
    before = min(settings.pre_nms, anchors.shape[0])

    def one(logits: Float[Array, "a 2"], deltas: Float[Array, "a 4"]) -> tuple[Array, Array]:
        # the difference orders as the softmax does, without its ties at 1
        scores, rows = lax.top_k(logits[:, 1] - logits[:, 0], before)
        boxes = box_ops.decode(
            deltas[rows], anchors[rows], std=settings.box_std, closed=settings.closed_boxes,
            clamp=settings.norm == "group",
        )  # fmt: skip
        boxes = box_ops.clip(boxes, image_shape)
        exists = box_ops.area(boxes) > 0 if settings.norm == "group" else jnp.ones(before, bool)
        kept, valid = nms(boxes, scores, exists, iou_max=iou_max, max_keep=keep)
        return jnp.where(valid[:, None], boxes[kept], 0.0), valid

    return Proposals(*jax.vmap(one)(*lax.stop_gradient((logits, deltas))))


def pool(
    pyramid: Pyramid,
    boxes: Float[Array, "b r 4"],
    image_shape: tuple[int, int],
    settings: MaskRCNNSettings,
    *,
    size: int,
) -> Float[Array, "m s s c"]:
    """Features of the regions of all images, one region after the other (m = b r).

    Args:
      pyramid: P2 to P6; P6 is not pooled from.
      boxes: Regions in px of the image that the network saw.
      image_shape: Its height and width.
      settings: Way of pooling.
      size: Side of the result.
    Returns:
      One square of features a region.
    """

    def one(levels: tuple[Array, ...], boxes: Float[Array, "r 4"]) -> Float[Array, "r s s c"]:
        return pool_pyramid(
            levels,
            boxes,
            image_shape=image_shape,
            size=size,
            canonical_px=settings.canonical_px,
            pooling=settings.pooling,
            closed=settings.closed_boxes,
        )

    pooled = jax.vmap(one)(pyramid[:4], boxes)
    return pooled.reshape(-1, *pooled.shape[2:])


def of_class(
    values: Float[Array, "m ... k"], classes: Int[Array, " m"], *, axis: int = -1
) -> Float[Array, "m ..."]:
    """Values of each row's own class; class-agnostic values (k = 1) as they are.

    Args:
      values: One per class along `axis`.
      classes: 0 and up.
      axis: Of the classes.
    Returns:
      `values` without that axis.
    """
    values = jnp.moveaxis(values, axis, 1)
    if values.shape[1] == 1:
        return values[:, 0]
    return values[jnp.arange(values.shape[0]), classes]


def detect_boxes(
    settings: MaskRCNNSettings,
    variables: Variables,
    images: Float[Array, "b h w 3"],
) -> tuple[Detections, Pyramid]:
    """All of detection but the masks.

    Args:
      settings: Static.
      variables: Parameter tree of `MaskRCNN`.
      images: From `prepare`; height and width in multiples of 64.
    Returns:
      Detections with masks of side 0, and the features that `detect_masks` takes.
    """
    image_shape = (images.shape[1], images.shape[2])
    pyramid = network(settings, variables, images, "pyramid")
    logits, deltas = network(settings, variables, pyramid, "propose")
    found = propose_regions(logits, deltas, image_shape, settings, train=False)
    pooled = pool(pyramid, found.boxes, image_shape, settings, size=settings.pool_size)
    class_logits, moves = network(settings, variables, pooled, "classify")
    rows = found.boxes.shape[:2]
    probability = jax.nn.softmax(class_logits).reshape(*rows, -1)
    classes = jnp.argmax(probability, axis=-1).astype(jnp.int32)
    own = of_class(moves, classes.reshape(-1), axis=1).reshape(*rows, 4)

    def one(
        boxes: Float[Array, "r 4"],
        exists: Bool[Array, " r"],
        probability: Float[Array, "r k"],
        classes: Int[Array, " r"],
        moves: Float[Array, "r 4"],
    ) -> tuple[Array, ...]:
        scores = jnp.max(probability, axis=-1)
        boxes = box_ops.decode(
            moves, boxes, std=settings.box_std, closed=settings.closed_boxes,
            clamp=settings.norm == "group",
        )  # fmt: skip
        boxes = box_ops.clip(boxes, image_shape)
        exists &= (classes > 0) & (scores >= settings.score_min) & (box_ops.area(boxes) > 0)
        kept, valid = nms(
            boxes, scores, exists, iou_max=settings.detection_nms,
            max_keep=settings.max_detections, classes=classes,
        )  # fmt: skip
        return (
            jnp.where(valid[:, None], boxes[kept], 0.0),
            jnp.where(valid, scores[kept], 0.0),
            jnp.where(valid, classes[kept], 0),
            valid,
        )

    boxes, scores, kept_classes, valid = jax.vmap(one)(
        found.boxes, found.valid, probability, classes, own
    )
    no_masks = jnp.zeros((*scores.shape, 0, 0), jnp.float32)
    return Detections(boxes, scores, kept_classes, no_masks, valid), pyramid


def detect_masks(
    settings: MaskRCNNSettings,
    variables: Variables,
    found: Detections,
    pyramid: Pyramid,
    image_shape: tuple[int, int],
) -> Detections:
    """Adds the masks to detections.

    Args:
      settings: Static.
      variables: Parameter tree of `MaskRCNN`.
      found: From `detect_boxes`; its rows may have been cut to fewer.
      pyramid: From the same call.
      image_shape: Height and width that the network saw; static.
    Returns:
      The detections with probabilities within their boxes.
    """
    pooled = pool(pyramid, found.boxes, image_shape, settings, size=settings.mask_pool_size)
    logits = network(settings, variables, pooled, "masks")
    own = of_class(jnp.asarray(logits), found.classes.reshape(-1))
    masks = jax.nn.sigmoid(own).reshape(*found.scores.shape, *own.shape[1:])
    return found._replace(masks=jnp.where(found.valid[..., None, None], masks, 0.0))
