"""Preparation and augmentation of single-cell crops inside jit, as DeepProfiler trained with them.

In order: a square part of the crop, resized back; a flip; a rotation by a multiple of 90 degrees;
brightness and contrast of every channel. What is drawn (`draw`) is apart from what is done with it
(`apply`), so that one can be tested without the other.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from cellml.types import Key

INTENSITIES = ("minmax", "deepprofiler-legacy", "none")
EPSILON = 1e-7
"""Keras' epsilon, which DeepProfiler adds to the range of `minmax`."""


class AugmentationSettings(NamedTuple):
    """Defaults are DeepProfiler's.

    Attributes:
      zoom_probability: Chance of a part instead of the whole crop.
      zoom_min: Smallest side of the part, relative to the crop.
      flip_probability: Chance of a horizontal flip.
      rotate: Whether to rotate by 0, 90, 180 or 270 degrees.
      brightness: Largest summand of a channel.
      contrast: Largest relative change of a channel's deviations from its mean.
    """

    zoom_probability: float = 0.5
    zoom_min: float = 0.8
    flip_probability: float = 0.5
    rotate: bool = True
    brightness: float = 0.1
    contrast: float = 0.2


class Augmentation(NamedTuple):
    """What is done to each of b crops.

    Attributes:
      side: Side of the part, px; the crop's own for the whole.
      top: First row of the part.
      left: First column of the part.
      flip: Whether to flip horizontally, after resizing.
      turns: Rotations by 90 degrees, anticlockwise, after the flip.
      brightness: Summand of every channel.
      contrast: Factor of a channel's deviations from its mean, after the summand.
    """

    side: Int[Array, " b"]
    top: Int[Array, " b"]
    left: Int[Array, " b"]
    flip: Bool[Array, " b"]
    turns: Int[Array, " b"]
    brightness: Float[Array, "b c"]
    contrast: Float[Array, "b c"]


def scale_intensity(crops: Shaped[Array, "b h w c"], how: str) -> Float[Array, "b h w c"]:
    """Scales every crop and channel by itself, as `cellml.data.crops.normalise` does on the host.

    Args:
      crops: Not negative, any dtype.
      how: One of `INTENSITIES`; `none` divides integers by the largest of their dtype.
    Returns:
      float32 within [0, 1]; a flat channel gives 0.
    Raises:
      ValueError: Unknown `how`.
    """
    if how not in INTENSITIES:
        raise ValueError(f"intensity {how!r}: expected one of {', '.join(INTENSITIES)}")
    x = crops.astype(jnp.float32)
    if how == "none":
        integers = jnp.issubdtype(crops.dtype, jnp.integer)
        return x / jnp.float32(jnp.iinfo(crops.dtype).max) if integers else x
    low = x.min((1, 2), keepdims=True)
    high = x.max((1, 2), keepdims=True)
    divisor = high if how == "deepprofiler-legacy" else high - low + EPSILON
    return (x - low) / jnp.where(high > low, divisor, 1.0)


def interpolation_matrix(positions: Float[Array, "*b n"], size: int) -> Float[Array, "*b n {size}"]:
    """Weights of linear interpolation along one axis, to be multiplied with an image.

    Args:
      positions: Where to sample, in pixels (0 is the first pixel's centre), within [0, size - 1].
      size: Pixels along the axis.
    Returns:
      At most two weights a row are not 0; each row sums to 1.
    """
    pixels = jnp.arange(size, dtype=jnp.float32).reshape((1,) * positions.ndim + (size,))
    distance = jnp.abs(positions[..., None] - pixels)
    return jnp.maximum(1.0 - distance, 0.0)


def resample(
    crops: Float[Array, "b h w c"],
    rows: Float[Array, "*#b h2 h"],
    columns: Float[Array, "*#b w2 w"],
) -> Float[Array, "b h2 w2 c"]:
    """Multiplies crops with interpolation matrices along both axes.

    Args:
      crops: Images.
      rows: Matrix of the rows, one for all crops or one a crop.
      columns: Likewise of the columns.
    Returns:
      Resampled images.
    """
    b, h, w, c = crops.shape
    across = jnp.matmul(rows, crops.reshape(b, h, w * c)).reshape(b, -1, w, c)
    # Channels go before the columns, so that both are plain products of matrices.
    swapped = across.transpose(0, 1, 3, 2)
    out = jnp.matmul(swapped, jnp.swapaxes(columns, -1, -2)[..., None, :, :])
    return out.transpose(0, 1, 3, 2)


def resize_legacy(crops: Float[Array, "b h w c"], side: int) -> Float[Array, "b {side} {side} c"]:
    """Bilinear resizing of TensorFlow 1: sample i lies at i * h / side, without half-pixel centres.

    Source: `tf.compat.v1.image.resize_bilinear(align_corners=False)`, as in DeepProfiler.
    """

    def matrix(size: int) -> Array:
        at = jnp.minimum(jnp.arange(side, dtype=jnp.float32) * (size / side), size - 1.0)
        return interpolation_matrix(at, size)[None]

    return resample(crops, matrix(crops.shape[1]), matrix(crops.shape[2]))


def draw(
    key: Key, *, count: int, side: int, channels: int, settings: AugmentationSettings
) -> Augmentation:
    """Draws what to do to crops.

    Args:
      key: Randomness.
      count: Number of crops.
      side: Their height and width, px.
      channels: Their channels.
      settings: Chances and ranges.
    Returns:
      One augmentation a crop.
    """
    keys = iter(jax.random.split(key, 8))
    zoomed = jax.random.bernoulli(next(keys), settings.zoom_probability, (count,))
    least = min(int(settings.zoom_min * side), side - 1)
    part = jax.random.randint(next(keys), (count,), least, side)
    part = jnp.where(zoomed, part, side)
    top, left = (jax.random.randint(next(keys), (count,), 0, side - part + 1) for _ in range(2))
    flip = jax.random.bernoulli(next(keys), settings.flip_probability, (count,))
    turns = jax.random.randint(next(keys), (count,), 0, 4 if settings.rotate else 1)
    shift, factor = (
        jax.random.uniform(next(keys), (count, channels), jnp.float32, -reach, reach)
        for reach in (settings.brightness, settings.contrast)
    )
    return Augmentation(part, top, left, flip, turns, shift, 1.0 + factor)


def apply(crops: Float[Array, "b s s c"], augmentation: Augmentation) -> Float[Array, "b s s c"]:
    """Augments crops; values are not clipped."""
    side, a = crops.shape[1], augmentation
    steps = (jnp.arange(side, dtype=jnp.float32) + 0.5)[None]
    part = a.side.astype(jnp.float32)[:, None]
    within = jnp.clip(steps * (part / side) - 0.5, 0.0, part - 1.0)
    rows = interpolation_matrix(within + a.top.astype(jnp.float32)[:, None], side)
    columns = interpolation_matrix(within + a.left.astype(jnp.float32)[:, None], side)
    # Flips reverse the matrices, so that they cost nothing; a turn is flips and a transposition.
    flip_rows = a.turns >= 2
    flip_columns = a.flip ^ ((a.turns == 1) | (a.turns == 2))
    rows = jnp.where(flip_rows[:, None, None], rows[:, ::-1], rows)
    columns = jnp.where(flip_columns[:, None, None], columns[:, ::-1], columns)
    out = resample(crops, rows, columns)
    odd = (a.turns % 2 == 1)[:, None, None, None]
    out = jnp.where(odd, out.swapaxes(1, 2), out)
    out = out + a.brightness[:, None, None]
    mean = out.mean((1, 2), keepdims=True)
    return (out - mean) * a.contrast[:, None, None] + mean


def augment(
    key: Key, crops: Float[Array, "b s s c"], settings: AugmentationSettings
) -> Float[Array, "b s s c"]:
    """Draws and applies an augmentation of every crop.

    Args:
      key: Randomness.
      crops: Intensities, of order 1.
      settings: Chances and ranges.
    Returns:
      Crops of the same shape.
    """
    count, side, _, channels = crops.shape
    drawn = draw(key, count=count, side=side, channels=channels, settings=settings)
    return apply(crops, drawn)
