"""Every kind of model that finds nuclei behind one face, so that commands need not tell them apart.

Two kinds so far. A `"segmenter"` (U-Net) gives maps: under test-time augmentation the maps are
averaged and nuclei are read off the mean. An `"instance_segmenter"` (Mask R-CNN) gives nuclei: the
label images of the copies are merged object by object.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from cellml.ops.intensity import intensity_limits, normalise
from cellml.ops.tiles import bucket, pad_reflect
from cellml.tasks.detections_host import Instances
from cellml.tasks.instance_tta import (
    InstanceVersions,
    SegmentMany,
    merge_versions,
    predict_versions,
)
from cellml.tasks.instances import (
    KIND,
    InstanceSegmenter,
    load_instance_segmenter,
    segment_images,
)
from cellml.tasks.semantic import Segmenter, labels_from_maps, load_segmenter
from cellml.tasks.whole_image import stack_predictor
from cellml.weights.registry import resolve_model
from cellml.weights.store import read_description


class Found(NamedTuple):
    """Nuclei of one image.

    Attributes:
      labels: 1..n, 0 is background.
      foreground: Pixels that the model takes for nucleus; not always those with a label.
      vote_share: As in `MergedInstances`; None where objects were not merged.
      mean_iou: Likewise.
    """

    labels: Int[np.ndarray, "h w"]
    foreground: Bool[np.ndarray, "h w"]
    vote_share: Float[np.ndarray, " n"] | None = None
    mean_iou: Float[np.ndarray, " n"] | None = None


class Copies(NamedTuple):
    """What a model says of the transformed copies of one image, in the image's own frame.

    Attributes:
      probability: Foreground probability of every copy.
      merge: Nuclei by the given copies alone (indices into them); `merge([0])` is the result
        without test-time augmentation where the first transform is the identity.
    """

    probability: Float[np.ndarray, "t h w"]
    merge: Callable[[Sequence[int]], Found]


PredictCopies = Callable[
    [Float[np.ndarray, "h w c"], tuple[int, int], str, int | None],
    Copies,
]


class NucleusModel(NamedTuple):
    """A model of any kind.

    Attributes:
      name: What its description calls it.
      kind: `"segmenter"` or `"instance_segmenter"`.
      predict: `(image, seen, transforms, chunk) -> Copies`. The image is normalised and its sides
        are multiples of `stride`; `seen` is the part of it, from the top left, that counts;
        `transforms` is a preset of `cellml.tta`; at most `chunk` copies are predicted at once.
      percentiles: Intensities that normalisation maps to 0 and 1, see `intensity_limits`.
      diameter_px: Nucleus diameter that the model knows best.
      stride: See `predict`.
      channels: Channels that the model takes.
    """

    name: str
    kind: str
    predict: PredictCopies
    percentiles: tuple[float, float] | None
    diameter_px: float
    stride: int
    channels: int = 3


def load_nucleus_model(name_or_path: str | Path) -> NucleusModel:
    """Loads a shipped model by name (hash checked) or any model by its path, whatever its kind.

    Args:
      name_or_path: A key of `cellml.weights.registry.MODELS`, or a `.safetensors` file.

    Returns:
      The model; nothing is compiled yet.

    Raises:
      ValueError: Neither a known name nor a weights file of such a model; the message lists the
        known names.
      FileNotFoundError: A path that leads nowhere.
    """
    path = resolve_model(name_or_path)
    kind = read_description(path).get("kind")
    if kind == "segmenter":
        return from_segmenter(load_segmenter(path))
    if kind == KIND:
        return from_instance_segmenter(load_instance_segmenter(path))
    raise ValueError(f"{path}: expected weights of a segmenter or an {KIND}, found {kind}")


def as_nucleus_model(model: Segmenter | InstanceSegmenter | NucleusModel) -> NucleusModel:
    """Puts the common face on a model that is in memory.

    Args:
      model: Of any kind.

    Returns:
      Its face; a `NucleusModel` as it is.
    """
    if isinstance(model, Segmenter):
        return from_segmenter(model)
    if isinstance(model, InstanceSegmenter):
        return from_instance_segmenter(model)
    return model


def from_segmenter(segmenter: Segmenter) -> NucleusModel:
    """A U-Net: probabilities are averaged, nuclei are read off the mean maps.

    Args:
      segmenter: The model.

    Returns:
      Its face.
    """
    spec, variables = segmenter

    def predict(
        image: Float[np.ndarray, "h w c"],
        seen: tuple[int, int],
        transforms: str,
        chunk: int | None,
    ) -> Copies:
        run = stack_predictor(spec, transforms, chunk)
        stack = np.asarray(run(variables, jnp.asarray(image)))[:, : seen[0], : seen[1]]

        def merge(indices: Sequence[int]) -> Found:
            maps = stack[list(indices)].mean(axis=0)
            return Found(labels_from_maps(maps, spec), maps[..., 0] >= spec.foreground_min)

        return Copies(stack[..., 0], merge)

    return NucleusModel(
        name=spec.name,
        kind="segmenter",
        predict=predict,
        percentiles=spec.percentiles,
        diameter_px=spec.diameter_px,
        stride=spec.stride,
        channels=spec.in_channels,
    )


def from_instance_segmenter(segmenter: InstanceSegmenter) -> NucleusModel:
    """A Mask R-CNN: label images are merged.

    Args:
      segmenter: The model.

    Returns:
      Its face; the network is compiled once for every shape it meets.
    """
    spec = segmenter.spec

    def segment_many(images: Float[np.ndarray, "b h w c"]) -> list[Instances]:
        # a CPU gains nothing by a batch and would compile another program for it
        if jax.default_backend() == "cpu":
            return [segment_images(segmenter, image[None])[0] for image in images]
        return segment_images(segmenter, images)

    return NucleusModel(
        name=spec.name,
        kind=KIND,
        predict=instance_copies(segment_many),
        percentiles=spec.percentiles,
        diameter_px=spec.diameter_px,
        stride=spec.stride,
        channels=spec.in_channels,
    )


def instance_copies(segment_many: SegmentMany) -> PredictCopies:
    """The `predict` of a model that finds objects one by one.

    Args:
      segment_many: See `cellml.tasks.instance_tta.predict_versions`.

    Returns:
      See `NucleusModel.predict`.
    """

    def predict(
        image: Float[np.ndarray, "h w c"],
        seen: tuple[int, int],
        transforms: str,
        chunk: int | None,
    ) -> Copies:
        versions = predict_versions(segment_many, image, transforms, chunk=chunk)
        # Without the padding: what was found there has no vote.
        inside = (slice(None), slice(seen[0]), slice(seen[1]))
        return copies_of_labels(versions.labels[inside], versions.probability[inside])

    return predict


def copies_of_labels(
    labels: Int[np.ndarray, "t h w"], probability: Float[np.ndarray, "t h w"] | None = None
) -> Copies:
    """Copies whose merge is that of their objects, by the default rules of `cellml.tta`.

    Args:
      labels: De-augmented label images, from a model or from files.
      probability: Their foreground probabilities; without them, 1 at every object.

    Returns:
      The copies. A single one is not merged: it has no shares.
    """
    if probability is None:
        probability = (labels > 0).astype(np.float32)
    versions = InstanceVersions(labels, probability)

    def merge(indices: Sequence[int]) -> Found:
        chosen = list(indices)
        found = merge_versions(InstanceVersions(*(part[chosen] for part in versions)))
        foreground = found.labels > 0
        if len(chosen) == 1:
            return Found(found.labels, foreground)
        return Found(found.labels, foreground, found.vote_share, found.mean_iou)

    return Copies(probability, merge)


def predict_image(
    model: NucleusModel,
    image: Shaped[np.ndarray, "h w c"],
    *,
    transforms: str = "none",
    chunk: int | None = None,
) -> Copies:
    """Predicts the transformed copies of one whole image.

    Args:
      model: Of any kind.
      image: Raw intensities, any dtype; 1 channel or as many as the model takes.
      transforms: A preset of `cellml.tta`.
      chunk: Copies predicted at once, None for all.

    Returns:
      One copy a transform, in the preset's order.
    """
    limits = intensity_limits(image, model.percentiles)
    pixels = normalise(image, limits, channels=model.channels)
    seen = (pixels.shape[0], pixels.shape[1])
    padded = pad_reflect(pixels, (bucket(seen[0], model.stride), bucket(seen[1], model.stride)))
    return model.predict(padded, seen, transforms, chunk)
