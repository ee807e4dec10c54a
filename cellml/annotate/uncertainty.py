"""How unsure a model is of an image: which image to annotate next.

The image is seen under the eight turns and mirrorings. If two of these views each drew their
pixels at random by their own probabilities, how different would the two masks be? The measure is
the Jaccard distance expected of such a pair (of expected areas), mean over all pairs of views:

    1 - (A + sum p_i p_j) / (A + sum (p_i + p_j - p_i p_j))

It is above 0 where the views disagree, and also where they agree that they do not know. A is the
area of one typical nucleus, so that a faint smear in an empty image does not make it the most
uncertain of all; probabilities below 0.05 count as none, since much background would add up.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped

from cellml.annotate.assist import WINDOW_PX, Assistant
from cellml.annotate.windows import mirrored, model_channels, normalise_signed
from cellml.ops.intensity import intensity_limits
from cellml.ops.tiles import Box, pad_reflect, plan_tiles

NOTHING_BELOW = 0.05
WINDOWS_MAX = 16
"""A large image is judged by this many windows, spread evenly."""


def image_uncertainty(
    assistant: Assistant,
    image: Shaped[np.ndarray, "h w c"],
    *,
    channel: int | None = None,
    invert: bool = False,
    progress: Callable[[float, str], None] = lambda share, message: None,
) -> float:
    """How unsure the model is of an image.

    Args:
      assistant: Its model is asked.
      image: Raw values; may be a memory map.
      channel: See `cellml.annotate.windows.model_channels`.
      invert: As in `Assistant.outline`.
      progress: Called with the share done and a message after each window; may raise.

    Returns:
      Within [0, 1]; 0 for an image in which no view sees anything.

    Raises:
      UserError: There is no such channel.
    """
    spec = assistant.segmenter.spec
    pixels = model_channels(image, channel=channel)
    limits = intensity_limits(pixels, mirrored(spec.percentiles) if invert else spec.percentiles)
    boxes = spread_windows((image.shape[0], image.shape[1]))
    shared, covered = 0.0, 0.0
    for number, box in enumerate(boxes):
        region = np.asarray(pixels[box.slices()])
        view = normalise_signed(region, limits, channels=spec.in_channels, invert=invert)
        padded = pad_reflect(view, (WINDOW_PX, WINDOW_PX))
        stack = assistant.maps(padded, transforms="d4")[..., 0]
        both, either = expected_overlap(stack[:, : region.shape[0], : region.shape[1]])
        shared, covered = shared + both, covered + either
        progress((number + 1) / len(boxes), f"part {number + 1} of {len(boxes)}")
    nucleus = np.pi / 4 * spec.diameter_px**2
    return float(1 - (nucleus + shared) / (nucleus + covered))


def expected_overlap(stack: Float[np.ndarray, "t h w"]) -> tuple[float, float]:
    """Expected intersection and union of the masks of two views, in px, mean over the pairs.

    Args:
      stack: Foreground probability of each view, t >= 2.

    Returns:
      Intersection and union.
    """
    p = np.where(stack < NOTHING_BELOW, 0.0, stack.astype(np.float64))
    count = len(p)
    # the sum over pairs without the pairs: (sum of p)^2 holds each pair twice, and the squares
    total = p.sum(axis=0)
    both = float((total**2 - (p**2).sum(axis=0)).sum()) / (count * (count - 1))
    return both, 2 * float(total.sum()) / count - both


def spread_windows(shape: tuple[int, int]) -> list[Box]:
    """At most `WINDOWS_MAX` boxes of at most `WINDOW_PX` px a side, spread over an image."""
    tile = (min(WINDOW_PX, shape[0]), min(WINDOW_PX, shape[1]))
    boxes = [found.read for found in plan_tiles(shape, tile=tile, margin=0)]
    if len(boxes) <= WINDOWS_MAX:
        return boxes
    chosen = np.linspace(0, len(boxes) - 1, WINDOWS_MAX).round().astype(int)
    return [boxes[i] for i in chosen]
