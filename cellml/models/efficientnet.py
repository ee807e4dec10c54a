"""EfficientNet B0 to B7 in Linen, numerically that of Keras (Tan & Le 2019, ICML).

`EfficientNet("b0", n_classes=10).apply(variables, images)` gives logits. Features of single cells
come from `embed`: the average pool of `block6a`, where DeepProfiler and the dissertation cut the
network. `fold` merges the batch norms into the convolutions for inference.

Parameters are called `stem/conv/kernel`, `block2a/expand/kernel`, `block2a/expand_norm/scale`,
`block2a/depthwise/kernel`, `block2a/reduce/bias`, `head/conv/kernel`, `classifier/kernel`.
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Bool, Float

from cellml.models.efficientnet_blocks import (
    VARIANTS,
    Block,
    ConvNorm,
    NormSettings,
    block_specs,
    head_filters,
)
from cellml.types import Variables

__all__ = ["VARIANTS", "EfficientNet", "embed", "feature_count", "fold"]

# Keras' initialiser of the classifier
dense_init = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class EfficientNet(nn.Module):
    """EfficientNet, from images to logits or to the features of a cell.

    The defaults are Keras'. Weights of torchvision and of timm's `efficientnet_*` need
    `padding="TORCH"` and another epsilon: see `cellml.weights.efficientnet_layouts.module_options`.

    Attributes:
      variant: A key of `VARIANTS`.
      n_classes: Outputs.
      drop_connect: Chance of skipping the last block; it grows from 0 at the first
        (rng `"dropout"`).
      dropout: Rate before the classifier (Keras' own top has .2, DeepProfiler's none).
      padding: `"SAME"` (TensorFlow's) or `"TORCH"`.
      norm: `"batch"`, or `"folded"` for variables that went through `fold`.
      norm_epsilon: Added to variances.
      norm_momentum: Share of the running statistics that a training step keeps.
      axis_name: Mapped axis over which batch statistics are averaged; None for each device's own.
      dtype: Of the activations; parameters, statistics and results are float32.
    """

    variant: str = "b0"
    n_classes: int = 1000
    drop_connect: float = 0.2
    dropout: float = 0.0
    padding: Literal["SAME", "TORCH"] = "SAME"
    norm: Literal["batch", "folded"] = "batch"
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.99
    axis_name: str | None = None
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Layers by their names in the parameter tree."""
        specs = block_specs(self.variant)
        norm = NormSettings(self.norm, self.norm_epsilon, self.norm_momentum, self.axis_name)
        self.stem = ConvNorm(specs[0].channels, 3, 2, self.padding, norm)
        self.blocks = [
            Block(spec, self.drop_connect * i / len(specs), self.padding, norm, name=spec.name)
            for i, spec in enumerate(specs)
        ]
        self.head = ConvNorm(head_filters(self.variant), 1, 1, self.padding, norm)
        self.drop = nn.Dropout(self.dropout)
        self.classifier = nn.Dense(self.n_classes, kernel_init=dense_init)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "b k"]:
        """Returns logits.

        Args:
          x: Images of any size and any number of channels.
          train: Batch statistics (collection `batch_stats` must be mutable) and drop-connect.
          valid: Rows that count in the batch statistics; None for all.
        """
        x = self.stem(x.astype(self.dtype), train=train, valid=valid)
        for block in self.blocks:
            x = block(x, train=train, valid=valid)
        x = self.head(x, train=train, valid=valid).mean((1, 2), dtype=jnp.float32)
        return self.classifier(self.drop(x, deterministic=not train))

    def block6a(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        """The activation `block6a_activation` in evaluation: 1/32 of the resolution.

        It is the swish after block6a's depthwise convolution, before squeeze-and-excitation: 672
        channels for b0, 4 x 4 pixels for images of 128 x 128. Later layers are not computed.
        """
        x = self.stem(x.astype(self.dtype), train=False)
        cut = [block.spec.name for block in self.blocks].index("block6a")
        for block in self.blocks[:cut]:
            x = block(x, train=False)
        return self.blocks[cut].activation(x, train=False).astype(jnp.float32)

    def embed(self, x: Float[Array, "b h w c"]) -> Float[Array, "b f"]:
        """Features of the images: the average pool of `block6a`."""
        return self.block6a(x).mean((1, 2))


def feature_count(variant: str) -> int:
    """Number of features that `embed` returns: 672 for b0."""
    return next(spec.inner for spec in block_specs(variant) if spec.name == "block6a")


def embed(
    model: nn.Module, variables: Variables, images: Float[Array, "b h w c"], *, chunk: int = 4
) -> Float[Array, "b f"]:
    """`EfficientNet.embed`, on CPU a few images at a time: their activations stay in the cache.

    Args:
      model: The network, or another with a method `embed`;
        with `norm="folded"` it is a little faster, see `fold`.
      variables: Its variables.
      images: Any number of them.
      chunk: Images at a time on CPU (1.4 times the speed of a batch of 32, at 128 x 128 pixels and
        at 224 x 224); other devices get all at once.
    Returns:
      `feature_count(variant)` features an image for EfficientNet, float32.
    Raises:
      ValueError: `chunk` is below 1.
    """
    if chunk < 1:
        raise ValueError(f"embed: expected a chunk of at least one image, found {chunk}")
    n = images.shape[0]

    def at_once(images: Array) -> Array:
        return model.apply(variables, images, method="embed")  # type: ignore[return-value]

    def in_chunks(images: Array) -> Array:
        filled = jnp.pad(images, ((0, -n % chunk), (0, 0), (0, 0), (0, 0)))
        chunks = lax.map(at_once, filled.reshape(-1, chunk, *images.shape[1:]))
        return chunks.reshape(filled.shape[0], -1)[:n]

    if n <= chunk:
        return at_once(images)
    return lax.platform_dependent(images, cpu=in_chunks, default=at_once)


def fold(variables: Variables, *, epsilon: float = 1e-3) -> dict[str, Any]:
    """Merges the batch norms, with their stored statistics, into the convolutions before them.

    Args:
      variables: Of an `EfficientNet` with `norm="batch"`.
      epsilon: Its `norm_epsilon`.
    Returns:
      Variables of the same network with `norm="folded"`; in evaluation they give the same results
      to rounding, with less work.
    Raises:
      ValueError: There are no batch statistics: the variables may be folded already.
    """
    if "batch_stats" not in variables:
        raise ValueError("fold: expected the collection batch_stats; are the variables folded?")
    params: dict[Any, Any] = flatten_dict(dict(variables["params"]))
    stats: dict[Any, Any] = flatten_dict(dict(variables["batch_stats"]))
    for *place, leaf in list(stats):
        if leaf != "mean":
            continue
        # The norm's own name is its convolution's with "_norm"; in stem and head, they are
        # called norm and conv.
        conv = place[-1].removesuffix("_norm").replace("norm", "conv")
        norm = tuple(place)
        factor = params.pop((*norm, "scale")) / jnp.sqrt(stats[*norm, "var"] + epsilon)
        kernel = params[*norm[:-1], conv, "kernel"]
        params[*norm[:-1], conv, "kernel"] = kernel * factor.reshape(
            (1,) * (kernel.ndim - 1) + (-1,)
        )
        params[*norm, "bias"] = params[*norm, "bias"] - stats[*norm, "mean"] * factor
    return {"params": unflatten_dict(params)}
