"""Nuclei without learning: Otsu's threshold and a watershed. The baseline beside every score.

Host side (scikit-image). Two free numbers, the widths of two smoothings; all else comes from the
image.
"""

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Float, Int, Shaped
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from cellml.ops.instance_maps import drop_small


def nuclear_signal(image: Shaped[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w"]:
    """An image in which nuclei are bright.

    Grey images (one channel, or three equal ones) are taken as fluorescence; a colour image is
    taken as 8-bit RGB of a stained section, of which the haematoxylin part is unmixed.

    Args:
      image: 1 or 3 channels, any real dtype.
    Returns:
      float32, arbitrary scale.
    Raises:
      ValueError: Other numbers of channels.
    Source: Ruifrok and Johnston 2001, Anal. Quant. Cytol. Histol. 23:291 (stain vectors).
    """
    channels = image.shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"image: expected 1 or 3 channels, found {channels}")
    if channels == 3 and (image != image[..., :1]).any():
        return rgb2hed(image)[..., 0].astype(np.float32)
    return image[..., 0].astype(np.float32)


def segment_otsu(
    image: Shaped[np.ndarray, "h w c"],
    *,
    smoothing_px: float = 1.0,
    seed_smoothing_px: float = 2.0,
    area_min_px: int = 12,
) -> Int[np.ndarray, "h w"]:
    """Nuclei as the parts above Otsu's threshold, cut where the distance to the edge has waists.

    Args:
      image: As in `nuclear_signal`.
      smoothing_px: Gaussian standard deviation before the threshold.
      seed_smoothing_px: Likewise, of the distance map whose maxima are the seeds.
      area_min_px: Smaller parts are dropped.
    Returns:
      int32 labels 1..n without gaps, 0 is background; nothing in a flat image.
    Raises:
      ValueError: As in `nuclear_signal`.
    Source: Otsu 1979, IEEE Trans. Syst. Man Cybern. 9:62.
    """
    signal = ndi.gaussian_filter(nuclear_signal(image), smoothing_px)
    if signal.min() == signal.max():
        return np.zeros(signal.shape, np.int32)
    mask = ndi.binary_fill_holes(signal > threshold_otsu(signal))
    distance = ndi.gaussian_filter(ndi.distance_transform_edt(mask), seed_smoothing_px)
    pieces, _ = ndi.label(mask)
    peaks = peak_local_max(distance, min_distance=3, labels=pieces, exclude_border=False)
    seeds = np.zeros(signal.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return drop_small(watershed(-distance, seeds, mask=mask).astype(np.int32), area_min_px)
