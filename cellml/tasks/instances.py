"""Nuclei by Mask R-CNN, from end to end: preprocessing, model, losses, metrics, detections.

The network and its forward passes are in `cellml.models.mask_rcnn` and `cellml.tasks.detection`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cellml.models.mask_rcnn import MaskRCNN
from cellml.models.mask_rcnn_settings import MaskRCNNSettings, make_settings
from cellml.tasks import detection
from cellml.tasks.detection_losses import LOSSES, forward, network_losses
from cellml.tasks.detections_host import Instances, paste
from cellml.types import Batch, Key, Loss, ModelState, Task, Variables
from cellml.weights.registry import resolve_model
from cellml.weights.store import load_weights, save_weights

KIND = "instance_segmenter"
MASK_ROWS = (16, 64, 256, 1024)
"""Masks are computed for as many detections as there are, rounded up to one of these."""


@dataclasses.dataclass(frozen=True)
class InstanceSpec:
    """Everything besides the weights that turns an image into nuclei; stored with the weights.

    Attributes:
      name: Name of the model.
      preset: A key of `cellml.models.mask_rcnn_settings.PRESETS`.
      changes: Fields that differ from the preset, as (name, value) pairs.
      in_channels: Channels that the network takes; grey images are repeated.
      percentiles: Intensities mapped to 0 and 1, `cellml.ops.intensity.intensity_limits`; None for
        weights that were trained on raw 8-bit images.
      diameter_px: Mean diameter of the training nuclei, as the image has them.
      enlarge: The network sees images enlarged by this factor.
      overlap: Who gets a contested pixel, see `cellml.tasks.detections_host.paste`.
      area_min_px: Smaller objects are dropped.
    """

    name: str = "unnamed"
    preset: str = "cellml"
    changes: tuple[tuple[str, Any], ...] = ()
    in_channels: int = 3
    percentiles: tuple[float, float] | None = (1.0, 99.8)
    diameter_px: float = 20.0
    enlarge: int = 1
    overlap: str = "highest"
    area_min_px: int = 12

    @functools.cached_property
    def settings(self) -> MaskRCNNSettings:
        """The network's settings."""
        return make_settings(self.preset, dict(self.changes))

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this many pixels."""
        return 64 // np.gcd(64, self.enlarge).item()

    def module(self) -> MaskRCNN:
        """The network."""
        return MaskRCNN(self.settings)

    def frozen(self) -> "InstanceSpec":
        """The same with every setting written out, so that a later preset changes nothing."""
        return dataclasses.replace(self, changes=tuple(dataclasses.asdict(self.settings).items()))

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "InstanceSpec":
        """Reads what `to_json` gave.

        Raises:
          ValueError: Unknown field, as of a later version.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(fields) - known:
            raise ValueError(f"segmenter: unknown fields {sorted(unknown)}; known {sorted(known)}")
        return cls(**{key: _hashable(value) for key, value in fields.items()})


class InstanceSegmenter(NamedTuple):
    """A trained model: what it is, and its parameter tree."""

    spec: InstanceSpec
    variables: Variables


def detect(
    spec: InstanceSpec, variables: Variables, images: Float[Array, "b h w c"]
) -> detection.Detections:
    """Objects of a batch of images. Pure: `jax.jit(functools.partial(detect, spec))`.

    Args:
      spec: Static.
      variables: Parameter tree.
      images: Normalised, height and width in multiples of `spec.stride`.
    Returns:
      Detections; boxes in px of the images (not enlarged).
    """
    settings = spec.settings
    prepared = detection.prepare(images, settings, enlarge=spec.enlarge)
    found, pyramid = detection.detect_boxes(settings, variables, prepared)
    shape = (prepared.shape[1], prepared.shape[2])
    found = detection.detect_masks(settings, variables, found, pyramid, shape)
    return found._replace(boxes=found.boxes / spec.enlarge)


@functools.lru_cache(maxsize=32)
def _compiled(spec: InstanceSpec) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Both halves of `detect`, so that masks are computed for the objects that there are."""
    settings = spec.settings

    def boxes(variables: Variables, images: Array) -> tuple[detection.Detections, Any]:
        prepared = detection.prepare(images, settings, enlarge=spec.enlarge)
        return detection.detect_boxes(settings, variables, prepared)

    def masks(variables: Variables, found: detection.Detections, pyramid: Any) -> Array:
        shape = (pyramid[0].shape[1] * 4, pyramid[0].shape[2] * 4)
        return detection.detect_masks(settings, variables, found, pyramid, shape).masks

    return jax.jit(boxes), jax.jit(masks)


def segment_images(
    segmenter: InstanceSegmenter, images: Float[np.ndarray, "b h w c"]
) -> list[Instances]:
    """Objects of a batch of images of one size at full resolution, without overlap.

    Args:
      segmenter: The model; it compiles once a shape.
      images: Normalised, height and width in multiples of `spec.stride`.
    Returns:
      One result an image.
    """
    spec, variables = segmenter
    settings = spec.settings
    find_boxes, find_masks = _compiled(spec)
    found, pyramid = find_boxes(variables, jnp.asarray(images))
    valid = np.asarray(found.valid)
    most = int(valid.sum(axis=1).max())
    rows = min(next((n for n in MASK_ROWS if n >= most), most), valid.shape[1])
    # detections come best first, so that the first rows are all that exist
    cut = jax.tree.map(lambda leaf: leaf[:, :rows], found)
    masks = np.asarray(find_masks(variables, cut, pyramid))
    boxes, scores = np.asarray(cut.boxes) / spec.enlarge, np.asarray(cut.scores)
    return [
        paste(
            boxes[i],
            scores[i],
            masks[i],
            valid[i, :rows],
            (images.shape[1], images.shape[2]),
            mask_min=settings.mask_min,
            overlap=spec.overlap,
            whole_px=settings.closed_boxes,
            area_min_px=spec.area_min_px,
        )
        for i in range(len(images))
    ]


def make_task(spec: InstanceSpec) -> Task:
    """The training task: the five losses of Mask R-CNN, summed with weight 1.

    Batches are those of `cellml.data.instance_batching`; an image without an object has finite
    losses. Metrics: the losses, with fixed random choices.
    """
    settings, module = spec.settings, spec.module()

    def init(key: Key, batch: Batch) -> Variables:
        images = jnp.asarray(batch["image"])[:1]
        return module.init(key, detection.prepare(images, settings, enlarge=spec.enlarge))

    def losses(variables: Variables, batch: Batch, key: Key) -> dict[str, Loss]:
        found = forward(settings, variables, batch, key, enlarge=spec.enlarge)
        return network_losses(found, jnp.asarray(batch["valid"]))

    def task_losses(
        variables: Variables, batch: Batch, key: Key, train: bool
    ) -> tuple[dict[str, Loss], ModelState]:
        del train  # norms are frozen or of groups; nothing is dropped
        state = {name: value for name, value in variables.items() if name != "params"}
        return losses(variables, batch, key), state

    def metrics(variables: Variables, batch: Batch) -> dict[str, Loss]:
        return losses(variables, batch, jax.random.key(0))

    return Task(spec.name, init, task_losses, dict.fromkeys(LOSSES, 1.0), metrics, "first")


def save_instance_segmenter(
    path: str | Path,
    segmenter: InstanceSegmenter,
    *,
    card: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Writes a model that `load_instance_segmenter` and `cellml segment --model FILE` read.

    Args:
      path: A `.safetensors` file.
      segmenter: The model.
      card: JSON-able facts about training and scores, kept beside the spec.
      half: Store the weights in float16.
    """
    description = {
        "kind": KIND,
        "spec": segmenter.spec.frozen().to_json(),
        "card": dict(card or {}),
    }
    save_weights(path, segmenter.variables, description, half=half)


def load_instance_segmenter(name_or_path: str | Path) -> InstanceSegmenter:
    """Loads a shipped model by name (hash checked) or any model by its path.

    Raises:
      ValueError: Neither a known name nor a weights file of an instance segmenter.
      FileNotFoundError: A path that leads nowhere.
    """
    path = resolve_model(name_or_path)
    variables, description = load_weights(path)
    if description.get("kind") != KIND:
        raise ValueError(
            f"{path}: expected weights of an instance segmenter, found {description.get('kind')}"
        )
    return InstanceSegmenter(InstanceSpec.from_json(description["spec"]), variables)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list | tuple) else value
