"""Hand-crafted features of single cells: the classical baseline that learned features must beat.

Named and grouped as CellProfiler names them: AreaShape, Intensity, Correlation, Texture,
Granularity and RadialDistribution, of the cell, its nucleus and its cytoplasm. Intensities are
shares of the dtype's maximum.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt

from cellml.data import cell_measurements_intensity as intensity
from cellml.data import cell_measurements_shape as shape
from cellml.data import cell_measurements_texture as texture
from cellml.data.cell_measurements_objects import CellObjects, find_objects

CHUNK = 16
"""Cells at a time: what they need stays in the processor's cache."""

NUCLEUS_STAINS = ("dna", "dapi", "hoechst", "nucle")


def measure_cells(
    pixels: UInt[np.ndarray, "n s s c"],
    masks: Bool[np.ndarray, "n s s"] | None,
    channels: Sequence[str],
) -> tuple[tuple[str, ...], Float32[np.ndarray, "n d"]]:
    """Measures single cells.

    Args:
      pixels: Crops with the cell in the middle, uint8 or uint16.
      masks: Pixels of the cells; None finds them by thresholds, see `find_objects`.
      channels: Names of the channels, without a mask. Nuclei are looked for in the one called
        DNA, DAPI, Hoechst or nuclei, or else in the first.

    Returns:
      Names, which depend on the channels only; and the features. NaN where there is nothing to
      measure: a crop without a cell, or one without a nucleus.

    Raises:
      ValueError: As many names as channels are expected, and masks that lie on the crops.
    """
    if len(channels) != pixels.shape[-1] or len(set(channels)) < len(channels):
        raise ValueError(f"{pixels.shape[-1]} channels found, different names of each expected")
    if masks is not None and masks.shape != pixels.shape[:3]:
        raise ValueError(f"masks {masks.shape} given, {pixels.shape[:3]} expected")
    names = measurement_names(channels)
    features = np.empty((len(pixels), len(names)), np.float32)
    nucleus = nucleus_channel(channels)
    top = np.float32(np.iinfo(pixels.dtype).max)
    for start in range(0, len(pixels), CHUNK):
        rows = slice(start, start + CHUNK)
        planes = np.ascontiguousarray(np.moveaxis(pixels[rows], -1, 1)).astype(np.float32) / top
        of_rows = None if masks is None else masks[rows]
        objects = find_objects(planes, of_rows, nucleus=nucleus)
        features[rows] = _measure(planes, objects)
    return names, features


def measurement_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Names of the features of `measure_cells`, in order."""
    names: list[str] = []
    for kind in ("Cells", "Nuclei"):
        names += [f"{kind}_AreaShape_{name}" for name in shape.NAMES]
    names += ["Cells_AreaShape_NucleusFraction", "Cells_AreaShape_NucleusDisplacement"]
    for kind in ("Cells", "Nuclei", "Cytoplasm"):
        names += [f"{kind}_Intensity_{name}_{c}" for c in channels for name in intensity.NAMES]
        pairs = intensity.correlation_names(channels, manders=kind == "Cells")
        names += [f"{kind}_Correlation_{name}" for name in pairs]
    for kind in ("Cells", "Nuclei"):
        names += [f"{kind}_Texture_{name}" for name in texture.haralick_names(channels)]
    names += [f"Cells_{name}" for name in texture.granularity_names(channels)]
    names += [f"Cells_RadialDistribution_{name}" for name in intensity.radial_names(channels)]
    return tuple(names)


def nucleus_channel(channels: Sequence[str]) -> int:
    """Index of the first channel whose name is that of a stain of nuclei; 0 if there is none."""
    found = (
        i
        for i, name in enumerate(channels)
        if any(stain in name.casefold() for stain in NUCLEUS_STAINS)
    )
    return next(found, 0)


def _measure(planes: np.ndarray, objects: CellObjects) -> np.ndarray:
    cells, nuclei = objects.cells, objects.nuclei
    parts = [shape.shape_measurements(mask) for mask in (cells, nuclei)]
    parts.append(_placement(cells, nuclei))
    for mask in objects:
        parts.append(intensity.intensity_measurements(planes, mask))
        parts.append(intensity.correlation_measurements(planes, mask, manders=mask is cells))
    parts += [texture.haralick_measurements(planes, mask) for mask in (cells, nuclei)]
    parts.append(texture.granularity_measurements(planes, cells))
    parts.append(intensity.radial_measurements(planes, cells, nuclei))
    return np.concatenate(parts, axis=1)


def _placement(cells: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Share of the cell that is nucleus; px between their centroids over the cell's diameter."""
    at = np.arange(cells.shape[1], dtype=np.float64)

    def centroid(masks: np.ndarray, area: np.ndarray) -> np.ndarray:
        y, x = masks.sum(2) @ at, masks.sum(1) @ at
        return np.stack([y, x], 1) / np.maximum(area, 1)[:, None]

    area, of_nucleus = cells.sum((1, 2)), nuclei.sum((1, 2))
    apart = np.linalg.norm(centroid(cells, area) - centroid(nuclei, of_nucleus), axis=1)
    found = np.stack([of_nucleus / np.maximum(area, 1), apart / np.sqrt(np.maximum(area, 1))], 1)
    return np.where((of_nucleus > 0)[:, None], found, np.nan)
