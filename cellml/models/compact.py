"""A small residual network for single cells, fast to train on processors.

EfficientNet spends its time on depthwise convolutions and wide, thin layers, which move more
numbers than they multiply. Here everything is a dense product: patches of 4 x 4 pixels enter at
once, and three stages of 3 x 3 convolutions follow. 128 features a cell.

Parameters are called as EfficientNet's, `stem/conv/kernel`, `block1a/conv1/kernel`,
`block1a/conv1_norm/scale`, `classifier/kernel`, so that `efficientnet.fold` and the fitting of the
stem to other channels serve both.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cellml.models.efficientnet_blocks import Conv, Norm, NormSettings, conv_init
from cellml.ops.channels import mix

VARIANT = "compact"
STAGES = ((32, 1), (64, 1), (128, 2))
"""Channels and blocks of each stage; a stage has half the resolution of the one before."""
PATCH_PX = 4
FEATURES = STAGES[-1][0]


class Patches(nn.Module):
    """Convolution whose stride is its size: every block of pixels becomes one.

    Attributes:
      filters: Output channels.
      size: Side of the blocks; rows and columns that are missing from the last ones are 0.
    """

    filters: int
    size: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        """Applies it in the dtype of `x`."""
        s, channels = self.size, x.shape[-1]
        kernel = self.param("kernel", conv_init, (s, s, channels, self.filters))
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % s), (0, -x.shape[2] % s), (0, 0)))
        b, h, w, _ = x.shape
        x = x.reshape(b, h // s, s, w // s, s, channels).transpose(0, 1, 3, 2, 4, 5)
        return mix(
            x.reshape(b, h // s, w // s, -1), kernel.reshape(-1, self.filters).astype(x.dtype)
        )


class Residual(nn.Module):
    """Two convolutions beside a shortcut.

    Attributes:
      filters: Channels in and out.
      norm: See `NormSettings`.
    """

    filters: int
    norm: NormSettings

    def setup(self) -> None:
        """Layers by their names in the parameter tree."""
        self.conv1, self.conv1_norm = Conv(self.filters, 3), Norm(self.norm)
        self.conv2, self.conv2_norm = Conv(self.filters, 3), Norm(self.norm)

    def __call__(
        self, x: Float[Array, "b h w f"], *, train: bool, valid: Bool[Array, " b"] | None
    ) -> Float[Array, "b h w f"]:
        """Applies the block."""
        y = nn.swish(self.conv1_norm(self.conv1(x), train=train, valid=valid))
        return nn.swish(x + self.conv2_norm(self.conv2(y), train=train, valid=valid))


class Downsampling(nn.Module):
    """Patches, norm and swish: the stem, and the entrance of every further stage.

    Attributes:
      filters: Output channels.
      size: Side of the patches.
      settings: See `NormSettings`.
    """

    filters: int
    size: int
    settings: NormSettings

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, valid: Bool[Array, " b"] | None
    ) -> Float[Array, "b h2 w2 f"]:
        """Applies the three."""
        x = Patches(self.filters, self.size, name="conv")(x)
        return nn.swish(Norm(self.settings, name="norm")(x, train=train, valid=valid))


class CompactNet(nn.Module):
    """The network, from images to logits or to features; see the module.

    Attributes:
      n_classes: Outputs.
      norm: `"batch"`, or `"folded"` for variables that went through `efficientnet.fold`.
      norm_epsilon: Added to variances.
      norm_momentum: Share of the running statistics that a training step keeps.
      axis_name: Mapped axis over which batch statistics are averaged; None for each device's own.
      dtype: Of the activations; parameters, statistics and results are float32.
    """

    n_classes: int = 1000
    norm: str = "batch"
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.9
    axis_name: str | None = None
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Layers by their names in the parameter tree."""
        norm = NormSettings(self.norm, self.norm_epsilon, self.norm_momentum, self.axis_name)
        self.stem = Downsampling(STAGES[0][0], PATCH_PX, norm)
        layers: list[nn.Module] = []
        for number, (filters, blocks) in enumerate(STAGES, 1):
            if number > 1:
                layers.append(Downsampling(filters, 2, norm, name=f"down{number}"))
            for letter in "abcdefgh"[:blocks]:
                layers.append(Residual(filters, norm, name=f"block{number}{letter}"))
        self.layers = layers
        self.classifier = nn.Dense(self.n_classes, kernel_init=nn.initializers.lecun_normal())

    def embed(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "b f"]:
        """Features of the images: the average pool of the last stage.

        Args:
          x: Images of any size and any number of channels.
          train: Batch statistics (collection `batch_stats` must be mutable).
          valid: Rows that count in the batch statistics; None for all.
        Returns:
          `FEATURES` features an image.
        """
        x = self.stem(x.astype(self.dtype), train=train, valid=valid)
        for layer in self.layers:
            x = layer(x, train=train, valid=valid)  # type: ignore[operator]
        return x.mean((1, 2), dtype=jnp.float32)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "b k"]:
        """Returns logits; arguments as of `embed`."""
        return self.classifier(self.embed(x, train=train, valid=valid))
