"""Simulated Cell Painting screens with known treatments, mechanisms and batches.

    design = ScreenDesign(n_plates=2)
    for well in list_wells(design):
        field = simulate_screen_field(design, well, site=1)

The truth is in `list_treatments(design)`: the mechanism of each treatment and its strength.
`cellml.datasets` stores such a screen as the data set `screen_simulated`;
`cellml.data.screen_simulation_project` writes it as a DeepProfiler project.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32, UInt16

from cellml.data.screen_simulation_cells import draw_cells
from cellml.data.screen_simulation_design import (
    CONTROL,
    NO_MECHANISM,
    SEED_FIELD,
    SEED_TREATMENT,
    ScreenDesign,
    Treatment,
    Well,
    list_treatments,
    list_wells,
)
from cellml.data.screen_simulation_microscope import take_picture, well_conditions
from cellml.data.screen_simulation_phenotypes import (
    MECHANISMS,
    Phenotype,
    add,
    treatment_effect,
)
from cellml.data.screen_simulation_stains import CHANNELS, stain

__all__ = [
    "CHANNELS",
    "CONTROL",
    "MECHANISMS",
    "NO_MECHANISM",
    "ScreenDesign",
    "ScreenField",
    "Treatment",
    "Well",
    "field_id",
    "list_treatments",
    "list_wells",
    "simulate_screen_field",
    "well_phenotype",
]


class ScreenField(NamedTuple):
    """One field with the truth about its n cells.

    Attributes:
      image: Grey values, channels as in `CHANNELS`.
      labels: Cells, 1..n without a gap, 0 is background.
      nuclei: Nuclei with the labels of their cells.
      centres: Centres of the nuclei of labels 1..n, (y, x) in px, pixel centres from (0, 0).
    """

    image: UInt16[np.ndarray, "h w 5"]
    labels: Int32[np.ndarray, "h w"]
    nuclei: Int32[np.ndarray, "h w"]
    centres: Float[np.ndarray, "n 2"]


def simulate_screen_field(design: ScreenDesign, well: Well, site: int) -> ScreenField:
    """Renders one field of a screen.

    Args:
      design: The screen.
      well: One of `list_wells(design)`.
      site: From 1; sites beyond the design's may be rendered as well.

    Returns:
      The field, a function of the arguments on every machine with the same NumPy and SciPy.

    Raises:
      ValueError: `site` is less than 1.
    """
    if site < 1:
        raise ValueError(f"sites count from 1, got {site}")
    conditions = well_conditions(design, well)
    phenotype = add([well_phenotype(design, well), conditions.phenotype])
    rng = np.random.default_rng(
        (SEED_FIELD, design.seed, well.plate_number, well.row, well.column, site)
    )
    cells = draw_cells(
        rng,
        design.shape,
        phenotype,
        n_cells=design.n_cells,
        diameter_px=design.cell_diameter_px,
    )
    dye = stain(rng, cells, phenotype, diameter_px=design.cell_diameter_px)
    image = take_picture(rng, dye, conditions)
    return ScreenField(image, cells.labels, cells.nuclei, cells.centres)


def well_phenotype(design: ScreenDesign, well: Well) -> Phenotype:
    """Returns what the treatment of a well does to its cells, without batch and place."""
    treatment = well.treatment
    if treatment.mechanism == NO_MECHANISM:
        return Phenotype()
    rng = np.random.default_rng((SEED_TREATMENT, design.seed, treatment.number))
    return treatment_effect(rng, treatment.mechanism, treatment.strength * design.effect)


def field_id(well: Well, site: int) -> str:
    """Returns the name of a field, as ImageXpress microscopes write it: `<plate>_A01_s1`."""
    return f"{well.plate}_{well.well}_s{site}"
