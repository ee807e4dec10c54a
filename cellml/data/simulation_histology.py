"""Renders fields like sections stained with haematoxylin and eosin (H&E), in transmitted light.

Stains absorb: their optical densities add up along the colours of Ruifrok and Johnston (2001,
Anal. Quant. Cytol. Histol. 23:291), and the camera sees white light times exp(-density).
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

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])
KINDS = {
    "epithelial": Kind(0.5, 1.1, 0.15, (1.0, 1.5), 0.06),
    "lymphocyte": Kind(0.3, 0.75, 0.08, (1.0, 1.2), 0.045),
    "spindle": Kind(0.2, 0.9, 0.15, (2.2, 4.5), 0.06, aligned=True),
}


def render_histology(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    n_nuclei: int,
    diameter_px: float,
    touching: float,
    blur_px: float | None,
    photons: float | None,
) -> tuple[Float[np.ndarray, "h w 3"], Int32[np.ndarray, "h w"]]:
    """Renders one field; arguments as for `render_fluorescence`.

    Returns:
      RGB image within [0, 1], and labels.
    """
    direction = _fibre_direction(rng, shape, diameter_px)
    lumen = _lumen(rng, shape, diameter_px)
    nuclei = place_nuclei(
        rng,
        shape,
        n_nuclei=n_nuclei,
        diameter_px=diameter_px,
        kinds=_mixture(rng),
        touching=touching,
        allowed=0.5 - lumen,
        direction=direction,
    )
    eosin = _stroma(rng, shape, direction, diameter_px) * (1 - lumen)
    eosin = _add_cytoplasm(rng, eosin, nuclei, diameter_px)
    _add_red_cells(rng, eosin, lumen, diameter_px)
    haematoxylin = 0.05 * (1 + 0.5 * smooth_noise(rng, shape, diameter_px / 3)) * (1 - lumen)
    clumps = smooth_noise(rng, shape, max(0.8, diameter_px / 14))
    grain = smooth_noise(rng, shape, max(0.6, diameter_px / 30))
    strength = rng.uniform(0.75, 1.25)

    def paint(nucleus: Nucleus, place: Footprint) -> None:
        density = _nuclear_density(rng, nucleus, place, clumps, grain) * strength
        part = haematoxylin[place.window]
        # Not a sum: a section is thinner than two nuclei.
        np.maximum(part, density, out=part)
        eosin[place.window] *= 1 - 0.45 * np.clip((1.05 - place.rho) / 0.1, 0, 1)

    min_area_px = max(4, round(0.04 * diameter_px**2))
    labels = draw_labels(nuclei, shape, min_area_px=min_area_px, paint=paint)
    _add_pigment(rng, haematoxylin, diameter_px)
    return _transmit(rng, haematoxylin, eosin, blur_px, photons), labels


def _mixture(rng: np.random.Generator) -> dict[str, Kind]:
    """Draws how much of the field is gland, infiltrate or connective tissue."""
    shares = rng.dirichlet([kind.share * 5 for kind in KINDS.values()])
    return {
        name: kind._replace(share=float(share))
        for (name, kind), share in zip(KINDS.items(), shares, strict=True)
    }


def _fibre_direction(
    rng: np.random.Generator, shape: tuple[int, int], diameter_px: float
) -> np.ndarray:
    """Returns slowly turning angles of the fibres."""
    return rng.uniform(0, np.pi) + 0.5 * smooth_noise(rng, shape, 4 * diameter_px)


def _lumen(rng: np.random.Generator, shape: tuple[int, int], diameter_px: float) -> np.ndarray:
    """Returns 1 in gaps of the tissue and 0 in tissue, with soft edges."""
    threshold = rng.uniform(0.8, 2.5)  # often no gap at all
    noise = smooth_noise(rng, shape, 2.2 * diameter_px)
    noise += 0.12 * smooth_noise(rng, shape, diameter_px / 3)
    return 1 / (1 + np.exp(-np.clip((noise - threshold) * 25, -50, 50)))


def _stroma(
    rng: np.random.Generator, shape: tuple[int, int], direction: np.ndarray, diameter_px: float
) -> np.ndarray:
    """Returns the eosin density of fibres: noise drawn out along a direction, warped by it."""
    length = int(np.hypot(*shape)) + 8
    across, along = max(0.8, diameter_px / 14), diameter_px * 1.2
    bundles = smooth_noise(rng, (length, length), (across, along))
    bundles += 0.7 * smooth_noise(rng, (length, length), (4 * across, 1.5 * along))
    mean = float(direction.mean())
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    y, x = y - shape[0] / 2, x - shape[1] / 2
    # Sampling in a frame that is turned by the mean angle and sheared by the local deviation.
    bend = diameter_px * 1.5 * (direction - mean)
    rows = np.sin(mean) * x + np.cos(mean) * y + bend + length / 2
    columns = np.cos(mean) * x - np.sin(mean) * y + length / 2
    fibres = ndimage.map_coordinates(bundles, [rows, columns], order=1, mode="wrap")
    density = 0.42 + 0.12 * fibres + 0.05 * smooth_noise(rng, shape, max(0.7, diameter_px / 25))
    density += 0.12 * smooth_noise(rng, shape, 2 * diameter_px)
    return np.clip(density * rng.uniform(0.6, 1.2), 0.03, None)


def _add_cytoplasm(
    rng: np.random.Generator, eosin: np.ndarray, nuclei: list[Nucleus], diameter_px: float
) -> np.ndarray:
    """Adds even cytoplasm around epithelial nuclei in place of fibres."""
    cells = np.zeros_like(eosin)
    for nucleus in nuclei:
        if nucleus.kind != "epithelial":
            continue
        wide = nucleus._replace(major=nucleus.major * 1.7, minor=nucleus.minor * 1.7)
        place = footprint(wide, (eosin.shape[0], eosin.shape[1]), margin=1.1)
        if place is not None:
            part = cells[place.window]
            np.maximum(part, np.clip((1.05 - place.rho) / 0.25, 0, 1), out=part)
    level = rng.uniform(0.3, 0.6) * (1 + 0.08 * smooth_noise(rng, eosin.shape, diameter_px / 8))
    return eosin * (1 - 0.75 * cells) + level * 0.75 * cells


def _add_red_cells(
    rng: np.random.Generator, eosin: np.ndarray, lumen: np.ndarray, diameter_px: float
) -> None:
    """Adds erythrocytes: round, strong in eosin, without a nucleus."""
    if rng.random() < 0.6:
        return
    shape = (eosin.shape[0], eosin.shape[1])
    for _ in range(rng.poisson(10)):
        y, x = rng.uniform(0, 1, 2) * shape
        if lumen[int(y), int(x)] < 0.3 and rng.random() < 0.7:
            continue
        radius = diameter_px * rng.uniform(0.3, 0.38)
        shape_noise = rng.normal(0, 0.03, (3, 2))
        cell = Nucleus("red", float(y), float(x), radius, radius, 0.0, shape_noise)
        place = footprint(cell, shape, margin=1.0)
        if place is not None:
            part = eosin[place.window]
            disc = np.clip((1 - place.rho) / 0.12, 0, 1) * (0.75 + 0.35 * place.rho**2)
            np.maximum(part, disc, out=part)


def _nuclear_density(
    rng: np.random.Generator,
    nucleus: Nucleus,
    place: Footprint,
    clumps: np.ndarray,
    grain: np.ndarray,
) -> np.ndarray:
    """Returns the haematoxylin density of one nucleus in its window."""
    rho = place.rho
    body = np.clip((1.03 - rho) / 0.1, 0, 1)
    vesicular = nucleus.kind == "epithelial" and rng.random() < 0.6
    level = rng.uniform(0.5, 0.85) if vesicular else rng.uniform(0.9, 1.45)
    contrast = rng.uniform(0.25, 0.45) if vesicular else rng.uniform(0.08, 0.2)
    texture = 1 + contrast * clumps[place.window] + 0.08 * grain[place.window]
    # Chromatin lines the envelope.
    rim = (0.55 if vesicular else 0.15) * np.exp(-(((rho - 0.93) / 0.09) ** 2))
    density = level * np.clip(texture, 0.4, 2) + rim
    if vesicular:
        for _ in range(rng.integers(1, 3)):  # nucleoli: dark, small
            du, dv = rng.uniform(-0.4, 0.4, 2)
            spot = ((place.u - du) ** 2 + (place.v - dv) ** 2) / (2 * 0.11**2)
            density = density + 0.7 * np.exp(-spot)
    return density * body


def _add_pigment(rng: np.random.Generator, density: np.ndarray, diameter_px: float) -> None:
    """Adds specks of dirt and stain precipitate, without a label."""
    shape = (density.shape[0], density.shape[1])
    for _ in range(rng.poisson(1.5)):
        y, x = (rng.uniform(0, 1, 2) * shape).tolist()
        radius = diameter_px * float(rng.uniform(0.05, 0.13))
        speck = Nucleus("dirt", y, x, radius, radius, 0.0, rng.normal(0, 0.15, (3, 2)))
        place = footprint(speck, shape, margin=1.0)
        if place is not None:
            density[place.window] += 1.2 * np.clip((1.1 - place.rho) / 0.3, 0, 1)


def _transmit(
    rng: np.random.Generator,
    haematoxylin: np.ndarray,
    eosin: np.ndarray,
    blur_px: float | None,
    photons: float | None,
) -> np.ndarray:
    """Sends light through the section, then lens and camera."""
    blur_px = rng.uniform(0.5, 1.3) if blur_px is None else blur_px
    stains = [
        np.clip(stain + rng.normal(0, 0.04, 3), 0.02, None) for stain in (HAEMATOXYLIN, EOSIN)
    ]
    stains = [stain / np.linalg.norm(stain) for stain in stains]
    density = haematoxylin[..., None] * 1.25 * stains[0] + eosin[..., None] * 0.75 * stains[1]
    lamp = np.array([0.95, 0.95, 0.96]) + rng.normal(0, 0.015, 3)
    shading = 1 - rng.uniform(0, 0.06) * np.linspace(-1, 1, density.shape[1])[None, :, None] ** 2
    light = lamp * shading * np.exp(-density)
    light = ndimage.gaussian_filter(light, (blur_px, blur_px, 0))
    photons = float(rng.uniform(1500, 12000)) if photons is None else photons
    light = rng.poisson(np.clip(light, 0, None) * photons) / photons
    light += rng.normal(0, 0.004, light.shape)
    return np.clip(light, 0, 1)
