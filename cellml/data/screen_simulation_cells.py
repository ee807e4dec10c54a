"""Places simulated cells with their nuclei, and measures where in its cell every pixel lies."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32
from scipy import ndimage

from cellml.data.screen_simulation_phenotypes import Phenotype
from cellml.data.simulation_shapes import Kind, Nucleus, footprint, place_nuclei, smooth_noise

NUCLEUS_DIAMETER = 0.42
"""Of untreated cells, relative to the cell's."""

OVERLAP = 0.3
G2_SHARE = 0.25
"""Share of the cells with twice the DNA."""


class Cells(NamedTuple):
    """The n cells of a field; row i belongs to label i + 1.

    Attributes:
      labels: Cells, (h, w), 0 is background.
      nuclei: Nuclei with the labels of their cells; each lies within its cell.
      centres: Centres of the nuclei, (n, 2), y and x in px.
      bodies: Ellipses that the cells were drawn from.
      cores: Those of the nuclei.
      dna_content: Concentration of DNA relative to the resting cell.
      in_nucleus: 0 in the middle of a nucleus, 1 at its rim and outside.
      to_nucleus_px: Distance to the nearest nucleus.
      to_edge_px: Distance to the nearest pixel of another cell or of the background.
    """

    labels: Int32[np.ndarray, "h w"]
    nuclei: Int32[np.ndarray, "h w"]
    centres: Float[np.ndarray, "n 2"]
    bodies: list[Nucleus]
    cores: list[Nucleus]
    dna_content: Float[np.ndarray, " n"]
    in_nucleus: Float[np.ndarray, "h w"]
    to_nucleus_px: Float[np.ndarray, "h w"]
    to_edge_px: Float[np.ndarray, "h w"]


def draw_cells(
    rng: np.random.Generator,
    shape: tuple[int, int],
    phenotype: Phenotype,
    *,
    n_cells: int,
    diameter_px: float,
) -> Cells:
    """Draws the cells of one field.

    Args:
      rng: Source of randomness.
      shape: Height and width, px.
      phenotype: Numbers, sizes and shapes.
      n_cells: Of an untreated field, on average.
      diameter_px: Mean diameter of untreated cells.

    Returns:
      The cells. All nuclei have their centres in the field; cells at its rim are cut.
    """
    size = diameter_px * float(np.exp(phenotype.cell_size))
    bodies = _place_bodies(rng, shape, phenotype, n_cells, size)
    ragged = min(0.3, 0.06 * float(np.exp(phenotype.cell_roughness)))
    labels = _share_out(bodies, shape, 1 + ragged * smooth_noise(rng, shape, 0.09 * diameter_px))
    cores, dna_content = [], []
    for body in bodies:
        core, content = _core(rng, body, phenotype, diameter_px)
        cores.append(core)
        dna_content.append(content)
    nuclei = np.zeros(shape, np.int32)
    in_nucleus = np.ones(shape)
    for number, core in enumerate(cores, 1):
        place = footprint(core, shape)
        if place is None:
            continue
        # At least a pixel of cytoplasm all around, except where the field ends.
        own = labels[place.window] == number
        inside = (place.rho < 1) & ndimage.binary_erosion(own, border_value=1)
        nuclei[place.window][inside] = number
        in_nucleus[place.window][inside] = place.rho[inside]
    kept = _renumber(labels, nuclei, in_nucleus)
    bodies, cores = [bodies[i] for i in kept], [cores[i] for i in kept]
    nucleus_labels = np.arange(1, len(kept) + 1)
    centres = np.array(ndimage.center_of_mass(nuclei > 0, nuclei, nucleus_labels))
    return Cells(
        labels=labels,
        nuclei=nuclei,
        centres=centres.reshape(-1, 2),
        bodies=bodies,
        cores=cores,
        dna_content=np.array(dna_content)[kept],
        in_nucleus=in_nucleus,
        to_nucleus_px=ndimage.distance_transform_edt(nuclei == 0),
        to_edge_px=_to_edge(labels),
    )


def _place_bodies(
    rng: np.random.Generator,
    shape: tuple[int, int],
    phenotype: Phenotype,
    n_cells: int,
    diameter_px: float,
) -> list[Nucleus]:
    elongation = 1.45 * np.exp(phenotype.cell_elongation)
    kind = Kind(
        share=1.0,
        size=1.0,
        size_spread=0.13,
        elongation=(max(1.0, float(0.75 * elongation)), max(1.05, float(1.25 * elongation))),
        roughness=min(0.3, float(0.085 * np.exp(phenotype.cell_roughness))),
    )
    count = n_cells * np.exp(phenotype.n_cells + rng.normal(0, 0.1))
    return place_nuclei(
        rng,
        shape,
        n_nuclei=max(1, round(float(count))),
        diameter_px=diameter_px,
        kinds={"cell": kind},
        touching=0.3,
        overlap=OVERLAP,
    )


def _share_out(
    bodies: list[Nucleus], shape: tuple[int, int], ragged: Float[np.ndarray, "h w"]
) -> np.ndarray:
    """Gives each pixel to the cell in which it lies deepest; cells are in one piece.

    Args:
      bodies: The cells, label by label.
      shape: Height and width, px.
      ragged: Depths are multiplied by it, which makes outlines less smooth.

    Returns:
      Labels.
    """
    labels = np.zeros(shape, np.int32)
    depth = np.ones(shape)
    for number, body in enumerate(bodies, 1):
        place = footprint(body, shape)
        if place is not None:
            rho = place.rho * ragged[place.window]
            deeper = rho < depth[place.window]
            labels[place.window][deeper] = number
            depth[place.window][deeper] = rho[deeper]
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        pieces, n_pieces = ndimage.label(labels[box] == number)
        if n_pieces > 1:
            largest = 1 + np.bincount(pieces.ravel())[1:].argmax()
            labels[box][(pieces > 0) & (pieces != largest)] = 0
    return labels


def _core(
    rng: np.random.Generator, body: Nucleus, phenotype: Phenotype, diameter_px: float
) -> tuple[Nucleus, float]:
    """Draws the nucleus of a cell; returns it with its concentration of DNA."""
    divides = rng.random() < G2_SHARE
    grows = 1.14 if divides else 1.0
    size = np.exp(phenotype.nucleus_size + rng.normal(0, 0.07)) * grows
    radius = diameter_px * NUCLEUS_DIAMETER / 2 * size
    elongation = max(1.0, 1.25 * np.exp(phenotype.nucleus_elongation + rng.normal(0, 0.08)))
    roughness = min(0.3, 0.035 * np.exp(phenotype.nucleus_roughness))
    shift = rng.normal(0, 0.12, 2) * body.minor
    core = Nucleus(
        "nucleus",
        body.y + float(shift[0]),
        body.x + float(shift[1]),
        float(radius * np.sqrt(elongation)),
        float(radius / np.sqrt(elongation)),
        float(body.angle + rng.normal(0, 0.3)),
        rng.normal(0, roughness, (4, 2)) / np.arange(1, 5)[:, None] ** 1.2,
    )
    return core, 1.3 if divides else 1.0


def _renumber(labels: np.ndarray, nuclei: np.ndarray, in_nucleus: np.ndarray) -> list[int]:
    """Drops, in place, cells that have hardly a nucleus to be seen; returns the kept indices."""
    n = int(labels.max(initial=0))
    areas = np.bincount(nuclei.ravel(), minlength=n + 1)
    keep = areas >= 12
    keep[0] = False
    in_nucleus[~keep[nuclei]] = 1.0
    lookup = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    labels[...] = lookup[labels]
    nuclei[...] = lookup[nuclei]
    return (np.flatnonzero(keep) - 1).tolist()


def _to_edge(labels: np.ndarray) -> np.ndarray:
    padded = np.pad(labels, 1, mode="edge")  # the rim of the field is no rim of a cell
    low = ndimage.minimum_filter(padded, 3)
    high = ndimage.maximum_filter(padded, 3)
    inner = (low == high) & (padded > 0)
    distance = ndimage.distance_transform_edt(inner)[1:-1, 1:-1]
    return np.where(labels > 0, distance + 0.5, 0.0)
