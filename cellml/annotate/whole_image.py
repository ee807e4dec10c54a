"""All objects of an image of any size, as `cellml segment` finds them, without its tables."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int, Shaped

from cellml.annotate.windows import model_channels
from cellml.experiment.model_predictors import make_predictor
from cellml.experiment.predictor import segment_pixels
from cellml.tasks.nucleus_models import from_segmenter
from cellml.tasks.semantic import Segmenter

TILE_PX = 1024


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
    pixels = model_channels(image, channel=channel)
    if invert:
        # From the brightest value, so that the type and the distances between values stay.
        pixels = pixels.max() - pixels
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        done = 1.0 if done + 1.5 * share > 1 else done + share  # the last one ends at 1 exactly
        progress(done, f"{done:.0%} of the image")

    predictor = make_predictor(from_segmenter(segmenter), tta=transforms)
    return segment_pixels(predictor, pixels, tile_px=tile_px, advance=advance).labels
