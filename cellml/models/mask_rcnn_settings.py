"""Settings of Mask R-CNN, and the presets that published systems used.

A preset holds what the weights and their use depend on; schedules and optimisers are in configs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

STRIDES = (4, 8, 16, 32, 64)
"""Pixels between neighbouring anchors on P2..P6."""


@dataclasses.dataclass(frozen=True)
class MaskRCNNSettings:
    """Everything static of a Mask R-CNN. Lengths in px of the image that the network sees.

    Attributes:
      backbone: Key of `cellml.models.resnet.BACKBONES`.
      backbone_width: Channels of the backbone's first stage.
      norm: `"frozen"` (batch norm with its stored statistics, gamma and beta trainable) or
        `"group"` (group norm, for training from scratch).
      bias: Whether convolutions before a norm have a bias, as Keras' do.
      fpn_channels: Channels of P2..P6.
      rpn_channels: Channels of the region proposal network.
      box_channels: Width of the two hidden layers of the box head.
      mask_channels: Channels of the mask head.
      mask_convs: Its 3x3 convolutions.
      n_classes: With background, which is class 0.
      class_agnostic: One box and one mask a region instead of one a class.
      pooling: `"crop_and_resize"` (parity with matterport) or `"roi_align"`.
      closed_boxes: Box arithmetic on closed boxes (y1 - 1, x1 - 1), as matterport's graph does.
      pool_size: Side of the box head's input.
      mask_pool_size: Side of the mask head's input; masks have twice that.
      canonical_px: Side of a box that is pooled from P4; half of it, from P3.
      anchor_scales: Root of the anchors' area on P2..P6.
      anchor_ratios: Width over height.
      anchor_stride: Anchors at every so many cells.
      rpn_nms_train: IoU above which a proposal is suppressed, in training.
      rpn_nms_inference: Likewise, at inference.
      rpn_train_anchors: Anchors that the RPN's loss looks at, per image.
      pre_nms: Proposals before suppression.
      post_nms_train: Proposals kept in training.
      post_nms_inference: Proposals kept at inference.
      train_rois: Regions that the heads are trained on, per image.
      positive_share: Largest share of them on objects.
      append_truth: Train the heads on the true boxes as well; without it a network that starts
        from random weights sees no object at first.
      fill_negatives: Fill up with background regions; False: background keeps `positive_share`,
        so an image without an object trains no head (matterport).
      max_instances: Objects an image in training; more are left out, with a warning.
      mini_mask_px: Side of the stored true masks; 0 keeps them whole.
      max_detections: Objects that inference gives.
      score_min: Smallest score of a detection.
      detection_nms: IoU above which a detection is suppressed, class by class.
      mask_min: Mask probability from which a pixel belongs to the object.
      mean_pixel: Subtracted from RGB (0 to 255).
      pixel_scale: The difference is multiplied by this.
      box_std: Scale of the box head's deltas.
    """

    backbone: str = "resnet101"
    backbone_width: int = 64
    norm: str = "frozen"
    bias: bool = True
    fpn_channels: int = 256
    rpn_channels: int = 512
    box_channels: int = 1024
    mask_channels: int = 256
    mask_convs: int = 4
    n_classes: int = 2
    class_agnostic: bool = False
    pooling: str = "crop_and_resize"
    closed_boxes: bool = True
    pool_size: int = 7
    mask_pool_size: int = 14
    canonical_px: float = 224.0
    anchor_scales: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    anchor_stride: int = 1
    rpn_nms_train: float = 0.7
    rpn_nms_inference: float = 0.7
    rpn_train_anchors: int = 256
    pre_nms: int = 6000
    post_nms_train: int = 2000
    post_nms_inference: int = 1000
    train_rois: int = 200
    positive_share: float = 0.33
    append_truth: bool = False
    fill_negatives: bool = False
    max_instances: int = 100
    mini_mask_px: int = 56
    max_detections: int = 100
    score_min: float = 0.7
    detection_nms: float = 0.3
    mask_min: float = 0.5
    mean_pixel: tuple[float, float, float] = (123.7, 116.8, 103.9)
    pixel_scale: float = 1.0
    box_std: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    @property
    def max_positive(self) -> int:
        """Training regions on objects, at most."""
        return max(1, int(self.train_rois * self.positive_share))


PRESETS: Mapping[str, MaskRCNNSettings] = {
    "matterport_coco": MaskRCNNSettings(n_classes=81),
    "matterport_nucleus": MaskRCNNSettings(
        backbone="resnet50",
        anchor_scales=(8.0, 16.0, 32.0, 64.0, 128.0),
        rpn_nms_train=0.9,
        rpn_train_anchors=64,
        post_nms_train=1000,
        post_nms_inference=2000,
        train_rois=128,
        max_instances=200,
        max_detections=400,
        score_min=0.0,
        mean_pixel=(43.53, 39.56, 48.22),
    ),
    "nucleaizer": MaskRCNNSettings(
        rpn_nms_train=0.55,
        rpn_nms_inference=0.55,
        train_rois=512,
        max_detections=512,
        score_min=0.5,
        detection_nms=0.35,
    ),
    "cellml": MaskRCNNSettings(
        backbone="resnet18",
        backbone_width=32,
        norm="group",
        bias=False,
        fpn_channels=96,
        rpn_channels=96,
        box_channels=256,
        mask_channels=96,
        mask_convs=3,
        pooling="roi_align",
        closed_boxes=False,
        canonical_px=56.0,
        anchor_scales=(12.0, 24.0, 48.0, 96.0, 192.0),
        pre_nms=2000,
        post_nms_train=500,
        post_nms_inference=800,
        train_rois=96,
        append_truth=True,
        fill_negatives=True,
        max_instances=160,
        max_detections=500,
        score_min=0.65,
        detection_nms=0.3,
        mean_pixel=(0.0, 0.0, 0.0),
        pixel_scale=1.0 / 255.0,
    ),
}
"""Settings of matterport/Mask_RCNN (COCO, nucleus sample), nucleAIzer, and our own for nuclei."""


def make_settings(preset: str, changes: Mapping[str, Any] | None = None) -> MaskRCNNSettings:
    """A preset with some fields changed.

    Args:
      preset: A key of `PRESETS`.
      changes: Fields and their values; lists become tuples.
    Returns:
      The settings.
    Raises:
      ValueError: Unknown preset or field; the message lists the known ones.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown Mask R-CNN preset {preset!r}; known: {', '.join(PRESETS)}")
    known = [field.name for field in dataclasses.fields(MaskRCNNSettings)]
    if unknown := sorted(set(changes or {}) - set(known)):
        raise ValueError(f"Mask R-CNN settings: unknown {unknown}; known: {', '.join(known)}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in (changes or {}).items()}
    return dataclasses.replace(PRESETS[preset], **values)
