"""Illumination correction and compression to 8 bits, as DeepProfiler's `prepare` does them.

After Singh et al. 2014, J. Microsc. 256:231: the mean image of a plate, smoothed, is the function
that every image of the plate is divided by.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from scipy import ndimage

ROBUST_MINIMUM_PERCENT = 2.0
IMAGE_PERCENTS = (0.05, 99.95)
PLATE_FRACTION = 0.9999


@dataclass
class PlateStatistics:
    """Sums over the images of one plate; memory does not grow with their number.

    Attributes:
      histogram: Number of pixels of every value and channel.
      thumbnails: Sum of the images, made smaller.
      shape: Height and width of the images.
      count: Number of images.
    """

    histogram: Int[np.ndarray, "c v"]
    thumbnails: Float[np.ndarray, "a b c"]
    shape: tuple[int, int]
    count: int = 0

    def add(self, image: Shaped[np.ndarray, "h w c"]) -> None:
        """Adds an image.

        Raises:
          ValueError: Its size, dtype or channels differ from those before.
        """
        values = np.iinfo(image.dtype).max + 1 if image.dtype.kind == "u" else 0
        channels, expected = self.histogram.shape
        if (*image.shape, values) != (*self.shape, channels, expected):
            h, w = image.shape[:2]
            raise ValueError(
                f"{h} x {w} px of {image.dtype} found, {self.shape[0]} x {self.shape[1]} px of "
                f"{_dtype_of(expected)} expected as in the plate's first image"
            )
        for c in range(channels):
            self.histogram[c] += np.bincount(image[..., c].ravel(), minlength=expected)
        self.thumbnails += resize(image.astype(np.float64), self.thumbnails.shape[:2])
        self.count += 1

    def brightest(self) -> Float[np.ndarray, " c"]:
        """The lowest value of every channel that more than 99.99 % of the pixels do not exceed."""
        shares = np.cumsum(self.histogram / self.histogram.sum(axis=1, keepdims=True), axis=1)
        return np.argmax(shares > PLATE_FRACTION, axis=1).astype(np.float64)


def begin_statistics(
    image: Shaped[np.ndarray, "h w c"], *, down_scale_factor: float
) -> PlateStatistics:
    """Makes empty statistics for images like this one.

    Raises:
      ValueError: Its pixels are neither uint8 nor uint16.
    """
    if image.dtype.name not in ("uint8", "uint16"):
        raise ValueError(f"pixels of type {image.dtype} found, uint8 or uint16 expected")
    height, width, channels = image.shape
    small = [max(1, round(n / down_scale_factor)) for n in (height, width)]
    values = np.iinfo(image.dtype).max + 1
    return PlateStatistics(
        np.zeros((channels, values), np.int64), np.zeros((*small, channels)), (height, width)
    )


def illumination_function(
    mean_image: Float[np.ndarray, "a b"], shape: tuple[int, int], *, median_filter_size: int
) -> Float[np.ndarray, "h w"]:
    """Estimates how strongly every place of a plate's images is lit.

    Args:
      mean_image: Mean of one channel over the plate, made smaller.
      shape: Height and width of the images.
      median_filter_size: Diameter of the smoothing disk, in pixels of `mean_image`.

    Returns:
      At least 1; 1 everywhere where the channel is black.
    """
    reach = np.arange(-(median_filter_size // 2), median_filter_size // 2 + 1)
    y, x = np.meshgrid(reach, reach, indexing="ij")
    disk = y**2 + x**2 <= (median_filter_size / 2) ** 2
    counts = mean_image.astype(np.uint16)  # whole numbers, as in DeepProfiler
    smooth = ndimage.median_filter(counts, footprint=disk, mode="nearest").astype(np.float64)
    smooth = resize(smooth[..., None], shape)[..., 0]
    minimum = float(np.percentile(smooth, ROBUST_MINIMUM_PERCENT))
    if minimum <= 0:
        return np.ones(shape)
    return np.maximum(smooth, minimum) / minimum


def correct(
    image: Shaped[np.ndarray, "h w"],
    illumination: Float[np.ndarray, "h w"],
    *,
    brightest: float,
    shape: tuple[int, int],
) -> UInt8[np.ndarray, "a b"]:
    """Divides by the illumination, resizes, and stretches to 8 bits.

    Args:
      image: One channel.
      illumination: From `illumination_function`.
      brightest: Upper limit of the stretch, so that a few saturated pixels do not darken an image:
        the plate's 99.99th percentile.
      shape: Height and width of the result.

    Returns:
      0 at the image's .05th percentile and 255 at the lower of its 99.95th and `brightest`; all 0
      where that leaves nothing.
    """
    even = image / illumination
    if shape != image.shape:
        even = resize(even[..., None], shape)[..., 0]
    low, high = np.percentile(even, IMAGE_PERCENTS)
    high = min(high, brightest)
    if high <= low:
        return np.zeros(shape, np.uint8)
    return np.rint(np.clip((even - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def resize(image: Float[np.ndarray, "h w c"], shape: tuple[int, ...]) -> Float[np.ndarray, "a b c"]:
    """Resizes bilinearly, smoothing before where it gets smaller (scikit-image's `resize`)."""
    from skimage.transform import resize as skimage_resize  # half a second to import

    size = (*shape[:2], image.shape[2])
    return skimage_resize(image, size, mode="reflect", anti_aliasing=True, preserve_range=True)


def _dtype_of(values: int) -> str:
    return "uint8" if values == 256 else "uint16"
