"""U-Net in Linen, of any depth, width and number of channels.

One module covers the network of the dissertation (`zhixuhao`: plain blocks, nearest
up-sampling, dropout, no normalisation) and the modern ones (`nuclei`: residual blocks with
group normalisation, and a stem that works at half resolution).
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cellml.ops.conv import conv_general_dilated, conv_merged, conv_upsampled, max_pool_2x2

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


# Same numbers and parameters as Linen's own, with gradients that are fast on CPU as well.
Conv = functools.partial(nn.Conv, kernel_init=he_normal, conv_general_dilated=conv_general_dilated)


class UpConv(nn.Module):
    """Convolution of nearest up-sampled `x`, after `skip` in the channels where it is given.

    Attributes:
      filters: Output channels.
      size: Side of the kernel, 1 to 3.
      use_bias: Add a bias.
    """

    filters: int
    size: int = 3
    use_bias: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skip: Float[Array, "b h2 w2 c2"] | None = None
    ) -> Float[Array, "b h2 w2 f"]:
        """Returns twice the height and width of `x`; neither copy nor large image is made."""
        channels = x.shape[-1] + (0 if skip is None else skip.shape[-1])
        kernel = self.param("kernel", he_normal, (self.size, self.size, channels, self.filters))
        y = conv_upsampled(x, kernel) if skip is None else conv_merged(skip, x, kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.filters,))
            y = y + bias[None, None, None]
        return y


class ConvBlock(nn.Module):
    """`depth` 3x3 convolutions; with `residual`, a shortcut around them.

    Attributes:
      filters: Output channels.
      depth: Number of 3x3 convolutions.
      norm: `"none"` or `"group"` (group normalisation after each convolution).
      residual: Add the input (through a 1x1 convolution where the channels differ).
    """

    filters: int
    depth: int = 2
    norm: Literal["none", "group"] = "none"
    residual: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skip: Float[Array, "b h2 w2 c2"] | None = None
    ) -> Float[Array, "b h3 w3 f"]:
        """Applies the block to `x`, or to `skip` and the up-sampled `x` side by side."""
        y, bias = x, self.norm == "none"
        for i in range(self.depth):
            if i == 0 and skip is not None:
                y = UpConv(self.filters, 3, bias, name="Conv_0")(x, skip)
            else:
                y = Conv(self.filters, (3, 3), use_bias=bias, name=f"Conv_{i}")(y)
            if self.norm == "group":
                y = nn.GroupNorm(num_groups=None, group_size=min(16, self.filters))(y)
            if i + 1 < self.depth or not self.residual:
                y = nn.relu(y)
        if self.residual:
            shortcut = f"Conv_{self.depth}"
            if skip is not None:
                x = UpConv(self.filters, 1, name=shortcut)(x, skip)
            elif x.shape[-1] != self.filters:
                x = Conv(self.filters, (1, 1), name=shortcut)(x)
            y = nn.relu(x + y)
        return y


def space_to_depth(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c2"]:
    """Moves each `factor` x `factor` block of pixels into the channels."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, factor**2 * c)


def depth_to_space(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c2"]:
    """Inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c // factor**2)


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with the variations that the presets need.

    Height and width of the input must be multiples of `stride(self)`.

    Attributes:
      filters: Channels of each level, finest first; its length is the depth.
      out_channels: Channels of the output (logits).
      convs: 3x3 convolutions a block.
      norm: `"none"` or `"group"`.
      residual: Residual blocks.
      stem_factor: The first level works at 1/stem_factor of the resolution: pixels are moved
        into channels on the way in and back out on the way out.
      up_conv: Kernel size of the convolution with ReLU after up-sampling, 0 for none.
      dropout_levels: Levels (0 is the finest) whose encoder output is dropped out by `dropout`.
      dropout: Rate.
      tail: Channels of an extra 3x3 convolution with ReLU before the output, 0 for none.
    """

    filters: tuple[int, ...] = (32, 64, 128, 256)
    out_channels: int = 1
    convs: int = 2
    norm: Literal["none", "group"] = "none"
    residual: bool = False
    stem_factor: int = 1
    up_conv: int = 0
    dropout_levels: tuple[int, ...] = ()
    dropout: float = 0.5
    tail: int = 0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h w k"]:
        """Returns logits; `train` switches dropout on (rng collection `"dropout"`).

        Raises:
          ValueError: Height or width is not a multiple of the network's stride (at trace time).
        """
        multiple = stride(self)
        if x.shape[1] % multiple or x.shape[2] % multiple:
            raise ValueError(
                f"UNet: expected height and width in multiples of {multiple}, "
                f"found {x.shape[1]} x {x.shape[2]}"
            )
        if self.stem_factor > 1:
            x = space_to_depth(x, self.stem_factor)
        skips = []
        for level, filters in enumerate(self.filters):
            if level:
                x = max_pool_2x2(x)
            x = ConvBlock(filters, self.convs, self.norm, self.residual, name=f"down{level}")(x)
            if level in self.dropout_levels:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            skips.append(x)
        for level in reversed(range(len(self.filters) - 1)):
            filters, skip = self.filters[level], skips[level]
            block = ConvBlock(filters, self.convs, self.norm, self.residual, name=f"up{level}")
            if self.up_conv:
                # TensorFlow's SAME pads an even kernel at the bottom and right, as UpConv does.
                x = nn.relu(UpConv(filters, self.up_conv, name=f"upconv{level}")(x))
                x = block(jnp.concatenate([skip, x], axis=-1))
            else:
                x = block(x, skip)
        if self.tail:
            x = nn.relu(Conv(self.tail, (3, 3), name="tail")(x))
        x = nn.Conv(self.out_channels * self.stem_factor**2, (1, 1), name="head")(x)
        return depth_to_space(x, self.stem_factor) if self.stem_factor > 1 else x


def stride(model: UNet) -> int:
    """Smallest number of pixels that height and width must be a multiple of."""
    return model.stem_factor * 2 ** (len(model.filters) - 1)


PRESETS: Mapping[str, Mapping[str, Any]] = {
    # github.com/zhixuhao/unet, the network of the dissertation: 31,031,685 parameters with one
    # input channel, 31,032,837 with three.
    "zhixuhao": {
        "filters": (64, 128, 256, 512, 1024),
        "up_conv": 2,
        "dropout_levels": (3, 4),
        "dropout": 0.5,
        "tail": 2,
    },
    # The original layout at a width that trains on a laptop.
    "plain": {"filters": (32, 64, 128, 256)},
    "residual": {"filters": (32, 64, 128, 256), "norm": "group", "residual": True},
    # The shipped model: half-resolution stem, so a 2-core machine trains it in an hour.
    "nuclei": {
        "filters": (32, 64, 96, 128, 192),
        "norm": "group",
        "residual": True,
        "stem_factor": 2,
    },
}


def make_unet(preset: str, *, out_channels: int, **changes: Any) -> UNet:
    """Builds a U-Net from a preset.

    Args:
      preset: A key of `PRESETS`.
      out_channels: Number of heads.
      **changes: Fields of `UNet` that differ from the preset.
    Returns:
      The module, without parameters.
    Raises:
      ValueError: Unknown preset or field; the message lists the known ones.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown U-Net preset {preset!r}; known: {', '.join(PRESETS)}")
    fields = set(UNet.__dataclass_fields__) - {"parent", "name"}
    if unknown := set(changes) - fields:
        raise ValueError(f"unknown U-Net fields {sorted(unknown)}; known: {sorted(fields)}")
    options: dict[str, Any] = {**PRESETS[preset], **changes}
    for name in ("filters", "dropout_levels"):
        if name in options:
            options[name] = tuple(options[name])
    return UNet(out_channels=out_channels, **options)


def count_parameters(variables: Mapping[str, Any]) -> int:
    """Number of scalars in the `"params"` collection."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
