"""All objects of an image of any size by a U-Net, tile by tile where it is large.

The same plan, normalisation and stitching as `cellml segment`, which adds tables and uncertainty.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Shaped

from cellml.annotate.windows import mirrored, model_channels, normalise_signed
from cellml.data.stitching import Stitcher
from cellml.ops.intensity import intensity_limits
from cellml.ops.tiles import bucket, pad_reflect, plan_tiles
from cellml.tasks.semantic import Segmenter, labels_from_maps
from cellml.tasks.whole_image import stack_predictor
from cellml.tta import resolve_transforms

TILE_PX = 1024
TILED_FROM = 1.5
"""Images up to this many tile sides are predicted whole; a seam costs more than it saves."""
MARGIN_PX = 64
"""Least context around a tile's core."""
CHUNK_PX = 1024 * 1024
"""Transformed copies predicted at once hold at most about this many pixels together."""


def label_whole_image(
    segmenter: Segmenter,
    image: Shaped[np.ndarray, "h w c"],
    *,
    transforms: str = "none",
    tile_px: int = TILE_PX,
    progress: Callable[[float, str], None] = lambda share, message: None,
    channel: int | None = None,
    invert: bool = False,
) -> Int[np.ndarray, "h w"]:
    """Labels an image.

    Args:
      segmenter: The model.
      image: Raw values; may be a memory map.
      transforms: A preset of `cellml.tta`.
      tile_px: Side of a tile.
      progress: Called with the share done and a message after every tile; may raise.
      channel: See `model_channels`.
      invert: Turn dark objects on a bright ground into bright ones.

    Returns:
      int32 labels 1..n.

    Raises:
      UserError: There is no such channel.
    """
    spec = segmenter.spec
    shape = (image.shape[0], image.shape[1])
    pixels = model_channels(image, channel=channel)
    limits = intensity_limits(pixels, mirrored(spec.percentiles) if invert else spec.percentiles)
    whole = max(shape) <= TILED_FROM * tile_px
    margin = max(MARGIN_PX, int(np.ceil(1.5 * spec.diameter_px / 16)) * 16)
    plan = (
        plan_tiles(shape, tile=shape, margin=0)
        if whole
        else plan_tiles(shape, tile=(tile_px, tile_px), margin=margin)
    )
    stitcher, copies = Stitcher(shape), len(resolve_transforms(transforms))
    for number, tile in enumerate(plan):
        region = np.asarray(pixels[tile.read.slices()])
        view = normalise_signed(region, limits, channels=spec.in_channels, invert=invert)
        height, width = view.shape[:2]
        padded = pad_reflect(view, (bucket(height, spec.stride), bucket(width, spec.stride)))
        chunk = max(1, CHUNK_PX // (padded.shape[0] * padded.shape[1]))
        run = stack_predictor(spec, transforms, chunk if chunk < copies else None)
        maps = np.asarray(run(segmenter.variables, jnp.asarray(padded)))[:, :height, :width]
        stitcher.add(tile, labels_from_maps(maps.mean(axis=0), spec))
        progress((number + 1) / len(plan), f"part {number + 1} of {len(plan)}")
    return stitcher.finish()[0]
