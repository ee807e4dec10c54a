"""The part of an image around a prompt, at the model's scale and in a window of one fixed size.

A prompt is what the user drew: a lazy polygon, a box or a point, in pixels of the image (x right, y
down, see `cellml.annotate.objects`). What is large is shown to the model smaller, by a whole number
(`shrink`), so that pixels of the window and of the image map onto each other without a remainder.
Small nuclei are shown as they are: enlarging them made proposals no better on the validation part
of DSB2018.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from cellml.annotate.objects import Polygons, Ring
from cellml.annotate.outlines import fill_polygons, trace_mask
from cellml.errors import UserError
from cellml.ops.intensity import intensity_limits, normalise
from cellml.ops.tiles import Box, pad_reflect

ReadRegion = Callable[[int, int, int, int], Shaped[np.ndarray, "h w c"]]
"""`(y0, x0, y1, x1) -> raw values` of a half-open box within the image."""

Points = Sequence[Sequence[float | int]]
"""(x, y) each."""

MARGIN_PX = 17
"""A prompt's box grows by this much on every side, as in AnnotatorJ."""
ELLIPSE_POINTS = 48
SHRINK_ABOVE_PX = 80.0
"""Larger prompts are shown at half their size, at a third above twice this, and so on: the shipped
model knows nuclei of 8 to 80 px."""


class Prompt(NamedTuple):
    """What the user drew.

    Attributes:
      polygons: The polygon, or the ellipse in the box; empty for a point.
      bounds: Box around it, (x0, y0, x1, y1).
    """

    polygons: Polygons
    bounds: tuple[float, float, float, float]

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the bounds, (x, y); of a point the point itself."""
        x0, y0, x1, y1 = self.bounds
        return (x0 + x1) / 2, (y0 + y1) / 2


def make_prompt(
    image_shape: tuple[int, ...],
    *,
    polygon: Points | None = None,
    point: Sequence[float | int] | None = None,
    box: Sequence[float | int] | None = None,
) -> Prompt:
    """Checks what the user drew.

    Args:
      image_shape: Height and width first.
      polygon: At least three points, not closed.
      point: (x, y).
      box: (x0, y0, x1, y1), corners in any order.

    Returns:
      The prompt; a polygon or box without an area is a point.

    Raises:
      UserError: Not exactly one of the three, numbers that are not finite, too few of them, or a
        place outside the image.
    """
    given = {"polygon": polygon, "point": point, "box": box}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise UserError(f"prompt: one of polygon, point and box expected, found {names or 'none'}")
    points = _corners(polygon, point, box)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    bounds = (min(xs), min(ys), max(xs), max(ys))
    height, width = image_shape[:2]
    if bounds[0] >= width or bounds[1] >= height or bounds[2] < 0 or bounds[3] < 0:
        raise UserError(
            f"prompt: the {names[0]} around ({bounds[0]:.0f}, {bounds[1]:.0f}) lies outside the "
            f"image of {width} x {height} px"
        )
    if bounds[2] - bounds[0] < 1 or bounds[3] - bounds[1] < 1:
        return Prompt((), bounds)
    ring = tuple(points) if polygon is not None else inscribed_ellipse(bounds)
    return Prompt(((ring,),), bounds)


def inscribed_ellipse(bounds: tuple[float, float, float, float]) -> Ring:
    """The ellipse in a box: what a box says of an object with round corners."""
    x0, y0, x1, y1 = bounds
    angles = np.arange(ELLIPSE_POINTS) * 2 * np.pi / ELLIPSE_POINTS
    xs = (x0 + x1 + (x1 - x0) * np.cos(angles)) / 2
    ys = (y0 + y1 + (y1 - y0) * np.sin(angles)) / 2
    return tuple(zip(xs.tolist(), ys.tolist(), strict=True))


class View(NamedTuple):
    """A window of the image.

    Attributes:
      box: Where it lies in the image, in the image's pixels.
      shrink: One pixel of the window is this many of the image in a row.
      seen: Height and width of the real part of the window, from the top left; the rest mirrors it.
      image: Normalised for the model.
      prompt: The pixels inside what was drawn; for a point the pixel that it lies in.
    """

    box: Box
    shrink: int
    seen: tuple[int, int]
    image: Float[np.ndarray, "h w c"]
    prompt: Bool[np.ndarray, "h w"]

    def restore(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "H W"]:
        """A mask of the window in the pixels of `box`."""
        real = mask[: self.seen[0], : self.seen[1]]
        height, width = self.box.shape
        if self.shrink > 1:
            smooth = enlarge_linear(real[..., None].astype(np.float32), self.shrink)[..., 0]
            return smooth[:height, :width] >= 0.5
        return real

    def outline(self, mask: Bool[np.ndarray, "h w"]) -> Polygons:
        """The outline of a mask of the window, in the image's coordinates."""
        full = self.restore(mask)
        rows, columns = np.flatnonzero(full.any(axis=1)), np.flatnonzero(full.any(axis=0))
        if not len(rows):
            return ()
        inner = full[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        origin = (int(self.box.y0 + rows[0]), int(self.box.x0 + columns[0]))
        return trace_mask(inner, offset=origin)


def choose_shrink(prompt: Prompt, side_px: int) -> int:
    """How many times smaller than it is the model sees a prompt, in a window of this side."""
    x0, y0, x1, y1 = prompt.bounds
    size = math.sqrt((x1 - x0) * (y1 - y0))
    reach = max(x1 - x0, y1 - y0) + 2 * MARGIN_PX
    return max(math.ceil(reach / side_px), math.ceil(size / SHRINK_ABOVE_PX), 1)


def cut_view(
    read_region: ReadRegion,
    image_shape: tuple[int, ...],
    prompt: Prompt,
    *,
    side_px: int,
    channels: int,
    percentiles: tuple[float, float] | None,
    invert: bool = False,
    channel: int | None = None,
) -> View:
    """Reads the window around a prompt.

    Args:
      read_region: Reads the image.
      image_shape: Height and width first.
      prompt: What was drawn.
      side_px: Side of the window as the model sees it.
      channels: See `cellml.ops.intensity.normalise`.
      percentiles: See `cellml.ops.intensity.intensity_limits`.
      invert: Turn dark objects on a bright ground into bright ones.
      channel: See `model_channels`.

    Returns:
      The window; near the image's border it is shifted, not padded, as far as the image allows.

    Raises:
      UserError: As `model_channels`.
    """
    shrink = choose_shrink(prompt, side_px)
    reach = side_px * shrink
    x, y = prompt.centre
    (y0, y1), (x0, x1) = (
        _interval(centre, reach, length)
        for centre, length in zip((y, x), image_shape[:2], strict=True)
    )
    region = model_channels(np.asarray(read_region(y0, x0, y1, x1)), channel=channel)
    if shrink > 1:
        region = block_mean(region, shrink)
    limits = intensity_limits(region, mirrored(percentiles) if invert else percentiles)
    image = normalise_signed(region, limits, channels=channels, invert=invert)
    seen = (image.shape[0], image.shape[1])
    image = pad_reflect(image, (side_px, side_px))
    mask = np.zeros((side_px, side_px), bool)
    scaled = tuple(
        tuple(tuple(((u - x0) / shrink, (v - y0) / shrink) for u, v in ring) for ring in polygon)
        for polygon in prompt.polygons
    )
    mask[: seen[0], : seen[1]] = fill_polygons(scaled, seen)
    if not mask.any():  # a point, or a polygon so thin that no pixel's centre lies inside
        row, column = int((y - y0) / shrink), int((x - x0) / shrink)
        mask[min(max(row, 0), seen[0] - 1), min(max(column, 0), seen[1] - 1)] = True
    return View(Box(y0, x0, y1, x1), shrink, seen, image, mask)


def mirrored(percentiles: tuple[float, float] | None) -> tuple[float, float] | None:
    """The percentiles of intensities that become these percentiles once they are negated."""
    return None if percentiles is None else (100 - percentiles[1], 100 - percentiles[0])


def normalise_signed(
    pixels: Shaped[np.ndarray, "h w c"],
    limits: tuple[float, float],
    *,
    channels: int,
    invert: bool,
) -> Float[np.ndarray, "h w d"]:
    """Normalises for a model, with bright and dark exchanged if asked for.

    Args:
      pixels: Raw values.
      limits: From `intensity_limits`, of the percentiles `mirrored` if `invert`.
      channels: As in `cellml.ops.intensity.normalise`.
      invert: The upper limit becomes 0 and the lower 1.

    Returns:
      float32.
    """
    low, high = limits
    if not invert:
        return normalise(pixels, limits, channels=channels)
    return normalise(-pixels.astype(np.float32), (-high, -low), channels=channels)


def model_channels(
    pixels: Shaped[np.ndarray, "h w c"], *, channel: int | None = None
) -> Shaped[np.ndarray, "h w d"]:
    """Brings any number of channels down to the 1 or 3 that models of nuclei take.

    Args:
      pixels: Raw values. Two or four channels of 8 bits of which the last is constant are grey or
        RGB with an alpha channel, which is dropped.
      channel: Take this one alone, counted from 0.

    Returns:
      1 or 3 channels: 1 and 3 as they are; of other numbers the mean, each channel scaled to its
      own percentiles 1 and 99.8 first, so that the brightest stain does not win alone.

    Raises:
      UserError: There is no such channel.
    """
    if pixels.dtype == bool:  # has no differences
        pixels = pixels.astype(np.uint8)
    count = pixels.shape[-1]
    if channel is not None:
        if not 0 <= channel < count:
            raise UserError(f"channel {channel}: the image has {count}, counted from 0")
        return pixels[..., channel : channel + 1]
    if count in (2, 4) and pixels.dtype == np.uint8 and np.ptp(pixels[..., -1]) == 0:
        pixels = pixels[..., :-1]
        count -= 1
    if count in (1, 3):
        return pixels
    scaled = [
        normalise(pixels[..., i : i + 1], intensity_limits(pixels[..., i : i + 1]), channels=1)
        for i in range(count)
    ]
    return np.asarray(np.mean(scaled, axis=0, dtype=np.float32))


def block_mean(pixels: Shaped[np.ndarray, "h w c"], factor: int) -> Float[np.ndarray, "h2 w2 c"]:
    """Means of blocks of `factor` x `factor` pixels; the last ones repeat the border if need be."""
    height, width = pixels.shape[:2]
    pixels = np.pad(pixels, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
    blocks = pixels.reshape(
        pixels.shape[0] // factor, factor, pixels.shape[1] // factor, factor, pixels.shape[2]
    )
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def enlarge_linear(
    pixels: Shaped[np.ndarray, "h w c"], factor: int
) -> Float[np.ndarray, "h2 w2 c"]:
    """Bilinear enlargement by a whole factor; pixel centres stay in place."""
    out = pixels.astype(np.float32)
    for axis in (0, 1):
        length = out.shape[axis]
        place = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
        low = np.minimum(place.astype(np.int64), max(length - 2, 0))
        share = (place - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, length - 1)
        out = np.take(out, low, axis) * (1 - share) + np.take(out, high, axis) * share
    return out


def _corners(
    polygon: Points | None,
    point: Sequence[float | int] | None,
    box: Sequence[float | int] | None,
) -> list[tuple[float, float]]:
    if polygon is not None:
        if len(polygon) < 3 or any(len(one) != 2 for one in polygon):
            raise UserError(f"polygon: at least 3 points (x, y) expected, found {len(polygon)}")
        pairs = [(float(x), float(y)) for x, y in polygon]
    elif point is not None:
        if len(point) != 2:
            raise UserError(f"point: two numbers (x, y) expected, found {len(point)}")
        pairs = [(float(point[0]), float(point[1]))]
    else:
        if box is None or len(box) != 4:
            raise UserError(f"box: four numbers (x0, y0, x1, y1) expected, found {box}")
        pairs = [(float(box[0]), float(box[1])), (float(box[2]), float(box[3]))]
    if not all(math.isfinite(value) for pair in pairs for value in pair):
        raise UserError("prompt: a coordinate is not a finite number")
    return pairs


def _interval(centre: float, reach: int, length: int) -> tuple[int, int]:
    """An interval of `reach` px around a centre, shifted into an axis; the whole axis if short."""
    start = min(max(round(centre - reach / 2), 0), max(length - reach, 0))
    return start, min(start + reach, length)
