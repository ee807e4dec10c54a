"""Intensity normalisation, on the host (NumPy): any dtype in, float32 around [0, 1] out.

Limits are found once for an image and then applied to any part of it, so that a tile of a large
image is normalised as the whole is.
"""

import numpy as np
from jaxtyping import Float, Shaped

SAMPLE_PX = 1 << 20
"""Percentiles are taken over at most about this many pixels, on a regular grid."""


def intensity_limits(
    image: Shaped[np.ndarray, "h w ..."],
    percentiles: tuple[float, float] | None = (1.0, 99.8),
) -> tuple[float, float]:
    """Intensities that normalisation maps to 0 and 1, over all channels together.

    Colour channels share one pair of limits, so that the colour of a stain survives.

    Args:
      image: [h, w] or [h, w, c], any real dtype, finite.
      percentiles: Lower and upper percentile, 0 <= lower < upper <= 100. None gives the range of
        an integer type, as networks trained on raw 8-bit images expect; (0, 1) for floats.
    Returns:
      `(low, high)` with low < high. A flat image gives `(value, value + 1)`.
    Raises:
      ValueError: The percentiles are not ordered.
    """
    if percentiles is None:
        integer = np.issubdtype(image.dtype, np.integer)
        return (0.0, float(np.iinfo(image.dtype).max)) if integer else (0.0, 1.0)
    lower, upper = percentiles
    if not 0 <= lower < upper <= 100:
        raise ValueError(f"percentiles: expected 0 <= lower < upper <= 100, found {percentiles}")
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / SAMPLE_PX)))
    low, high = np.percentile(image[::step, ::step], [lower, upper])
    if high <= low:  # Nearly empty fields: a few bright nuclei on a flat background.
        low, high = float(np.min(image)), float(np.max(image))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def normalise(
    image: Shaped[np.ndarray, "h w ..."], limits: tuple[float, float], *, channels: int = 3
) -> Float[np.ndarray, "h w c"]:
    """Maps `limits` to 0 and 1, clips to [-0.5, 2], and makes the number of channels fit.

    Args:
      image: [h, w] or [h, w, c], any real dtype.
      limits: From `intensity_limits`.
      channels: Channels wanted. One channel is repeated; three are averaged down to one.
    Returns:
      float32 of the same height and width.
    Raises:
      ValueError: The image's channels cannot be made to fit.
    """
    if image.ndim == 2:
        image = image[..., None]
    found = image.shape[-1]
    low, high = limits
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(1.0 / (high - low))
    scaled = np.clip(scaled, -0.5, 2.0)
    if found == channels:
        return scaled
    if found == 1:
        return np.repeat(scaled, channels, axis=-1)
    if channels == 1 and found == 3:
        return scaled.mean(axis=-1, keepdims=True)
    raise ValueError(f"image: expected 1 or {channels} channels, found {found}")
