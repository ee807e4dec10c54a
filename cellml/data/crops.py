"""Cuts single cells out of a field of view.

Two ways to place the pixels:
- `exact`: the centre is rounded, pixels are copied in the image's dtype.
- `deepprofiler`: sub-pixel and bilinear, as `tf.image.crop_and_resize` does it with boxes
  normalised by H and W but sampled on H - 1 and W - 1. Sample i of a box of B pixels around cy is
  at  y_i = (cy - B/2) (H-1)/H + i B (H-1) / (H (B-1)),  so its step is a little above 1.
In both, what lies outside the image is 0, and a status says so.
"""

import enum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped, UInt8

MODES = ("deepprofiler", "exact")
NORMALISATIONS = ("deepprofiler-legacy", "minmax", "none")
EPSILON = 1e-7
"""Keras' epsilon, which DeepProfiler adds to the range of `minmax`."""

SNAP_PX = 1e-6
"""A sample this close to the image's border lies on it: a box that ends there is not cut off by a
rounding error."""

LABEL_REACH_PX = 5
"""A cell's label is the median of the 10 x 10 pixels around its centre."""


class Status(enum.IntEnum):
    """Whether a crop can be trusted."""

    OK = 0
    EDGE = 1  # partly outside the image
    OUTSIDE = 2  # nothing of it inside: the crop is 0
    UNLABELLED = 3  # masked, but there is no object at the centre: the crop is 0


class Crops(NamedTuple):
    """Crops [n side side c], and a `Status` each."""

    pixels: Shaped[np.ndarray, "n s s c"]
    status: UInt8[np.ndarray, " n"]


class _Samples(NamedTuple):
    """Where the pixels of one crop come from along one axis of the image."""

    low: Int[np.ndarray, " s"]
    high: Int[np.ndarray, " s"]
    weight: Float[np.ndarray, " s"]  # of `high`
    inside: Bool[np.ndarray, " s"]


def cut(
    image: Shaped[np.ndarray, "h w c"],
    centres_yx: Float[np.ndarray, "n 2"],
    *,
    side: int,
    mode: str = "deepprofiler",
) -> Crops:
    """Cuts one square around every centre.

    Args:
      image: A field of view, any real dtype.
      centres_yx: Pixels, finite; (0, 0) is the centre of the first pixel.
      side: Height and width of a crop in pixels, at least 2.
      mode: One of `MODES`.

    Returns:
      float32 crops for `deepprofiler`, in the image's dtype for `exact`. In `exact` the rounded
      centre (half up) is at row and column side // 2.

    Raises:
      ValueError: Unknown mode, side below 2, or a centre that is not finite.
    """
    _check(centres_yx, side, mode)
    dtype = np.dtype(np.float32) if mode == "deepprofiler" else image.dtype
    pixels = np.zeros((len(centres_yx), side, side, image.shape[2]), dtype)
    status = np.empty(len(centres_yx), np.uint8)
    for i, centre in enumerate(np.asarray(centres_yx, np.float64)):
        y, x = _place(centre, image.shape, side, mode)
        status[i] = _status(y, x)
        if status[i] != Status.OUTSIDE:
            pixels[i] = _gather(image, y, x) if mode == "exact" else _interpolate(image, y, x)
    return Crops(pixels, status)


def cut_masks(
    labels: Integer[np.ndarray, "h w"],
    centres_yx: Float[np.ndarray, "n 2"],
    *,
    side: int,
    mode: str = "deepprofiler",
) -> tuple[Bool[np.ndarray, "n s s"], Int[np.ndarray, " n"]]:
    """Cuts the mask of every cell's own object, to lie on the crops of `cut`.

    A cell's object is the median label of the 10 x 10 pixels around its centre. In `deepprofiler`
    a pixel belongs to it where the interpolated label equals it, so that a rim between objects
    belongs to none.

    Args:
      labels: Objects, 0 is background.
      centres_yx: As in `cut`.
      side: As in `cut`.
      mode: As in `cut`.

    Returns:
      Masks; and labels, 0 where there is no object, for which the mask is empty.

    Raises:
      ValueError: As in `cut`.
    """
    _check(centres_yx, side, mode)
    masks = np.zeros((len(centres_yx), side, side), bool)
    own = cell_labels(labels, centres_yx)
    as_image = labels[..., None]
    for i, centre in enumerate(np.asarray(centres_yx, np.float64)):
        y, x = _place(centre, as_image.shape, side, mode)
        if own[i] and _status(y, x) != Status.OUTSIDE:
            gather = _gather if mode == "exact" else _interpolate
            masks[i] = gather(as_image, y, x)[..., 0] == own[i]
        if not masks[i].any():  # a median between two labels may be no label
            own[i] = 0
    return masks, own


def cell_labels(
    labels: Integer[np.ndarray, "h w"], centres_yx: Float[np.ndarray, "n 2"]
) -> Int[np.ndarray, " n"]:
    """Returns the label of the object at each centre, 0 where there is none.

    It is the median of the 10 x 10 pixels around the centre, fewer at the border, rounded down.
    """
    found = np.zeros(len(centres_yx), np.int32)
    for i, centre in enumerate(np.asarray(centres_yx, np.float64)):
        y, x = (int(c) for c in centre)
        rows = slice(max(y - LABEL_REACH_PX, 0), max(y + LABEL_REACH_PX, 0))
        columns = slice(max(x - LABEL_REACH_PX, 0), max(x + LABEL_REACH_PX, 0))
        patch = labels[rows, columns]
        if patch.size:
            found[i] = int(np.median(patch))
    return found


def apply_masks(
    crops: Shaped[np.ndarray, "n s s c"], masks: Bool[np.ndarray, "n s s"]
) -> Shaped[np.ndarray, "n s s c"]:
    """Sets every pixel outside the mask to 0, in the crops' dtype."""
    return np.where(masks[..., None], crops, crops.dtype.type(0))


def normalise(crops: Shaped[np.ndarray, "n s s c"], how: str) -> Float[np.ndarray, "n s s c"]:
    """Scales the intensities of every crop and channel by themselves.

    Args:
      crops: From `cut`, masked or not; not negative.
      how: `minmax`: (x - min) / (max - min + 1e-7), DeepProfiler's since August 2024.
        `deepprofiler-legacy`: (x - min) / max, which the dissertation used. `none`: as they are.

    Returns:
      float32; a flat channel gives 0 everywhere (it was NaN in DeepProfiler).

    Raises:
      ValueError: Unknown `how`.
    """
    if how not in NORMALISATIONS:
        raise ValueError(f"normalisation {how!r}: expected one of {', '.join(NORMALISATIONS)}")
    scaled = np.array(crops, np.float32, order="C")
    if how == "none" or not scaled.size:
        return scaled
    n, side, _, channels = scaled.shape
    lines = scaled.reshape(n, side, side * channels)  # long rows: a loop over 5 channels is slow
    low = lines.min(axis=1).reshape(n, side, channels).min(axis=1)
    high = lines.max(axis=1).reshape(n, side, channels).max(axis=1)
    divisor = high if how == "deepprofiler-legacy" else high - low + np.float32(EPSILON)
    divisor = np.where(high > low, divisor, np.float32(1))
    lines -= np.tile(low, side)[:, None]
    lines /= np.tile(divisor, side)[:, None]
    return scaled


def _check(centres_yx: Float[np.ndarray, "n 2"], side: int, mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
    if side < 2:
        raise ValueError(f"side {side}: at least 2 px expected")
    if not np.isfinite(centres_yx).all():
        row = int(np.argmin(np.isfinite(centres_yx).all(axis=1)))
        raise ValueError(f"centre {row} is {tuple(centres_yx[row])}, finite pixels expected")


def _place(
    centre: Float[np.ndarray, "2"], shape: tuple[int, ...], side: int, mode: str
) -> tuple[_Samples, _Samples]:
    place = _place_exact if mode == "exact" else _place_deepprofiler
    return place(float(centre[0]), shape[0], side), place(float(centre[1]), shape[1], side)


def _place_exact(centre: float, size: int, side: int) -> _Samples:
    at = int(np.floor(centre + 0.5)) - side // 2 + np.arange(side)
    clipped = np.clip(at, 0, size - 1)
    return _Samples(clipped, clipped, np.zeros(side, np.float32), at == clipped)


def _place_deepprofiler(centre: float, size: int, side: int) -> _Samples:
    shrink = (size - 1) / size
    at = (centre - side / 2) * shrink + np.arange(side) * (side * shrink / (side - 1))
    inside = (at >= -SNAP_PX) & (at <= size - 1 + SNAP_PX)
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(np.int64)
    return _Samples(low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32), inside)


def _status(y: _Samples, x: _Samples) -> Status:
    if not (y.inside.any() and x.inside.any()):
        return Status.OUTSIDE
    return Status.OK if y.inside.all() and x.inside.all() else Status.EDGE


def _gather(
    image: Shaped[np.ndarray, "h w c"], y: _Samples, x: _Samples
) -> Shaped[np.ndarray, "s s c"]:
    out = np.zeros((len(y.low), len(x.low), image.shape[2]), image.dtype)
    rows, columns = np.flatnonzero(y.inside), np.flatnonzero(x.inside)  # both are runs
    inside = image[y.low[rows[0]] :, x.low[columns[0]] :][: len(rows), : len(columns)]
    out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = inside
    return out


def _interpolate(
    image: Shaped[np.ndarray, "h w c"], y: _Samples, x: _Samples
) -> Float[np.ndarray, "s s c"]:
    """Columns first, then rows, as in TensorFlow: top + (bottom - top) * weight in float32."""
    top, left, channels = y.low[0], x.low[0], image.shape[2]
    patch = image[top : y.high[-1] + 1, left : x.high[-1] + 1].astype(np.float32)
    rows = len(patch), len(x.low) * channels  # long rows: a loop over 5 channels is slow
    low = patch.take(x.low - left, axis=1).reshape(rows)
    high = patch.take(x.high - left, axis=1).reshape(rows)
    across = _mix(low, high, np.repeat(x.weight, channels))
    out = _mix(
        across.take(y.low - top, axis=0), across.take(y.high - top, axis=0), y.weight[:, None]
    )
    if not (y.inside.all() and x.inside.all()):
        out *= y.inside[:, None] & np.repeat(x.inside, channels)
    return out.reshape(len(y.low), len(x.low), channels)


def _mix(
    low: Float[np.ndarray, "a b"], high: Float[np.ndarray, "a b"], weight: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "a b"]:
    """Returns low + (high - low) * weight, in the place of `high`."""
    high -= low
    high *= weight
    high += low
    return high
