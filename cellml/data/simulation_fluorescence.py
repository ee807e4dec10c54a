"""Renders fields of fluorescently stained nuclei as a widefield microscope and a camera see them.

Light adds up (overlapping nuclei are brighter), is blurred by the optics, unevenly illuminated and
counted with shot noise; the camera adds an offset, read noise and hot pixels.
"""

import numpy as np
from jaxtyping import Float, Int32
from scipy import ndimage

from cellml.data.simulation_shapes import (
    Footprint,
    Kind,
    Nucleus,
    draw_labels,
    footprint,
    place_nuclei,
    smooth_noise,
)

KINDS = {
    "interphase": Kind(0.9, 1.0, 0.16, (1.0, 1.7), 0.06),
    "condensed": Kind(0.04, 0.7, 0.12, (1.0, 1.3), 0.03),
    "metaphase": Kind(0.03, 0.75, 0.1, (2.2, 3.4), 0.05),
    "anaphase": Kind(0.03, 0.6, 0.08, (1.8, 2.6), 0.05),
}


def render_fluorescence(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    n_nuclei: int,
    diameter_px: float,
    touching: float,
    blur_px: float | None,
    photons: float | None,
) -> tuple[Float[np.ndarray, "h w"], Int32[np.ndarray, "h w"]]:
    """Renders one field.

    Args:
      rng: Source of randomness.
      shape: Height and width.
      n_nuclei: Number of nuclei asked for.
      diameter_px: Mean diameter.
      touching: Share of nuclei placed against another.
      blur_px: Standard deviation of the point spread function; None draws 0.6 to 1.8.
      photons: Photons of a fully bright pixel; None draws 60 to 3000.

    Returns:
      Image within [0, 1] of the camera's range, and labels.
    """
    nuclei = place_nuclei(
        rng, shape, n_nuclei=n_nuclei, diameter_px=diameter_px, kinds=KINDS, touching=touching
    )
    nuclei = _divide(rng, nuclei)
    light = np.zeros(shape)
    chromatin = _Chromatin(rng, shape, diameter_px)

    def paint(nucleus: Nucleus, place: Footprint) -> None:
        light[place.window] += _nuclear_light(rng, nucleus, place, chromatin)

    labels = draw_labels(nuclei, shape, min_area_px=_min_area(diameter_px), paint=paint)
    _add_debris(rng, light, diameter_px)
    light += _cytoplasm(rng, nuclei, shape, diameter_px)
    blur_px = rng.uniform(0.6, 1.8) if blur_px is None else blur_px
    sharp = ndimage.gaussian_filter(light, blur_px)
    # Light from above and below the focal plane: a wide, weak halo.
    haze = ndimage.gaussian_filter(light, diameter_px / 2, truncate=2.5)
    seen = sharp + rng.uniform(0.02, 0.2) * haze + rng.uniform(0.005, 0.06)
    seen *= _illumination(rng, shape)
    return _camera(rng, seen, photons), labels


def _divide(rng: np.random.Generator, nuclei: list[Nucleus]) -> list[Nucleus]:
    """Turns each anaphase into two parallel plates."""
    divided = []
    for nucleus in nuclei:
        if nucleus.kind != "anaphase":
            divided.append(nucleus)
            continue
        gap = nucleus.minor * rng.uniform(1.0, 1.8)
        dy, dx = gap * np.cos(nucleus.angle), gap * np.sin(nucleus.angle)
        for sign in (-1, 1):
            moved = nucleus._replace(y=float(nucleus.y + sign * dy), x=float(nucleus.x + sign * dx))
            divided.append(moved)
    return divided


class _Chromatin:
    """Two scales of texture for the whole field; each nucleus takes a window of them."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], diameter_px: float):
        self.coarse = smooth_noise(rng, shape, max(1.0, diameter_px / 9))
        self.fine = smooth_noise(rng, shape, max(0.7, diameter_px / 24))
        self.contrast = rng.uniform(0.4, 1.2)


def _nuclear_light(
    rng: np.random.Generator, nucleus: Nucleus, place: Footprint, chromatin: _Chromatin
) -> np.ndarray:
    """Returns the light of one nucleus in its window; about 1 in the middle of a typical one."""
    rho, contrast = place.rho, chromatin.contrast
    # A flattened ellipsoid: thick in the middle, thin at the rim.
    thickness = np.sqrt(np.clip(1 - rho**3, 0, 1))
    brightness = np.exp(rng.normal(-0.5, 0.22))
    texture = 0.17 * chromatin.coarse[place.window] + 0.13 * chromatin.fine[place.window]
    if nucleus.kind == "interphase":
        for _ in range(rng.integers(1, 5)):  # nucleoli: dark, round
            du, dv = rng.uniform(-0.5, 0.5, 2)
            size = rng.uniform(0.12, 0.22)
            spot = ((place.u - du) ** 2 + (place.v - dv) ** 2) / (2 * size**2)
            texture = texture - rng.uniform(0.1, 0.4) * np.exp(-spot)
    else:
        brightness *= rng.uniform(1.5, 2.2)
        texture = 0.5 * texture
    return brightness * thickness * np.clip(1 + contrast * texture, 0.25, 2)


def _cytoplasm(
    rng: np.random.Generator, nuclei: list[Nucleus], shape: tuple[int, int], diameter_px: float
) -> np.ndarray:
    """Returns faint unspecific stain around the nuclei, as in part of real experiments."""
    strength = max(0.0, rng.normal(0.01, 0.03))
    if strength == 0 or not nuclei:
        return np.zeros(shape)
    seeds = np.zeros(shape)
    for nucleus in nuclei:
        place = footprint(nucleus, shape)
        if place is not None:
            seeds[place.window] += place.rho < 1.2
    cells = ndimage.gaussian_filter(np.minimum(seeds, 1), diameter_px * 0.6, truncate=2.5)
    grain = 1 + 0.35 * smooth_noise(rng, shape, (max(1, diameter_px / 8), diameter_px / 3))
    return strength * cells * np.clip(grain, 0, 3)


def _add_debris(rng: np.random.Generator, light: np.ndarray, diameter_px: float) -> None:
    """Adds fragments of dead cells and dust: small, bright or blurred, without a label."""
    n_clumps = rng.poisson(0.8 * light.size / (12 * diameter_px) ** 2)
    for _ in range(n_clumps):
        centre = rng.uniform(0, 1, 2) * light.shape
        for _ in range(rng.integers(1, 7)):
            y, x = centre + rng.normal(0, diameter_px / 4, 2)
            size = diameter_px * rng.uniform(0.03, 0.1)
            spot = Nucleus("debris", y, x, 3 * size, 3 * size, 0.0, np.zeros((0, 2)))
            place = footprint(spot, light.shape, margin=1.0)
            if place is not None:
                light[place.window] += rng.uniform(0.2, 1.6) * np.exp(-4.5 * place.rho**2)


def _illumination(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Returns a wide bright spot off the centre, 1 at its top."""
    y, x = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])[None]
    y0, x0 = rng.uniform(-0.5, 0.5, 2)
    return 1 - rng.uniform(0.0, 0.35) * np.clip((y - y0) ** 2 + (x - x0) ** 2, 0, 2) / 1.5


def _camera(rng: np.random.Generator, light: np.ndarray, photons: float | None) -> np.ndarray:
    """Counts photons and reads them out; returns the signal within [0, 1]."""
    if photons is None:
        photons = float(np.exp(rng.uniform(np.log(60), np.log(3000))))
    exposure = rng.uniform(0.25, 0.9)  # few images fill the camera's range
    counts = rng.poisson(np.clip(light, 0, None) * photons) / photons
    signal = exposure * counts / 1.5 + rng.uniform(0.01, 0.05)
    signal += rng.normal(0, rng.uniform(0.001, 0.006), light.shape)
    n_hot = rng.poisson(light.size * 2e-5)
    hot = rng.integers(0, light.size, n_hot)
    signal.ravel()[hot] += rng.uniform(0.1, 0.8, n_hot)
    return np.clip(signal, 0, 1)


def _min_area(diameter_px: float) -> int:
    return max(4, round(0.04 * diameter_px**2))
