"""Random augmentation of labelled fields, on the host. The random generator comes first.

Geometry (flips, quarter turns, any rotation, scale, elastic) is one resampling of the source
image into the crop, so nothing is interpolated twice. Intensity comes after.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Float, Integer
from skimage.measure import label as connected_components

# Optical densities (R, G, B) of haematoxylin, eosin and the residual: Ruifrok & Johnston 2001.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32)


@dataclass(frozen=True)
class AugmentationOptions:
    """What is drawn, and how far. `crop_px` alone with everything else 0 is a plain crop.

    Attributes:
      crop_px: Side of the square that comes out.
      dihedral: Flips and quarter turns, each of the eight with equal chance.
      rotate: Rotation by any angle, for half of the crops.
      scale: Zoom factors are drawn log-uniformly from [1/(1+scale), 1+scale].
      elastic_px: Standard deviation of the displacement of a coarse grid of control points.
      gamma: Exponents are drawn log-uniformly from [1/(1+gamma), 1+gamma].
      contrast: Factor 1 +- contrast about the mean, and an offset of +- half of it.
      blur_px: Largest sigma of a Gaussian blur, a quarter of the crops.
      noise: Largest standard deviation of Gaussian noise, a third of the crops.
      stain: Largest relative change of each stain's density (RGB images).
    """

    crop_px: int = 256
    dihedral: bool = True
    rotate: bool = True
    scale: float = 0.5
    elastic_px: float = 4.0
    gamma: float = 0.6
    contrast: float = 0.25
    blur_px: float = 1.5
    noise: float = 0.08
    stain: float = 0.25


def augment(
    rng: np.random.Generator,
    image: Float[np.ndarray, "h w c"],
    labels: Integer[np.ndarray, "h w"],
    options: AugmentationOptions,
) -> tuple[Float[np.ndarray, "s s c"], Integer[np.ndarray, "s s"]]:
    """One random crop of `options.crop_px` pixels with its labels.

    Outside the source the field is mirrored; parts of a nucleus that the crop separates get
    labels of their own.

    Args:
      rng: Source of all randomness; equal generators give equal crops.
      image: Normalised intensities, around [0, 1].
      labels: Instance labels of the same height and width.
      options: What to do.
    Returns:
      float32 image and int32 labels, contiguous from 1.
    """
    coordinates = sample_coordinates(rng, labels.shape, options)
    crop = np.stack(
        [
            ndi.map_coordinates(image[..., c], coordinates, order=1, mode="mirror")
            for c in range(image.shape[-1])
        ],
        axis=-1,
    )
    crop_labels = ndi.map_coordinates(labels, coordinates, order=0, mode="mirror")
    crop_labels = np.asarray(connected_components(crop_labels, connectivity=2), np.int32)
    return jitter_intensity(rng, crop.astype(np.float32), options), crop_labels


def sample_coordinates(
    rng: np.random.Generator, shape: tuple[int, int], options: AugmentationOptions
) -> Float[np.ndarray, "2 s s"]:
    """Source coordinates of every pixel of the crop.

    Args:
      rng: Source of all randomness.
      shape: Height and width of the source, px.
      options: What is drawn.
    Returns:
      (y, x) in px of the source; outside it where the crop is larger.
    """
    side = options.crop_px
    zoom = _log_uniform(rng, options.scale)
    angle = rng.uniform(0, 2 * np.pi) if options.rotate and rng.random() < 0.5 else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if options.dihedral:
        quarter = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), int(rng.integers(4)))
        turn = turn @ quarter @ np.diag([1, 1 if rng.random() < 0.5 else -1])
    axis = np.arange(side) - (side - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"))
    grid = np.tensordot(turn, grid, axes=1) / zoom
    # Centres are drawn where the crop stays inside, or in the middle where it cannot.
    half = side / zoom / 2
    for i, length in enumerate(shape):
        low, high = min(half, length / 2), max(length - half, length / 2)
        grid[i] += rng.uniform(low, high) - 0.5
    if options.elastic_px and rng.random() < 0.5:
        points = rng.normal(0, options.elastic_px, (2, 5, 5))
        factor = side / 5
        grid += np.stack([_smooth_zoom(p, factor, side) for p in points]) / zoom
    return grid


def jitter_intensity(
    rng: np.random.Generator, image: Float[np.ndarray, "h w c"], options: AugmentationOptions
) -> Float[np.ndarray, "h w c"]:
    """Random stain, gamma, contrast, blur and noise.

    Args:
      rng: Source of all randomness.
      image: Intensities around [0, 1].
      options: How far.
    Returns:
      float32, clipped to [-0.5, 2].
    """
    coloured = image.shape[-1] == 3 and bool(np.ptp(image, axis=-1).max() > 1e-3)
    if coloured and options.stain:
        image = jitter_stain(rng, image, options.stain)
    if options.gamma:
        exponent = np.float32(_log_uniform(rng, options.gamma))
        image = np.sign(image) * np.abs(image) ** exponent
    if options.contrast:
        factor = 1 + rng.uniform(-options.contrast, options.contrast)
        offset = rng.uniform(-options.contrast, options.contrast) / 2
        mean = image.mean()
        image = (image - mean) * np.float32(factor) + mean + np.float32(offset)
    if options.blur_px and rng.random() < 0.25:
        sigma = rng.uniform(0, options.blur_px)
        image = ndi.gaussian_filter(image, (sigma, sigma, 0))
    if options.noise and rng.random() < 0.33:
        noise = rng.normal(0, rng.uniform(0, options.noise), (*image.shape[:2], image.shape[2]))
        if not coloured:  # A grey image is one measurement shown three times.
            noise = noise[..., :1]
        image = image + noise
    return np.clip(image, -0.5, 2.0).astype(np.float32)


def jitter_stain(
    rng: np.random.Generator, image: Float[np.ndarray, "h w 3"], amount: float
) -> Float[np.ndarray, "h w 3"]:
    """Scales the densities of haematoxylin, eosin and residual.

    Args:
      rng: Source of all randomness.
      image: Transmitted light, 1 is white.
      amount: Each density is multiplied by a number within 1 +- amount.
    Returns:
      The restained image; white stays white.
    """
    density = -np.log(np.clip(image, 0.02, 2.0))
    factors = 1 + rng.uniform(-amount, amount, 3).astype(np.float32)
    mix = np.linalg.inv(STAINS) @ np.diag(factors) @ STAINS
    return np.exp(-density @ mix).astype(np.float32)


def _log_uniform(rng: np.random.Generator, reach: float) -> float:
    return float((1 + reach) ** rng.uniform(-1, 1))


def _smooth_zoom(
    points: Float[np.ndarray, "n n"], factor: float, side: int
) -> Float[np.ndarray, "s s"]:
    return ndi.zoom(points, factor, order=3, mode="nearest", grid_mode=True)[:side, :side]
