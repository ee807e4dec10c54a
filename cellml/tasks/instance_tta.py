"""Test-time augmentation of models that find objects one by one: label images are merged.

The four steps of the dissertation: transform the image, segment every copy, turn the label images
back, merge them object by object (`cellml.tta.merge_instances_host`). The model is any function of
one image, so that this works for Mask R-CNN, for another network, and for a stand-in in a test.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from cellml.tasks.detections_host import Instances
from cellml.tta import Transform, deaugment_labels, merge_instances_host, resolve_transforms

SegmentMany = Callable[[Float[np.ndarray, "b h w c"]], Sequence[Instances]]
"""Normalised images of one size to the objects of each; `cellml.tasks.instances.segment_images`."""


class InstanceVersions(NamedTuple):
    """Results for all transformed copies of one image, turned back to its frame.

    Attributes:
      labels: Label image of every copy; ids of two copies have nothing to do with each other.
      probability: Foreground probability of every copy.
    """

    labels: Int[np.ndarray, "t h w"]
    probability: Float[np.ndarray, "t h w"]


class MergedInstances(NamedTuple):
    """The objects on which the versions agree.

    Attributes:
      labels: int32, 0 background, then 1..n without gaps.
      probability: Mean foreground probability of the versions.
      vote_share: Share of the versions in which object i + 1 is present.
      mean_iou: Mean IoU of all pairs of its masks in the versions; 1 for a single mask.
    """

    labels: Int[np.ndarray, "h w"]
    probability: Float[np.ndarray, "h w"]
    vote_share: Float[np.ndarray, " n"]
    mean_iou: Float[np.ndarray, " n"]


def one_by_one(segment_one: Callable[[Float[np.ndarray, "h w c"]], Instances]) -> SegmentMany:
    """A function of one image as one of several."""
    return lambda images: [segment_one(image) for image in images]


def predict_versions(
    segment_many: SegmentMany,
    image: Shaped[np.ndarray, "h w c"],
    transforms: str | Sequence[Transform] = "d4",
    *,
    chunk: int | None = None,
) -> InstanceVersions:
    """Segments the transformed copies of an image as batches and turns the results back.

    Args:
      segment_many: Images to labels and probabilities of the same height and width. It meets both
        orientations of an image that is not square, so a padded image has both sides in multiples
        of the network's stride.
      image: One image, as the model takes it.
      transforms: A preset of `cellml.tta`, or transforms.
      chunk: Copies segmented at once; None for all of one shape.

    Returns:
      One version a transform, in their order.

    Raises:
      ValueError: Unknown preset, or the model changed height or width.
    """
    chosen = resolve_transforms(transforms)
    square = image.shape[0] == image.shape[1]
    found: dict[int, Instances] = {}
    for sideways in (False, True):  # the two shapes of the copies
        rows = [i for i, t in enumerate(chosen) if (t.transpose and not square) == sideways]
        step = chunk or max(1, len(rows))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            views = np.stack([chosen[i].apply(image) for i in part])
            found |= zip(part, segment_many(views), strict=True)
    labels, probabilities = [], []
    for i, transform in enumerate(chosen):
        expected = image.shape[1::-1] if transform.transpose else image.shape[:2]
        for name, array in (("labels", found[i].labels), ("probability", found[i].probability)):
            if array.shape != expected:
                raise ValueError(
                    f"{name} of the {transform.name} copy: shape {array.shape} found, "
                    f"{expected} expected as of the image"
                )
        labels.append(np.asarray(found[i].labels))
        probability = np.asarray(found[i].probability)
        probabilities.append(transform.inverse.apply(probability, axes=(-2, -1)))
    return InstanceVersions(
        np.asarray(deaugment_labels(labels, chosen)).astype(np.int32),
        np.stack(probabilities).astype(np.float32),
    )


def merge_versions(versions: InstanceVersions, **options: Any) -> MergedInstances:
    """Merges the versions object by object.

    Args:
      versions: At least one; a single one comes back renumbered, every share and IoU being 1.
      **options: Of `cellml.tta.merge_instances_host`, such as `reference="medoid"`.

    Returns:
      The merged objects.

    Raises:
      ValueError: An option is unknown or out of range.
    """
    merged = merge_instances_host(versions.labels, **options)
    return MergedInstances(
        labels=np.asarray(merged.labels),
        probability=versions.probability.mean(axis=0),
        vote_share=np.asarray(merged.vote_share)[1:],
        mean_iou=np.asarray(merged.mean_iou)[1:],
    )
