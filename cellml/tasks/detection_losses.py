"""Training of Mask R-CNN: the network beside its targets, and the five losses."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Integer

from cellml.models.mask_rcnn_settings import MaskRCNNSettings
from cellml.ops.detection_targets import (
    AnchorTargets,
    RegionTargets,
    anchor_targets,
    mask_targets,
    region_targets,
)
from cellml.tasks import detection
from cellml.types import Batch, Key, Loss, Variables

LOSSES = ("rpn_class", "rpn_box", "class", "box", "mask")
"""Losses of the network, each with weight 1."""


class TrainingOutputs(NamedTuple):
    """What the losses compare, for a batch of b images, s regions, p of them on objects."""

    anchors: AnchorTargets
    anchor_logits: Float[Array, "b a 2"]
    anchor_deltas: Float[Array, "b a 4"]
    regions: RegionTargets
    class_logits: Float[Array, "b s k"]
    deltas: Float[Array, "b p 4"]
    mask_logits: Float[Array, "b p m m"]
    masks: Float[Array, "b p m m"]


def forward(
    settings: MaskRCNNSettings,
    variables: Variables,
    batch: Batch,
    key: Key,
    *,
    enlarge: int = 1,
) -> TrainingOutputs:
    """The network on a training batch, and its targets.

    Args:
      settings: Static.
      variables: Parameter tree of `MaskRCNN`.
      batch: See `cellml.data.instance_batching`.
      key: Of the random choices of anchors and regions.
      enlarge: The network sees images enlarged by this factor.
    Returns:
      Predictions and targets.
    """
    images = detection.prepare(jnp.asarray(batch["image"]), settings, enlarge=enlarge)
    boxes = jnp.asarray(batch["boxes"]) * float(enlarge)
    box_valid = jnp.asarray(batch["box_valid"]) & jnp.asarray(batch["valid"])[:, None]
    classes = jnp.asarray(batch["classes"])
    shape, n_images = (images.shape[1], images.shape[2]), images.shape[0]

    pyramid = detection.network(settings, variables, images, "pyramid")
    logits, deltas = detection.network(settings, variables, pyramid, "propose")
    found = detection.propose_regions(logits, deltas, shape, settings, train=True)
    if settings.append_truth:
        found = detection.Proposals(
            jnp.concatenate([found.boxes, boxes], axis=1),
            jnp.concatenate([found.valid, box_valid], axis=1),
        )
    anchors = detection.all_anchors(shape, settings)
    key_anchors, key_regions = jax.random.split(key)
    of_anchors = functools.partial(
        anchor_targets,
        count=settings.rpn_train_anchors,
        std=settings.box_std,
        closed=settings.closed_boxes,
    )
    chosen_anchors = jax.vmap(of_anchors, in_axes=(0, None, 0, 0))(
        jax.random.split(key_anchors, n_images), anchors, boxes, box_valid
    )
    of_regions = functools.partial(
        region_targets,
        count=settings.train_rois,
        max_positive=settings.max_positive,
        fill_negatives=settings.fill_negatives,
        positive_share=settings.positive_share,
        std=settings.box_std,
        closed=settings.closed_boxes,
    )
    chosen = jax.vmap(of_regions)(
        jax.random.split(key_regions, n_images),
        found.boxes,
        found.valid,
        boxes,
        classes,
        box_valid,
    )
    pooled = detection.pool(pyramid, chosen.boxes, shape, settings, size=settings.pool_size)
    class_logits, moves = detection.network(settings, variables, pooled, "classify")

    # only regions on objects have a box and a mask to learn
    positives = settings.max_positive
    positive_classes = chosen.classes[:, :positives].reshape(-1)
    moves = moves.reshape(n_images, -1, *moves.shape[1:])[:, :positives]
    own_moves = detection.of_class(moves.reshape(-1, *moves.shape[2:]), positive_classes, axis=1)
    pooled = detection.pool(
        pyramid, chosen.boxes[:, :positives], shape, settings, size=settings.mask_pool_size
    )
    mask_logits = detection.network(settings, variables, pooled, "masks")
    own_masks = detection.of_class(mask_logits, positive_classes)
    side = own_masks.shape[-1]
    return TrainingOutputs(
        anchors=chosen_anchors,
        anchor_logits=logits,
        anchor_deltas=deltas,
        regions=chosen,
        class_logits=class_logits.reshape(n_images, settings.train_rois, -1),
        deltas=own_moves.reshape(n_images, positives, 4),
        mask_logits=own_masks.reshape(n_images, positives, side, side),
        masks=_true_masks(settings, batch, chosen, boxes, side, enlarge),
    )


def _true_masks(
    settings: MaskRCNNSettings,
    batch: Batch,
    chosen: RegionTargets,
    boxes: Float[Array, "b n 4"],
    side: int,
    enlarge: int,
) -> Float[Array, "b p m m"]:
    """Masks of the objects as the chosen regions see them."""
    positives, scale = settings.max_positive, float(enlarge)

    def one(
        masks: Integer[Array, "n m1 m2"],
        objects: Int[Array, " p"],
        boxes: Float[Array, "n 4"],
        regions: Float[Array, "p 4"],
    ) -> Float[Array, "p m m"]:
        return mask_targets(
            masks[objects].astype(jnp.float32),
            boxes[objects] / scale,
            regions / scale,
            size=side,
            pooling=settings.pooling,
            whole=settings.mini_mask_px == 0,
        )

    masks = jnp.asarray(batch["masks"])
    return jax.vmap(one)(masks, chosen.objects, boxes, chosen.boxes[:, :positives])


def network_losses(found: TrainingOutputs, valid: Array) -> dict[str, Loss]:
    """The five losses as (sum, count).

    Args:
      found: Predictions and targets.
      valid: Bool[b]; False leaves an image out.
    Returns:
      Cross-entropies of anchors and regions (mean over those chosen), smooth L1 of both kinds of
      boxes (mean over the coordinates of positives), cross-entropy of the masks (mean over the
      pixels of positives).
    """
    images = jnp.arange(valid.shape[0])[:, None]
    anchors, regions = found.anchors, found.regions
    positives = anchors.deltas.shape[1]
    anchor_logits = found.anchor_logits[images, anchors.index]
    anchor_deltas = found.anchor_deltas[images, anchors.index[:, :positives]]
    anchor_used = anchors.valid & valid[:, None]
    anchor_positive = (anchors.positive & anchor_used)[:, :positives]
    n_positive = regions.deltas.shape[1]
    used = regions.valid & valid[:, None]
    positive = used[:, :n_positive]
    mask_losses = optax.sigmoid_binary_cross_entropy(found.mask_logits, found.masks)
    return {
        "rpn_class": _cross_entropy(anchor_logits, anchors.positive.astype(jnp.int32), anchor_used),
        "rpn_box": _smooth_l1(anchor_deltas, anchors.deltas, anchor_positive),
        "class": _cross_entropy(found.class_logits, regions.classes, used),
        "box": _smooth_l1(found.deltas, regions.deltas, positive),
        "mask": _masked(jnp.mean(mask_losses, axis=(2, 3)), positive),
    }


def _masked(loss: Float[Array, "b s"], used: Array) -> Loss:
    return jnp.sum(jnp.where(used, loss, 0.0)), jnp.sum(used).astype(jnp.float32)


def _cross_entropy(logits: Float[Array, "b s k"], classes: Int[Array, "b s"], used: Array) -> Loss:
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
    return _masked(loss, used)


def _smooth_l1(found: Float[Array, "b s 4"], target: Float[Array, "b s 4"], used: Array) -> Loss:
    return _masked(jnp.mean(optax.huber_loss(found, target, delta=1.0), axis=-1), used)
