"""Nuclei by U-Net, from end to end: preprocessing, model, loss, metrics, maps to instances.

The network gives one map per head (see `cellml.ops.instance_maps`): the dissertation's U-Net has
the head `foreground` alone and is scored by IoU; ours adds `boundary` and `distance`, from which a
watershed separates nuclei that touch.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cellml import losses
from cellml.models.unet import UNet, make_unet, stride
from cellml.ops import instance_maps
from cellml.types import Batch, Key, Loss, ModelState, Task, Variables
from cellml.weights.registry import resolve_model
from cellml.weights.store import load_weights, save_weights


@dataclasses.dataclass(frozen=True)
class SegmenterSpec:
    """Everything besides the weights that turns an image into nuclei; stored with the weights.

    Attributes:
      name: Name of the model.
      preset: A key of `cellml.models.unet.PRESETS`.
      model: Fields of `UNet` that differ from the preset, as (name, value) pairs.
      in_channels: Channels that the network takes; grey images are repeated.
      heads: Maps that the network gives, `foreground` first.
      percentiles: Intensities mapped to 0 and 1, `cellml.ops.intensity.intensity_limits`.
      diameter_px: Mean diameter of the training nuclei, as trained.
      foreground_min: See `instance_maps.labels_from_maps`, as are the next five.
      seed_distance_min: See there.
      seed_boundary_max: See there.
      area_min_px: See there.
      smooth_px: See there.
      score_min: See there.
    """

    name: str = "unnamed"
    preset: str = "nuclei"
    model: tuple[tuple[str, Any], ...] = ()
    in_channels: int = 3
    heads: tuple[str, ...] = instance_maps.HEADS
    percentiles: tuple[float, float] = (1.0, 99.8)
    diameter_px: float = 20.0
    foreground_min: float = 0.5
    seed_distance_min: float = 0.1
    seed_boundary_max: float = 0.5
    area_min_px: int = 12
    smooth_px: float = 0.0
    score_min: float = 0.0

    def unet(self) -> UNet:
        """The network's module."""
        return make_unet(self.preset, out_channels=len(self.heads), **dict(self.model))

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this many pixels."""
        return stride(self.unet())

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "SegmenterSpec":
        """Reads what `to_json` gave.

        Raises:
          ValueError: Unknown field, as of a later version.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(fields) - known:
            raise ValueError(f"segmenter: unknown fields {sorted(unknown)}; known {sorted(known)}")
        values = {key: _hashable(value) for key, value in fields.items()}
        return cls(**values)


class Segmenter(NamedTuple):
    """A trained model: what it is, and its parameter tree."""

    spec: SegmenterSpec
    variables: Variables


def predict_maps(
    spec: SegmenterSpec, variables: Variables, images: Float[Array, "b h w c"]
) -> Float[Array, "b h w k"]:
    """Probabilities of every head. Pure: `jax.jit(functools.partial(predict_maps, spec))`.

    Args:
      spec: Static.
      variables: Parameter tree.
      images: Normalised, height and width in multiples of `spec.stride`.
    Returns:
      In the order of `spec.heads`, within [0, 1].
    """
    return jax.nn.sigmoid(jnp.asarray(spec.unet().apply(variables, images)))


def labels_from_maps(
    maps: Float[np.ndarray, "h w k"], spec: SegmenterSpec
) -> Int[np.ndarray, "h w"]:
    """Nuclei as int32 labels 1..n, by `instance_maps.labels_from_maps` with the spec's numbers."""
    return instance_maps.labels_from_maps(
        maps,
        spec.heads,
        foreground_min=spec.foreground_min,
        seed_distance_min=spec.seed_distance_min,
        seed_boundary_max=spec.seed_boundary_max,
        area_min_px=spec.area_min_px,
        smooth_px=spec.smooth_px,
        score_min=spec.score_min,
    )


def make_task(spec: SegmenterSpec, *, dice_weight: float = 0.5) -> Task:
    """The training task: weighted cross-entropy of every head, and Dice of the foreground.

    Batches need image, target, weight and valid. Metrics: the losses and the mean foreground IoU
    of the images at a threshold of 0.5 (`iou`).
    """
    model = spec.unet()

    def init(key: Key, batch: Batch) -> Variables:
        return model.init(key, jnp.asarray(batch["image"])[:1])

    def head_losses(logits: Float[Array, "b h w k"], batch: Batch) -> dict[str, Loss]:
        target, weight, valid = (jnp.asarray(batch[name]) for name in ("target", "weight", "valid"))
        found = {
            f"bce_{head}": losses.binary_cross_entropy(
                logits[..., i], target[..., i], weight, valid
            )
            for i, head in enumerate(spec.heads)
        }
        if dice_weight:
            found["dice"] = losses.dice_loss(logits[..., 0], target[..., 0], valid)
        return found

    def task_losses(
        variables: Variables, batch: Batch, key: Key, train: bool
    ) -> tuple[dict[str, Loss], ModelState]:
        image = jnp.asarray(batch["image"])
        logits = jnp.asarray(model.apply(variables, image, train=train, rngs={"dropout": key}))
        return head_losses(logits, batch), {}

    def metrics(variables: Variables, batch: Batch) -> dict[str, Loss]:
        logits = jnp.asarray(model.apply(variables, jnp.asarray(batch["image"])))
        valid = jnp.asarray(batch["valid"])
        predicted = logits[..., 0] >= 0
        true = jnp.asarray(batch["target"])[..., 0] >= 0.5
        both = jnp.sum(predicted & true, axis=(1, 2)).astype(jnp.float32)
        either = jnp.sum(predicted | true, axis=(1, 2)).astype(jnp.float32)
        iou = jnp.where(either > 0, both / jnp.maximum(either, 1.0), 1.0)
        mask = valid.astype(jnp.float32)
        return {**head_losses(logits, batch), "iou": (jnp.sum(iou * mask), jnp.sum(mask))}

    weights = {f"bce_{head}": 1.0 for head in spec.heads}
    if dice_weight:
        weights["dice"] = dice_weight
    return Task(spec.name, init, task_losses, weights, metrics)


def save_segmenter(
    path: str | Path,
    segmenter: Segmenter,
    *,
    card: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Writes a model that `load_segmenter` and `cellml segment --weights` read.

    Args:
      path: A `.safetensors` file.
      segmenter: The model.
      card: JSON-able facts about training and scores, kept beside the spec.
      half: Store the weights in float16.
    """
    description = {
        "kind": "segmenter",
        "spec": segmenter.spec.to_json(),
        "card": dict(card or {}),
    }
    save_weights(path, segmenter.variables, description, half=half)


def load_segmenter(name_or_path: str | Path) -> Segmenter:
    """Loads a shipped model by name (hash checked) or any model by its path.

    Raises:
      ValueError: Neither a known name nor a weights file of a segmenter; the message lists the
        known names.
      FileNotFoundError: A path that leads nowhere.
    """
    path = resolve_model(name_or_path)
    variables, description = load_weights(path)
    if description.get("kind") != "segmenter":
        raise ValueError(
            f"{path}: expected weights of a segmenter, found {description.get('kind')}"
        )
    return Segmenter(SegmenterSpec.from_json(description["spec"]), variables)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list | tuple) else value
