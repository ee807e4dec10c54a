"""Outlined pictures: the image with the contours of its objects, for a person to look at."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped, UInt8

from cellml.annotate.objects import AnnotatedObject
from cellml.annotate.outlines import object_window
from cellml.data.overlay import inner_boundary

SAMPLE_SIDE = 1024
"""Contrast is taken from about this many pixels along each side."""


def outlined_picture(
    image: Shaped[np.ndarray, "h w c"],
    objects: Sequence[AnnotatedObject],
    colours: Mapping[str, str],
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws the outermost pixels of every object in the colour of its class.

    Args:
      image: 8-bit colour is shown as it is; anything else between the .1 and 99.9 percentile of
        each channel. Of 2, 4 or more channels the mean is shown.
      objects: Later ones lie on top.
      colours: Class to `#rrggbb`.

    Returns:
      A picture of the same size.
    """
    shape = (image.shape[0], image.shape[1])
    picture = _eight_bits(image)
    for item in objects:
        window = object_window(item, shape)
        if window is None:
            continue
        box, mask = window
        edge = inner_boundary(np.pad(mask, 1).astype(np.int32))[1:-1, 1:-1]
        colour = colours[item.class_name]
        picture[box][edge] = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return picture


def _eight_bits(image: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width, channels = image.shape
    if image.dtype == np.uint8 and channels == 3:
        return np.array(image)
    shown = np.zeros((height, width, channels if channels == 3 else 1), np.float32)
    step = max(1, max(height, width) // SAMPLE_SIDE)
    for channel in range(channels):
        pixels = np.asarray(image[..., channel], np.float32)
        low, high = np.percentile(pixels[::step, ::step], [0.1, 99.9]).tolist()
        scaled = np.clip((pixels - low) / max(high - low, 1e-12), 0, 1)
        if channels == 3:
            shown[..., channel] = scaled
        else:
            shown[..., 0] += scaled / channels
    grey = np.round(shown * 255).astype(np.uint8)
    return grey if channels == 3 else np.repeat(grey, 3, axis=2)
