"""Tile plans for images too large to predict at once, and padded shapes for the small ones.

A plan covers the image with read boxes of one fixed shape (one compilation), which overlap, and
with core boxes, which partition the image: a pixel's answer is taken from the tile whose core it
lies in, so that every pixel is seen with at least `margin` px of context on inner sides.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped


class Box(NamedTuple):
    """A half-open pixel rectangle, rows y0 to y1 and columns x0 to x1."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels, negative where the box is empty."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def empty(self) -> bool:
        """Whether the box holds no pixel."""
        return self.y1 <= self.y0 or self.x1 <= self.x0

    def slices(self, origin: tuple[int, int] = (0, 0)) -> tuple[slice, slice]:
        """Returns the index of this box in an array whose pixel (0, 0) is at `origin`."""
        y, x = origin
        return slice(self.y0 - y, self.y1 - y), slice(self.x0 - x, self.x1 - x)

    def intersect(self, other: "Box") -> "Box":
        """Returns the common part, which may be empty."""
        return Box(
            max(self.y0, other.y0),
            max(self.x0, other.x0),
            min(self.y1, other.y1),
            min(self.x1, other.x1),
        )


class Tile(NamedTuple):
    """One step of a plan: what to read, and which part of the result to keep."""

    read: Box
    core: Box


def plan_axis(length: int, tile: int, margin: int) -> list[tuple[int, int, int, int]]:
    """Splits one axis into evenly spaced, overlapping intervals.

    Args:
      length: Axis length in px.
      tile: Length of every read interval; the whole axis if that is shorter.
      margin: Least context in px between a core and its read interval on inner sides.

    Returns:
      (read start, read stop, core start, core stop) in order; the cores partition the axis.

    Raises:
      ValueError: A tile has no room between its margins, or a size is not positive.
    """
    if length < 1 or tile < 1 or margin < 0:
        raise ValueError(f"need length, tile >= 1 and margin >= 0, got {length}, {tile}, {margin}")
    if length <= tile:
        return [(0, length, 0, length)]
    step = tile - 2 * margin
    if step < 1:
        raise ValueError(f"a tile of {tile} px has no room for two margins of {margin} px")
    count = -(-(length - 2 * margin) // step)
    starts = [i * (length - tile) // (count - 1) for i in range(count)]
    seams = [(starts[i] + tile + starts[i + 1]) // 2 for i in range(count - 1)]
    edges = [0, *seams, length]
    return [(s, s + tile, edges[i], edges[i + 1]) for i, s in enumerate(starts)]


def plan_tiles(shape: tuple[int, int], *, tile: tuple[int, int], margin: int) -> tuple[Tile, ...]:
    """Covers an image with tiles in raster order, all read boxes of one shape.

    Args:
      shape: Image height and width in px.
      tile: Height and width to read at once; an axis no longer than that is read whole.
      margin: Least context in px; two neighbours overlap by at least twice as much.

    Returns:
      Tiles whose cores partition the image.

    Raises:
      ValueError: As `plan_axis`.
    """
    rows = plan_axis(shape[0], tile[0], margin)
    columns = plan_axis(shape[1], tile[1], margin)
    return tuple(
        Tile(Box(ry0, rx0, ry1, rx1), Box(cy0, cx0, cy1, cx1))
        for ry0, ry1, cy0, cy1 in rows
        for rx0, rx1, cx0, cx1 in columns
    )


def bucket(length: int, stride: int) -> int:
    """Rounds a side up to one of few lengths, so that few shapes are compiled.

    Args:
      length: Side in px.
      stride: The model's total stride; the result is a multiple of it.

    Returns:
      A multiple of 64 px up to 768 px and of 128 px beyond, then of `stride`.

    Raises:
      ValueError: A size is not positive.
    """
    if length < 1 or stride < 1:
        raise ValueError(f"need length, stride >= 1, got {length}, {stride}")
    step = 64 if length <= 768 else 128
    step = int(np.lcm(step, stride))
    return -(-length // step) * step


def pad_reflect(
    image: Shaped[np.ndarray, "h w c"], shape: tuple[int, int]
) -> Shaped[np.ndarray, "H W c"]:
    """Pads at the bottom and right by reflection; cropping `[:h, :w]` undoes it.

    Args:
      image: Pixels.
      shape: Height and width to reach, at least those of the image. A side shorter than the
        padding is reflected again and again.

    Returns:
      The padded image.

    Raises:
      ValueError: `shape` is smaller than the image.
    """
    dy, dx = shape[0] - image.shape[0], shape[1] - image.shape[1]
    if dy < 0 or dx < 0:
        raise ValueError(f"cannot pad {image.shape[:2]} to the smaller {shape}")
    return np.pad(image, ((0, dy), (0, dx), (0, 0)), mode="reflect")
