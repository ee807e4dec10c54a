"""The parts of EfficientNet: numbers of each variant, batch norm, convolutions, and the block."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from cellml.ops.channels import mix, moments, scale_shift
from cellml.ops.depthwise import depthwise_conv, resolve_padding

# Keras' (and the TensorFlow original's) initialiser
conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


class Scaling(NamedTuple):
    """What distinguishes one variant from another.

    Attributes:
      width: Multiplier of the channels.
      depth: Multiplier of the numbers of blocks.
      resolution_px: Side of the images that the published weights were trained on.
    """

    width: float
    depth: float
    resolution_px: int


VARIANTS: Mapping[str, Scaling] = {
    "b0": Scaling(1.0, 1.0, 224),
    "b1": Scaling(1.0, 1.1, 240),
    "b2": Scaling(1.1, 1.2, 260),
    "b3": Scaling(1.2, 1.4, 300),
    "b4": Scaling(1.4, 1.8, 380),
    "b5": Scaling(1.6, 2.2, 456),
    "b6": Scaling(1.8, 2.6, 528),
    "b7": Scaling(2.0, 3.1, 600),
    "micro": Scaling(0.4, 0.4, 64),  # ours, for tests and the smoke sizes of configs
}


class BlockSpec(NamedTuple):
    """One inverted residual block.

    Attributes:
      name: Keras' name, "block6a".
      kernel: Side of the depthwise kernel.
      stride: Of the depthwise convolution.
      expand: Multiplier of the channels inside; 1 means that there is no expansion.
      channels: Channels of the input.
      filters: Channels of the output.
    """

    name: str
    kernel: int
    stride: int
    expand: int
    channels: int
    filters: int

    @property
    def inner(self) -> int:
        """Channels of the depthwise convolution."""
        return self.channels * self.expand

    @property
    def squeezed(self) -> int:
        """Channels of the bottleneck of squeeze-and-excitation."""
        return max(1, self.channels // 4)


# kernel, repeats, filters, expand, stride of the seven stages of B0
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)


def round_filters(filters: int, width: float) -> int:
    """Scales a number of channels to a multiple of 8, never by less than 90 %."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def block_specs(variant: str) -> tuple[BlockSpec, ...]:
    """The blocks of a variant in order: block1a, block2a, block2b and so on.

    Args:
      variant: A key of `VARIANTS`.
    Returns:
      16 blocks for b0, 55 for b7.
    Raises:
      ValueError: Unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown EfficientNet {variant!r}; known: {', '.join(VARIANTS)}")
    scaling = VARIANTS[variant]
    specs: list[BlockSpec] = []
    channels = round_filters(32, scaling.width)
    for stage, (kernel, repeats, filters, expand, stride) in enumerate(_STAGES, start=1):
        filters = round_filters(filters, scaling.width)
        for i in range(math.ceil(repeats * scaling.depth)):
            name = f"block{stage}{chr(ord('a') + i)}"
            specs.append(
                BlockSpec(name, kernel, stride if i == 0 else 1, expand, channels, filters)
            )
            channels = filters
    return tuple(specs)


def head_filters(variant: str) -> int:
    """Channels before the last pool: 1,280 for b0."""
    return round_filters(1280, VARIANTS[variant].width)


class NormSettings(NamedTuple):
    """Options of the batch norms.

    Attributes:
      kind: `"batch"`, or `"folded"`: a bias alone, see `fold`.
      epsilon: Added to the variance.
      momentum: Share of the running statistics that a training step keeps.
      axis_name: Mapped axis over which the statistics of a batch are averaged.
    """

    kind: str
    epsilon: float
    momentum: float
    axis_name: str | None


class Norm(nn.Module):
    """Batch norm over images and pixels, or the bias that is left of a folded one.

    Attributes:
      settings: See `NormSettings`.
    """

    settings: NormSettings

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """Normalises: `train` by the batch (rows in `valid` alone), otherwise by stored statistics.

        Args:
          x: Images.
          train: Use and store the statistics of the batch (collection `batch_stats`).
          valid: Rows that count in the statistics; None for all.
        Returns:
          Images of the dtype of `x`; statistics are float32.
        Raises:
          ValueError: A folded norm cannot train.
        """
        s, channels, dtype = self.settings, x.shape[-1], x.dtype
        if s.kind == "folded":
            if train:
                raise ValueError("EfficientNet: folded batch norms cannot train")
            bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
            return x + bias.astype(dtype)[None, None, None]
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if train and not self.is_initializing():
            # Or the depthwise convolution before would be computed twice
            x = lax.optimization_barrier(x)
            batch_mean, batch_var = _batch_statistics(x, valid, s.axis_name)
            mean.value = s.momentum * mean.value + (1 - s.momentum) * batch_mean
            var.value = s.momentum * var.value + (1 - s.momentum) * batch_var
        else:
            batch_mean, batch_var = mean.value, var.value
        factor = scale * lax.rsqrt(batch_var + s.epsilon)
        return scale_shift(x, factor, bias - batch_mean * factor)


def _batch_statistics(
    x: Array, valid: Array | None, axis_name: str | None
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and (biased) variance of each channel, in float32, over all devices."""
    count = jnp.float32(x.shape[0] * x.shape[1] * x.shape[2])
    if valid is not None:
        if axis_name is None:  # of padding alone, a device would overflow: no variance
            valid = valid | ~jnp.any(valid)
        x = jnp.where(valid[:, None, None, None], x, jnp.zeros((), x.dtype))
        count = valid.sum().astype(jnp.float32) * (x.shape[1] * x.shape[2])
    total, squares = moments(x)
    if axis_name is not None:
        total, squares, count = lax.psum((total, squares, count), axis_name)
    count = jnp.maximum(count, 1.0)
    mean = total / count
    return mean, jnp.maximum(squares / count - mean * mean, 0.0)


class Conv(nn.Module):
    """Convolution without bias. One by one, it is a matrix product over the channels.

    Attributes:
      filters: Output channels.
      size: Side of the kernel; 1 has a kernel (in, out).
      stride: Pixels between outputs.
      padding: See `cellml.ops.depthwise.resolve_padding`.
    """

    filters: int
    size: int = 1
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        """Applies it in the dtype of `x`."""
        channels = x.shape[-1]
        if self.size == 1:
            kernel = self.param("kernel", conv_init, (channels, self.filters))
            return mix(x, kernel.astype(x.dtype))
        size = (self.size, self.size)
        kernel = self.param("kernel", conv_init, (*size, channels, self.filters))
        shape, strides = (x.shape[1], x.shape[2]), (self.stride, self.stride)
        pads = resolve_padding(shape, size, stride=self.stride, padding=self.padding)
        return lax.conv_general_dilated(
            x, kernel.astype(x.dtype), strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


class DepthwiseConv(nn.Module):
    """Depthwise convolution without bias.

    Attributes:
      size: Side of the kernel (h, w, 1, c).
      stride: Pixels between outputs.
      padding: See `cellml.ops.depthwise.resolve_padding`.
    """

    size: int
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Applies it in the dtype of `x`."""
        shape = (self.size, self.size, 1, x.shape[-1])
        kernel = self.param("kernel", _depthwise_init, shape).astype(x.dtype)
        return depthwise_conv(x, kernel, stride=self.stride, padding=self.padding)


def _depthwise_init(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Keras draws kernels (h, w, c, 1), whose fan-out is the number of taps."""
    return conv_init(key, (*shape[:2], shape[3], 1), dtype).reshape(shape)


class Block(nn.Module):
    """Inverted residual block with squeeze-and-excitation ("MBConv").

    Attributes:
      spec: See `BlockSpec`.
      drop_rate: Chance that a training image skips the block (needs rng `"dropout"`).
      padding: See `cellml.ops.depthwise.resolve_padding`.
      norm: See `NormSettings`.
    """

    spec: BlockSpec
    drop_rate: float
    padding: str
    norm: NormSettings

    def setup(self) -> None:
        """Layers by their names in the parameter tree."""
        spec, dense = self.spec, partial(nn.Dense, kernel_init=conv_init)
        if spec.expand > 1:
            self.expand, self.expand_norm = Conv(spec.inner), Norm(self.norm)
        self.depthwise = DepthwiseConv(spec.kernel, spec.stride, self.padding)
        self.depthwise_norm = Norm(self.norm)
        self.reduce, self.excite = dense(spec.squeezed), dense(spec.inner)
        self.project, self.project_norm = Conv(spec.filters), Norm(self.norm)
        self.drop = nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3))

    def activation(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "b h2 w2 e"]:
        """The block up to the swish after the depthwise convolution ("block6a_activation").

        Args:
          x: Input of the block.
          train: Batch statistics.
          valid: Rows that count in them.
        Returns:
          `spec.inner` channels, before squeeze-and-excitation.
        """
        if self.spec.expand > 1:
            x = nn.swish(self.expand_norm(self.expand(x), train=train, valid=valid))
        return nn.swish(self.depthwise_norm(self.depthwise(x), train=train, valid=valid))

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "b h2 w2 f"]:
        """Applies the block; images are added to the result where the shape stays."""
        y = self.activation(x, train=train, valid=valid)
        pooled = y.mean((1, 2), dtype=jnp.float32)
        gate = nn.sigmoid(self.excite(nn.swish(self.reduce(pooled)))).astype(y.dtype)
        y = self.project_norm(self.project(y * gate[:, None, None]), train=train, valid=valid)
        if self.spec.stride > 1 or self.spec.channels != self.spec.filters:
            return y
        return x + self.drop(y, deterministic=not train)


class ConvNorm(nn.Module):
    """Convolution, norm and swish: the stem and the head.

    Attributes:
      filters: Output channels.
      size: Side of the kernel.
      stride: Pixels between outputs.
      padding: See `cellml.ops.depthwise.resolve_padding`.
      settings: See `NormSettings`.
    """

    filters: int
    size: int
    stride: int
    padding: str
    settings: NormSettings

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "b h2 w2 f"]:
        """Applies the three."""
        x = Conv(self.filters, self.size, self.stride, self.padding, name="conv")(x)
        return nn.swish(Norm(self.settings, name="norm")(x, train=train, valid=valid))
