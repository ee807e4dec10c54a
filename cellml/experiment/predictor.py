"""From pixels to nuclei: a model wrapped for images of any size, tile by tile where they are large.

A `Predictor` knows a model only as one function, so that models of any kind, and stand-ins in
tests, plug in; `cellml.experiment.model_predictors` makes it from a weights file.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from cellml.data.stitching import Stitcher
from cellml.data.tables import ObjectSums, merge_sums, object_sums
from cellml.errors import UsageError
from cellml.ops.intensity import intensity_limits, normalise
from cellml.ops.tiles import Tile, bucket, pad_reflect, plan_tiles

TILED_FROM = 1.5
"""Images up to this many tile sides are predicted whole; a seam costs more than it saves."""
MARGIN_MIN_PX = 64


class Region(NamedTuple):
    """What a model says of one region, in the pixels that it saw.

    Attributes:
      labels: 1..n, 0 is background.
      probability: Of foreground.
      votes: Foreground of every TTA transform; t = 0 without TTA, or where objects have votes.
      uncertainty: Of the foreground probability, see `cellml segment --uncertainty`.
      objects: `cellml.data.tables.OBJECT_COLUMNS` of labels 1..n where TTA merged objects, else
        q = 0.
    """

    labels: Int[np.ndarray, "h w"]
    probability: Float[np.ndarray, "h w"]
    votes: Bool[np.ndarray, "t h w"]
    uncertainty: Float[np.ndarray, "h w"]
    objects: Float[np.ndarray, "n q"]


@dataclass(frozen=True)
class Predictor:
    """A model with its preprocessing.

    Attributes:
      segment: `(image, seen) -> Region`. The image is normalised, its sides are multiples of
        `stride`; the part `[:seen[0], :seen[1]]` is real, the rest is padding, and the region has
        the shape of the real part.
      percentiles: Of the intensities that normalisation maps to 0 and 1; None for their full range.
      diameter_px: Nucleus diameter that the model knows best.
      stride: Sides must be multiples of it.
      channels: Channels that the model takes.
      settings: What decides the result, JSON-able; a run is resumed with equal ones only.
    """

    segment: Callable[[Float[np.ndarray, "h w c"], tuple[int, int]], Region]
    percentiles: tuple[float, float] | None
    diameter_px: float
    stride: int
    channels: int = 3
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def margin_px(self) -> int:
        """Context around a tile's core; two neighbours overlap by twice as much."""
        return max(MARGIN_MIN_PX, int(np.ceil(1.5 * self.diameter_px / 16)) * 16)


class Segmented(NamedTuple):
    """The nuclei of one image."""

    labels: Int[np.ndarray, "h w"]
    sums: ObjectSums
    uncertainty: Float[np.ndarray, "h w"] | None
    limits: tuple[float, float]


def plan_image(
    predictor: Predictor, shape: tuple[int, int], *, scale: float, tile_px: int
) -> tuple[Tile, ...]:
    """Plans the tiles of an image in its own pixels.

    Args:
      predictor: Gives the margin.
      shape: Height and width of the image.
      scale: Factor from the image's pixels to those that the model sees.
      tile_px: Side of a tile as the model sees it.

    Returns:
      One tile where the image is small enough.

    Raises:
      UsageError: The tile is too small for the model's margins.
    """
    if max(shape) * scale <= TILED_FROM * tile_px:
        return plan_tiles(shape, tile=shape, margin=0)
    if tile_px < 4 * predictor.margin_px:
        raise UsageError(f"--tile {tile_px}: at least {4 * predictor.margin_px} px expected")
    side, margin = int(tile_px / scale), int(np.ceil(predictor.margin_px / scale))
    return plan_tiles(shape, tile=(side, side), margin=margin)


def segment_pixels(
    predictor: Predictor,
    pixels: Shaped[np.ndarray, "h w c"],
    *,
    scale: float = 1.0,
    tile_px: int = 1024,
    keep_uncertainty: bool = False,
    advance: Callable[[float], None] = lambda share: None,
) -> Segmented:
    """Segments one image in memory that grows only by the label canvas.

    Args:
      predictor: The model.
      pixels: 1 or 3 channels, any real dtype; may be a memory map.
      scale: The model sees the image enlarged by this factor; results keep the image's shape.
      tile_px: Side of the tiles that the model sees.
      keep_uncertainty: Whether to collect the uncertainty map.
      advance: Called with the share of the image done since the last call.

    Returns:
      Labels 1..n, their sums for the table, and the intensity limits used.

    Raises:
      UsageError: As `plan_image`.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    plan = plan_image(predictor, shape, scale=scale, tile_px=tile_px)
    limits = intensity_limits(pixels, predictor.percentiles)
    stitcher, parts = Stitcher(shape), []
    # half precision halves the largest optional array: 128 MiB for 8,192 x 8,192
    uncertainty = np.zeros(shape, np.float16) if keep_uncertainty else None
    for tile in plan:
        region = np.asarray(pixels[tile.read.slices()])
        found = _segment_region(predictor, region, limits, scale)
        count = stitcher.add(tile, found.labels)
        inner = tile.core.slices((tile.read.y0, tile.read.x0))
        parts.append(
            object_sums(
                found.labels[inner],
                region[inner],
                found.probability[inner],
                found.votes[(slice(None), *inner)],
                count=count,
                origin=(tile.core.y0, tile.core.x0),
                image_shape=shape,
                objects=found.objects,
            )
        )
        if uncertainty is not None:
            uncertainty[tile.core.slices()] = found.uncertainty[inner]
        advance(1 / len(plan))
    canvas, lookup = stitcher.finish()
    return Segmented(canvas, merge_sums(parts, lookup), uncertainty, limits)


def _segment_region(
    predictor: Predictor,
    region: Shaped[np.ndarray, "h w c"],
    limits: tuple[float, float],
    scale: float,
) -> Region:
    """Predicts one region at the model's scale and brings the answer back to its pixels."""
    image = normalise(region, limits, channels=predictor.channels)
    height, width = region.shape[:2]
    seen = (height, width)
    if scale != 1.0:
        seen = (max(1, round(height * scale)), max(1, round(width * scale)))
        image = _resize(image, seen)
    padded = (bucket(seen[0], predictor.stride), bucket(seen[1], predictor.stride))
    found = predictor.segment(pad_reflect(image, padded), seen)
    if scale == 1.0:
        return found
    rows, columns = _nearest(height, seen[0]), _nearest(width, seen[1])
    at = np.ix_(rows, columns)
    return Region(
        labels=found.labels[at],
        probability=found.probability[at],
        votes=found.votes[:, rows[:, None], columns],
        uncertainty=found.uncertainty[at],
        objects=found.objects,
    )


def _nearest(length: int, seen: int) -> np.ndarray:
    """Index into the model's pixels of every one of the image's."""
    return np.minimum(((np.arange(length) + 0.5) * seen / length).astype(int), seen - 1)


def _resize(image: Float[np.ndarray, "h w c"], shape: tuple[int, int]) -> np.ndarray:
    from skimage.transform import resize

    shrunk = shape[0] < image.shape[0]
    resized = np.asarray(resize(image, shape, order=1, mode="reflect", anti_aliasing=shrunk))
    return resized.astype(np.float32)
