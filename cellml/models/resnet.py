"""ResNet in Linen, as matterport/Mask_RCNN builds it (50, 101) and light ones for CPU (18, 34).

Images are NHWC. Stages are numbered 2 to 5 as in He et al. 2016; stage 1 is the stem. The modules
`ConvNorm` and `Conv` are those of the Mask R-CNN heads as well.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

BATCH_NORM_EPSILON = 1e-3
GROUP_SIZE = 16

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")

# Linen's own, and not `cellml.ops.conv`: at 1/4 of the resolution and with 64 channels or more, the
# gradient of lax with respect to kernels is the faster one (3x3, 96 channels: 39 ms against 96 for
# 124 x 14 x 14, 30 against 52 for 4 x 64 x 64, two cores).
Conv = functools.partial(nn.Conv, kernel_init=he_normal)


class Layout(NamedTuple):
    """What distinguishes one ResNet from another.

    Attributes:
      bottleneck: Blocks of 1x1, 3x3, 1x1 with four times the channels at the end; otherwise two
        3x3 convolutions.
      depths: Blocks of stages 2 to 5.
    """

    bottleneck: bool
    depths: tuple[int, int, int, int]


BACKBONES: Mapping[str, Layout] = {
    "resnet18": Layout(bottleneck=False, depths=(2, 2, 2, 2)),
    "resnet34": Layout(bottleneck=False, depths=(3, 4, 6, 3)),
    "resnet50": Layout(bottleneck=True, depths=(3, 4, 6, 3)),
    "resnet101": Layout(bottleneck=True, depths=(3, 4, 23, 3)),
}


class ConvNorm(nn.Module):
    """Convolution, norm and, unless `relu` is off, ReLU.

    Attributes:
      filters: Output channels.
      size: Side of the kernel.
      stride: Pixels between outputs. Padding is `(size - 1) // 2` zeros on every side.
      norm: `"frozen"` is batch norm that always uses its stored mean and variance, which are in
        the collection `batch_stats`; `"group"` is group norm.
      bias: Add a bias before the norm.
      relu: End with a ReLU.
    """

    filters: int
    size: int = 1
    stride: int = 1
    norm: str = "frozen"
    bias: bool = True
    relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        """Applies the three."""
        kernel, stride = (self.size, self.size), (self.stride, self.stride)
        if self.size == 1 and self.stride > 1:
            # The same numbers; a dense product over fewer pixels is what a stride means here.
            x, stride = x[:, :: self.stride, :: self.stride], (1, 1)
        pad = (self.size - 1) // 2
        padding = "SAME" if stride == (1, 1) else [(pad, pad), (pad, pad)]
        x = Conv(self.filters, kernel, stride, padding, use_bias=self.bias, name="conv")(x)
        x = make_norm(self.norm, self.filters, name="norm")(x)
        return nn.relu(x) if self.relu else x


def make_norm(norm: str, filters: int, *, name: str | None = None) -> nn.Module:
    """The norm that goes behind a convolution.

    Args:
      norm: `"frozen"` (batch norm, epsilon 1e-3, stored statistics) or `"group"`.
      filters: Channels.
      name: Of the module.
    Returns:
      The module.
    Raises:
      ValueError: Another norm.
    """
    if norm == "frozen":
        return nn.BatchNorm(use_running_average=True, epsilon=BATCH_NORM_EPSILON, name=name)
    if norm == "group":
        return nn.GroupNorm(num_groups=None, group_size=min(GROUP_SIZE, filters), name=name)
    raise ValueError(f"unknown norm {norm!r}; known: frozen, group")


class Block(nn.Module):
    """A residual block.

    A bottleneck has its stride in the first 1x1 convolution ("branch2a"), as Keras' ResNet and
    the published Mask R-CNN weights have it; PyTorch's has it in the 3x3 convolution.

    Attributes:
      filters: Channels inside; a bottleneck gives four times as many.
      stride: Of the first convolution and of the shortcut.
      bottleneck: See `Layout`.
      norm: See `ConvNorm`.
      bias: See `ConvNorm`.
    """

    filters: int
    stride: int = 1
    bottleneck: bool = True
    norm: str = "frozen"
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        """Applies the block; the shortcut is a 1x1 convolution where the shape changes."""
        layer = functools.partial(ConvNorm, norm=self.norm, bias=self.bias)
        filters = self.filters * (4 if self.bottleneck else 1)
        if self.bottleneck:
            y = layer(self.filters, 1, self.stride, name="a")(x)
            y = layer(self.filters, 3, name="b")(y)
            y = layer(filters, 1, relu=False, name="c")(y)
        else:
            y = layer(self.filters, 3, self.stride, name="a")(x)
            y = layer(filters, 3, relu=False, name="b")(y)
        if self.stride > 1 or x.shape[-1] != filters:
            x = layer(filters, 1, self.stride, relu=False, name="shortcut")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Backbone: the outputs of stages 2 to 5, at strides 4, 8, 16 and 32.

    Parameters are called `stem/conv/kernel`, `stage3_block0/a/norm/scale` and so on. Height and
    width must be multiples of 32.

    Attributes:
      layout: One of `BACKBONES`.
      width: Channels of the stem and inside stage 2; each further stage has twice as many.
      norm: See `ConvNorm`.
      bias: See `ConvNorm`.
    """

    layout: Layout
    width: int = 64
    norm: str = "frozen"
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b _h _w _f"], ...]:
        """Returns C2 to C5.

        Raises:
          ValueError: Height or width is not a multiple of 32 (at trace time).
        """
        if x.shape[1] % 32 or x.shape[2] % 32:
            raise ValueError(
                f"ResNet: expected height and width in multiples of 32, "
                f"found {x.shape[1]} x {x.shape[2]}"
            )
        x = ConvNorm(self.width, 7, 2, self.norm, self.bias, name="stem")(x)
        x = max_pool_3x3(x)
        outputs = []
        for stage, depth in enumerate(self.layout.depths, start=2):
            for i in range(depth):
                x = Block(
                    self.width * 2 ** (stage - 2),
                    stride=2 if i == 0 and stage > 2 else 1,
                    bottleneck=self.layout.bottleneck,
                    norm=self.norm,
                    bias=self.bias,
                    name=f"stage{stage}_block{i}",
                )(x)
            outputs.append(x)
        return tuple(outputs)


def max_pool_3x3(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Maximum over 3x3 pixels with stride 2, with TensorFlow's SAME padding.

    On even sides that is one row and one column at the end: output i sees the pixels 2i to 2i + 2.
    The gradient of `flax.linen.max_pool` is a serial loop on CPU (27 ms against 3 ms here, for
    4 x 128 x 128 x 32); equal maxima share the gradient here.

    Args:
      x: Images of even height and width.
    Returns:
      Half the height and width of `x`.
    Raises:
      ValueError: Odd height or width (at trace time).
    """
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f"max_pool_3x3: expected even height and width, found {h} x {w}")
    rows = x.reshape(b, h // 2, 2, w, c)
    even, odd = rows[:, :, 0], rows[:, :, 1]
    # The last even row or column stands for its missing follower: a maximum ignores a copy.
    follower = jnp.concatenate([even[:, 1:], even[:, -1:]], axis=1)
    y = jnp.maximum(jnp.maximum(even, odd), follower)
    columns = y.reshape(b, h // 2, w // 2, 2, c)
    even, odd = columns[:, :, :, 0], columns[:, :, :, 1]
    follower = jnp.concatenate([even[:, :, 1:], even[:, :, -1:]], axis=2)
    return jnp.maximum(jnp.maximum(even, odd), follower)
