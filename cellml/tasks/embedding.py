"""Features of single cells by EfficientNet, from end to end: crops, network, training, files.

Two routes, both of the dissertation:
- `stacked`: all channels go through one network that was trained on such cells with weak labels,
  that is, to tell the treatment of a cell (weakly supervised learning, WSL). 672 features for B0.
- `by_channel`: each channel goes alone through a network for photographs; the features of the
  channels stand side by side, 672 x channels.

In both, the network is cut at `block6a_activation`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from cellml import losses
from cellml.models import compact, efficientnet
from cellml.models.compact import CompactNet
from cellml.models.efficientnet import EfficientNet
from cellml.ops.crop_augmentation import (
    INTENSITIES,
    AugmentationSettings,
    augment,
    resize_legacy,
    scale_intensity,
)
from cellml.types import Batch, Key, Loss, ModelState, Task, Variables

ROUTES = ("stacked", "by_channel")
TOP_K = 5
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
VARIANTS = (*efficientnet.VARIANTS, compact.VARIANT)


@dataclasses.dataclass(frozen=True)
class EmbedderSpec:
    """Everything besides the weights that turns crops into features; stored with the weights.

    Attributes:
      name: Name of the model.
      route: One of `ROUTES`.
      variant: One of `VARIANTS`: sizes of EfficientNet, or `compact` for `CompactNet`.
      channels: Names of the channels in the order of training; empty if any will do.
      classes: What the network was trained to tell apart; empty if nothing of ours.
      side_px: Side of the crops it was trained on, 0 if unknown.
      input_px: Crops are resized to this side before they enter, 0 for not at all.
      intensity: One of `cellml.ops.crop_augmentation.INTENSITIES`.
      masked: Whether pixels of other cells and background are 0; crops come so prepared.
      drop_connect: See `EfficientNet`; `compact` has none.
      padding: See there; `compact` has one kind.
      norm_epsilon: See there.
      norm_momentum: See there.
      dtype: Of the activations, a key of `DTYPES`.
    """

    name: str = "unnamed"
    route: str = "stacked"
    variant: str = "b0"
    channels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    side_px: int = 0
    input_px: int = 0
    intensity: str = "minmax"
    masked: bool = False
    drop_connect: float = 0.2
    padding: str = "SAME"
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.99
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Checks the names.

        Raises:
          ValueError: One is unknown.
        """
        for what, value, known in (
            ("route", self.route, ROUTES),
            ("intensity", self.intensity, INTENSITIES),
            ("dtype", self.dtype, tuple(DTYPES)),
            ("variant", self.variant, VARIANTS),
        ):
            if value not in known:
                raise ValueError(f"embedder: {what} {value!r}, expected one of {', '.join(known)}")

    def network(self, **changes: Any) -> EfficientNet | CompactNet:
        """The network's module, with further fields if given."""
        fields: dict[str, Any] = {
            "n_classes": max(len(self.classes), 1),
            "norm_epsilon": self.norm_epsilon,
            "norm_momentum": self.norm_momentum,
            "dtype": DTYPES[self.dtype],
        }
        if self.variant == compact.VARIANT:
            return CompactNet(**fields | changes)
        fields |= {
            "variant": self.variant,
            "drop_connect": self.drop_connect,
            "padding": self.padding,
        }
        return EfficientNet(**fields | changes)

    def feature_names(self, channels: tuple[str, ...]) -> list[str]:
        """Names of the features of crops with these channels, in order."""
        if self.variant == compact.VARIANT:
            family, count = compact.VARIANT, compact.FEATURES
        else:
            family, count = "efficientnet", efficientnet.feature_count(self.variant)
        parts = channels if self.route == "by_channel" else (family,)
        return [f"{part}_{i:04d}" for part in parts for i in range(count)]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "EmbedderSpec":
        """Reads what `to_json` gave.

        Raises:
          ValueError: Unknown field, as of a later version.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(fields) - known:
            raise ValueError(f"embedder: unknown fields {sorted(unknown)}; known {sorted(known)}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)


class Embedder(NamedTuple):
    """A network for features: what it is, and its parameter tree."""

    spec: EmbedderSpec
    variables: Variables


def prepare_crops(
    spec: EmbedderSpec, crops: Shaped[Array, "b s s c"]
) -> Float[Array, "n s2 s2 c2"]:
    """Makes what the network sees in evaluation; n is b, or b x c for `by_channel`.

    By channel: the crop's intensities to [0, 1], resized, and once more to [-1, 1]; the channel
    takes the place of all three colours, for which the network's stem has been summed up.
    """
    x = scale_intensity(crops, spec.intensity)
    if spec.input_px and spec.input_px != x.shape[1]:
        x = resize_legacy(x, spec.input_px)
    if spec.route == "stacked":
        return x
    b, side, _, channels = x.shape
    x = scale_intensity(x, "minmax") * 2.0 - 1.0
    return x.transpose(0, 3, 1, 2).reshape(b * channels, side, side, 1)


def embed(
    spec: EmbedderSpec, variables: Variables, crops: Shaped[Array, "b s s c"]
) -> Float[Array, "b f"]:
    """Features of single cells. Pure: `jax.jit(functools.partial(embed, spec))`.

    Args:
      spec: Static.
      variables: Of `Embedder.variables`, or the same with batch norms folded (`for_inference`).
      crops: As stored, without a mask channel.
    Returns:
      float32, named by `spec.feature_names`.
    """
    folded = "batch_stats" not in variables
    model = spec.network(norm="folded" if folded else "batch")
    features = efficientnet.embed(model, variables, prepare_crops(spec, crops))
    return features.reshape(crops.shape[0], -1)


def for_inference(embedder: Embedder) -> Embedder:
    """Merges the batch norms into the convolutions: the same features with less work."""
    spec, variables = embedder
    if "batch_stats" not in variables:
        return embedder
    return Embedder(spec, efficientnet.fold(variables, epsilon=spec.norm_epsilon))


def make_task(
    spec: EmbedderSpec,
    *,
    augmentation: AugmentationSettings | None = None,
    label_smoothing: float = 0.0,
    classifier_scale: float = 1.0,
) -> Task:
    """The training task: cross-entropy of the treatment.

    Batches need crops, target and valid; in evaluation also `validates`, Bool[b]: metrics of rows
    where it is False are called `train_...`. Metrics: `cross_entropy`, `accuracy`, `top5` and
    `f1`, the macro average over the classes that occur or are predicted.

    Args:
      spec: The network, with the classes.
      augmentation: What happens to crops in training; None for nothing.
      label_smoothing: See `losses.softmax_cross_entropy`.
      classifier_scale: Factor of the classifier's first kernel. Keras' is meant for a trained
        trunk; on fresh weights it takes hundreds of steps to forget, 0 begins at even odds.
    Returns:
      The task.
    Raises:
      ValueError: There are fewer than two classes, or the route is not `stacked`.
    """
    if len(spec.classes) < 2 or spec.route != "stacked":
        raise ValueError(
            f"embedder: at least two classes and route 'stacked' are needed to train, found "
            f"{len(spec.classes)} and {spec.route!r}"
        )
    model = spec.network()

    def init(key: Key, batch: Batch) -> Variables:
        example = prepare_crops(spec, jnp.asarray(batch["crops"])[:1])
        variables = jax.jit(model.init)(key, example)
        params: dict[str, Any] = dict(variables["params"])
        kernel = params["classifier"]["kernel"] * classifier_scale
        params["classifier"] = {**params["classifier"], "kernel": kernel}
        return {**variables, "params": params}

    def task_losses(
        variables: Variables, batch: Batch, key: Key, train: bool
    ) -> tuple[dict[str, Loss], ModelState]:
        augment_key, drop_key = jax.random.split(key)
        crops, target, valid = (jnp.asarray(batch[name]) for name in ("crops", "target", "valid"))
        x = prepare_crops(spec, crops)
        if train and augmentation is not None:
            x = augment(augment_key, x, augmentation)
        logits, state = model.apply(
            variables, x, train=train, valid=valid, rngs={"dropout": drop_key},
            mutable=["batch_stats"],
        )  # fmt: skip
        loss = losses.softmax_cross_entropy(
            jnp.asarray(logits), target, valid, label_smoothing=label_smoothing
        )
        return {"cross_entropy": loss}, state

    def metrics(variables: Variables, batch: Batch) -> dict[str, Loss]:
        crops, target, valid = (jnp.asarray(batch[name]) for name in ("crops", "target", "valid"))
        logits = jnp.asarray(model.apply(variables, prepare_crops(spec, crops)))
        validates = jnp.asarray(batch.get("validates", jnp.ones_like(valid)))
        return {
            **classification_metrics(logits, target, valid & validates),
            **classification_metrics(logits, target, valid & ~validates, prefix="train_"),
        }

    return Task(spec.name, init, task_losses, {"cross_entropy": 1.0}, metrics)


def classification_metrics(
    logits: Float[Array, "b k"], target: Array, valid: Array, *, prefix: str = ""
) -> dict[str, Loss]:
    """Sums and counts of the scores of a classifier.

    Args:
      logits: One a class.
      target: Int[b], true classes.
      valid: Bool[b], rows that count.
      prefix: Of the names.
    Returns:
      cross_entropy, accuracy, top5; and f1, a vector of 2 tp over (predicted + true), one a class.
    """
    k = logits.shape[-1]
    mask = valid.astype(jnp.float32)
    count = jnp.sum(mask)
    own = jnp.take_along_axis(logits, target[:, None], axis=-1)
    # A cell whose logits are all alike is not in the top: ties count against it.
    rank = jnp.sum((logits >= own).astype(jnp.int32), axis=-1)
    predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), k) * mask[:, None]
    true = jax.nn.one_hot(target, k) * mask[:, None]
    both, either = jnp.sum(predicted * true, axis=0), jnp.sum(predicted + true, axis=0)
    scores = {
        "cross_entropy": losses.softmax_cross_entropy(logits, target, valid),
        "accuracy": (jnp.sum((rank == 1).astype(jnp.float32) * mask), count),
        "top5": (jnp.sum((rank <= min(TOP_K, k)).astype(jnp.float32) * mask), count),
        "f1": (2.0 * both, either),
    }
    return {prefix + name: score for name, score in scores.items()}
