"""Stains simulated cells in five channels: how much dye there is at each pixel.

Brightness is relative: about 1 where untreated cells are bright. Lengths follow the diameter of
the cells.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cellml.data.screen_simulation_cells import Cells
from cellml.data.screen_simulation_phenotypes import Phenotype
from cellml.data.simulation_shapes import smooth_noise

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
"""Nuclei; endoplasmic reticulum; nucleoli and RNA; actin, Golgi and plasma membrane; mitochondria.

The channels of Cell Painting (Bray et al. 2016, Nat. Protoc. 11:1757).
"""

CELL_SPREAD = 0.18
"""Standard deviation of the logarithm of a stain's brightness from cell to cell."""


def stain(
    rng: np.random.Generator,
    cells: Cells,
    phenotype: Phenotype,
    *,
    diameter_px: float,
) -> Float[np.ndarray, "h w 5"]:
    """Stains the cells of a field.

    Args:
      rng: Source of randomness.
      cells: Who lies where.
      phenotype: Brightness and texture of the stains.
      diameter_px: Mean diameter of untreated cells.

    Returns:
      Dye in the order of `CHANNELS`, 0 outside of the cells.
    """
    shape = (cells.labels.shape[0], cells.labels.shape[1])
    nucleoli = _nucleoli(rng, cells, phenotype, diameter_px)
    # Cells are thin at the rim and thick around the nucleus.
    thickness = 1 - np.exp(-cells.to_edge_px / (0.1 * diameter_px))
    thickness *= 0.35 + 0.65 * np.exp(-cells.to_nucleus_px / (0.3 * diameter_px))
    dyes = [
        _dna(rng, cells, phenotype, nucleoli, diameter_px),
        _er(rng, cells, phenotype, thickness, diameter_px),
        _rna(rng, cells, thickness, nucleoli, diameter_px),
        _agp(rng, cells, phenotype, thickness, diameter_px),
        _mito(rng, cells, phenotype, diameter_px),
    ]
    level = np.exp([phenotype.dna, phenotype.er, phenotype.rna, phenotype.agp, phenotype.mito])
    by_cell = np.exp(rng.normal(0, CELL_SPREAD, (len(cells.centres) + 1, len(CHANNELS))))
    by_cell[0] = 0  # the background
    by_cell *= level
    out = np.empty((*shape, len(CHANNELS)))
    for channel, dye in enumerate(dyes):
        out[..., channel] = np.clip(dye, 0, None) * by_cell[cells.labels, channel]
    return out


def _shape(cells: Cells) -> tuple[int, int]:
    return (cells.labels.shape[0], cells.labels.shape[1])


def _nuclear_profile(cells: Cells) -> np.ndarray:
    """1 in the middle of a nucleus, falling towards its rim, 0 outside."""
    return np.sqrt(np.clip(1 - cells.in_nucleus**4, 0, 1)) * (cells.nuclei > 0)


def _nucleoli(
    rng: np.random.Generator, cells: Cells, phenotype: Phenotype, diameter_px: float
) -> np.ndarray:
    """Returns round spots within the nuclei, about 1 in their middle."""
    points, weights = [], []
    for core in cells.cores:
        for _ in range(rng.integers(2, 6)):
            reach = 0.6 * np.sqrt(rng.random())
            angle = rng.uniform(0, 2 * np.pi)
            u, v = core.major * reach * np.cos(angle), core.minor * reach * np.sin(angle)
            cos, sin = np.cos(core.angle), np.sin(core.angle)
            points.append((core.y - sin * u + cos * v, core.x + cos * u + sin * v))
            weights.append(rng.uniform(0.5, 1.2))
    sigma = 0.026 * diameter_px * float(np.exp(phenotype.nucleolus_size))
    spots = _spots(_shape(cells), np.array(points).reshape(-1, 2), np.array(weights), sigma)
    return np.minimum(spots, 1.5) * (cells.nuclei > 0)


def _spots(
    shape: tuple[int, int],
    points: Float[np.ndarray, "p 2"],
    peaks: Float[np.ndarray, " p"],
    sigma: float,
) -> np.ndarray:
    """Draws Gaussian spots of one width and given heights; those outside the image are left out."""
    impulses = np.zeros(shape)
    y, x = np.round(points).astype(int).T
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    np.add.at(impulses, (y[inside], x[inside]), peaks[inside])
    return ndimage.gaussian_filter(impulses, sigma, mode="constant") * (2 * np.pi * sigma**2)


def _dna(
    rng: np.random.Generator,
    cells: Cells,
    phenotype: Phenotype,
    nucleoli: np.ndarray,
    diameter_px: float,
) -> np.ndarray:
    coarse = smooth_noise(rng, _shape(cells), 0.04 * diameter_px)
    fine = smooth_noise(rng, _shape(cells), max(0.7, 0.016 * diameter_px))
    contrast = float(np.exp(phenotype.chromatin_contrast))
    texture = 1 + contrast * (0.16 * coarse + 0.12 * fine) - 0.4 * nucleoli
    content = np.append(1.0, cells.dna_content)[cells.nuclei]
    return 0.9 * content * _nuclear_profile(cells) * np.clip(texture, 0.15, 2.5)


def _er(
    rng: np.random.Generator,
    cells: Cells,
    phenotype: Phenotype,
    thickness: np.ndarray,
    diameter_px: float,
) -> np.ndarray:
    """A net of sheets and tubules, densest around the nucleus, which it leaves out."""
    grain = 0.035 * diameter_px * float(np.exp(phenotype.er_grain))
    net = 1.35 - 0.75 * np.abs(smooth_noise(rng, _shape(cells), grain))
    patches = 1 + 0.2 * smooth_noise(rng, _shape(cells), 3 * grain)
    around = 0.25 + np.exp(-cells.to_nucleus_px / (0.16 * diameter_px))
    outside = 1 - 0.75 * _nuclear_profile(cells)
    return 0.9 * thickness * around * outside * np.clip(net * patches, 0.1, 2.5)


def _rna(
    rng: np.random.Generator,
    cells: Cells,
    thickness: np.ndarray,
    nucleoli: np.ndarray,
    diameter_px: float,
) -> np.ndarray:
    """Bright nucleoli in a dim nucleus, and grainy cytoplasm."""
    grain = 1 + 0.22 * smooth_noise(rng, _shape(cells), max(0.8, 0.025 * diameter_px))
    around = 0.35 + 0.65 * np.exp(-cells.to_nucleus_px / (0.22 * diameter_px))
    profile = _nuclear_profile(cells)
    cytoplasm = 0.6 * thickness * around * np.clip(grain, 0.2, 2) * (1 - 0.5 * profile)
    return cytoplasm + 0.12 * profile + 1.0 * nucleoli


def _agp(
    rng: np.random.Generator,
    cells: Cells,
    phenotype: Phenotype,
    thickness: np.ndarray,
    diameter_px: float,
) -> np.ndarray:
    """Membranes at the rims, fibres along the cells, the Golgi apparatus beside the nuclei."""
    membrane = np.exp(-((cells.to_edge_px / (0.03 * diameter_px)) ** 2) / 2)
    ruffles = np.clip(1 + 0.5 * smooth_noise(rng, _shape(cells), 0.1 * diameter_px), 0.1, 2.5)
    fibres = _fibres(rng, cells, diameter_px) * (1 - 0.6 * _nuclear_profile(cells))
    fibres *= float(np.exp(phenotype.fibre_contrast))
    golgi = _golgi(rng, cells, phenotype, diameter_px)
    body = 0.18 + 0.12 * thickness
    rim = 1 - np.exp(-cells.to_edge_px / (0.03 * diameter_px))
    return body + 0.45 * membrane * ruffles + rim * (0.4 * fibres + 0.9 * golgi)


def _fibres(rng: np.random.Generator, cells: Cells, diameter_px: float) -> np.ndarray:
    """Returns thin lines along the major axis of each cell, slightly bent; from 0 to about 1."""
    shape = _shape(cells)
    side = max(shape)
    across = max(0.7, 0.014 * diameter_px)
    lines = smooth_noise(rng, (side, side), (across, 0.35 * diameter_px))
    angles = [body.angle for body in cells.bodies]
    angle = np.array([0.0, *angles])[cells.labels]
    angle += 0.15 * smooth_noise(rng, shape, 0.5 * diameter_px)
    y, x = np.arange(shape[0], dtype=float)[:, None], np.arange(shape[1], dtype=float)[None]
    cos, sin = np.cos(angle), np.sin(angle)
    along, beside = cos * x - sin * y, sin * x + cos * y
    drawn = ndimage.map_coordinates(lines, [beside, along], order=1, mode="grid-wrap")
    where = np.clip(0.5 + 0.6 * smooth_noise(rng, shape, 0.2 * diameter_px), 0, 1.5)
    return np.clip(drawn - 0.6, 0, 2) * where


def _golgi(
    rng: np.random.Generator, cells: Cells, phenotype: Phenotype, diameter_px: float
) -> np.ndarray:
    """Returns a heap of small bright bodies at one side of each nucleus, within the cell."""
    spread = 0.055 * diameter_px * float(np.exp(phenotype.golgi_spread))
    n_bodies = 18
    points = []
    for core in cells.cores:
        angle = rng.uniform(0, 2 * np.pi)
        radius = 1.15 * np.sqrt(core.major * core.minor)
        middle = (core.y + radius * np.sin(angle), core.x + radius * np.cos(angle))
        points.append(middle + rng.normal(0, spread, (n_bodies, 2)))
    placed = np.concatenate([np.empty((0, 2)), *points])
    peaks = rng.uniform(0.2, 0.7, len(placed))
    spots = _spots(_shape(cells), placed, peaks, 0.022 * diameter_px)
    return np.minimum(spots, 2.0)


def _mito(
    rng: np.random.Generator, cells: Cells, phenotype: Phenotype, diameter_px: float
) -> np.ndarray:
    """Threads that wind through the cytoplasm, densest around the nucleus; short ones are dots."""
    grain = 0.045 * diameter_px * float(np.exp(phenotype.mito_grain))
    # Where noise crosses zero there are long thin lines; a second noise cuts them to length.
    winding = smooth_noise(rng, _shape(cells), grain)
    threads = np.exp(-((winding / 0.42) ** 2))
    cut = smooth_noise(rng, _shape(cells), 1.3 * grain)
    threads *= 1 / (1 + np.exp(-np.clip(5 * (cut + 0.5), -30, 30)))
    reach = 0.2 * diameter_px * float(np.exp(phenotype.mito_spread))
    around = np.exp(-cells.to_nucleus_px / reach) / (1 - np.exp(-2.0))
    rim = 1 - np.exp(-cells.to_edge_px / (0.08 * diameter_px))
    outside = 1 - 0.85 * _nuclear_profile(cells)
    return 1.1 * (0.1 + threads) * np.clip(around, 0, 1) * rim * outside
