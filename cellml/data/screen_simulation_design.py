"""The design of a simulated screen: treatments, and what lies in which well of which plate.

Everything follows from the design and its seed, without rendering an image. Each plate, well and
treatment draws from a generator of its own, so that one field can be rendered alone.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from cellml.data.screen_simulation_phenotypes import MECHANISMS, is_mechanism
from cellml.data.wells import well_name

CONTROL = "DMSO"
"""Treatment of the control wells."""

NO_MECHANISM = "none"
"""Mechanism of the controls, and of the treatments that do nothing."""

STRENGTHS = (1.0, 0.35)
"""Of the strongest and the weakest treatment of a mechanism; the others lie evenly between."""

LAYOUTS = ("random", "fixed")

# First number of the seed of each kind of random draws.
SEED_NAMES, SEED_LAYOUT, SEED_TREATMENT, SEED_BATCH, SEED_PLATE, SEED_WELL, SEED_FIELD = range(7)


@dataclasses.dataclass(frozen=True)
class ScreenDesign:
    """What to simulate; checked when made.

    The wells of a plate that no treatment takes are controls.

    Attributes:
      mechanisms: Keys of `screen_simulation_phenotypes.MECHANISMS`, or random0, random1, ...
      n_per_mechanism: Treatments a mechanism, of different strengths.
      n_inactive: Treatments of no mechanism and strength 0.
      n_plates: Plates; every plate has all treatments.
      n_batches: Batches, each with consecutive plates.
      n_rows, n_columns: Wells of a plate.
      n_replicates: Wells a treatment and plate.
      n_sites: Fields a well.
      shape: Height and width of a field, px.
      n_cells: Cells in a field of untreated cells, on average.
      cell_diameter_px: Mean diameter of untreated cells; all lengths follow it.
      layout: 'random' places the treatments anew on each plate, 'fixed' alike on all (so that a
        place on the plate is confounded with a treatment, as in many real screens).
      effect: Factor of all strengths.
      batch_effect: Factor of all differences between batches, plates and wells that have other
        causes than the treatment: staining, background, illumination, focus, state of the cells.
      position_effect: Factor of the differences between places on a plate.
      n_faulty: Wells of the screen that are out of focus.
      seed: Of everything.
    """

    mechanisms: tuple[str, ...] = tuple(MECHANISMS)[:5]
    n_per_mechanism: int = 3
    n_inactive: int = 2
    n_plates: int = 3
    n_batches: int = 2
    n_rows: int = 4
    n_columns: int = 6
    n_replicates: int = 1
    n_sites: int = 2
    shape: tuple[int, int] = (256, 256)
    n_cells: int = 14
    cell_diameter_px: float = 60.0
    layout: str = "random"
    effect: float = 1.0
    batch_effect: float = 1.0
    position_effect: float = 1.0
    n_faulty: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the design.

        Raises:
          ValueError: A setting is out of range, or a plate is too small.
        """
        unknown = [name for name in self.mechanisms if not is_mechanism(name)]
        if unknown:
            raise ValueError(f"unknown mechanism {unknown[0]!r}; known are {', '.join(MECHANISMS)}")
        if not self.mechanisms or len(set(self.mechanisms)) < len(self.mechanisms):
            raise ValueError(f"mechanisms must be some, each once, got {self.mechanisms}")
        counts = ("n_per_mechanism", "n_plates", "n_batches", "n_replicates", "n_sites", "n_cells")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("n_inactive", "n_faulty", "seed", "effect", "batch_effect", "position_effect"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        well_name(self.n_rows - 1, self.n_columns - 1)  # raises where there is no such plate
        if self.n_batches > self.n_plates:
            raise ValueError(f"{self.n_batches} batches need more than {self.n_plates} plates")
        if self.layout not in LAYOUTS:
            raise ValueError(f"unknown layout {self.layout!r}; known are {', '.join(LAYOUTS)}")
        if not self.cell_diameter_px >= 16 or min(self.shape) < self.cell_diameter_px:
            raise ValueError(
                f"cells of at least 16 px must fit into a field, got {self.cell_diameter_px} px in "
                f"{self.shape}"
            )
        n_treated = self.n_treatments * self.n_replicates
        if self.n_rows * self.n_columns < n_treated + 2:
            raise ValueError(
                f"{n_treated} treated wells and 2 controls do not fit on a plate of "
                f"{self.n_rows} x {self.n_columns} wells"
            )
        if self.n_faulty > self.n_plates * self.n_rows * self.n_columns:
            raise ValueError(f"n_faulty is {self.n_faulty}, more than there are wells")

    @property
    def n_treatments(self) -> int:
        """Number of treatments, without the control."""
        return len(self.mechanisms) * self.n_per_mechanism + self.n_inactive


class Treatment(NamedTuple):
    """The truth about a treatment.

    Attributes:
      name: 'T001' and so on, in an order that tells nothing; `CONTROL` for the control.
      mechanism: Of `MECHANISMS`, or `NO_MECHANISM`.
      strength: Relative to the strongest treatment of the same mechanism; 0 does nothing.
      role: 'treatment' or 'control'.
      number: Index among the treatments; -1 for the control.
    """

    name: str
    mechanism: str
    strength: float
    role: str
    number: int


class Well(NamedTuple):
    """One well of one plate.

    Attributes:
      plate: Name, digits with leading zeros: batch and plate.
      plate_number: Index of the plate.
      batch: Name.
      batch_number: Index of the batch.
      well: Name, e.g. 'A01'.
      row, column: Indices on the plate.
      replicate: Counts the wells of a treatment on a plate, from 1.
      treatment: What was added.
      is_faulty: Whether it is out of focus.
    """

    plate: str
    plate_number: int
    batch: str
    batch_number: int
    well: str
    row: int
    column: int
    replicate: int
    treatment: Treatment
    is_faulty: bool


def list_treatments(design: ScreenDesign) -> list[Treatment]:
    """Returns the treatments in the order of their names; the control comes last."""
    n = design.n_per_mechanism
    strengths = np.linspace(*STRENGTHS, n).tolist()
    truth = [(mechanism, s) for mechanism in design.mechanisms for s in strengths]
    truth += [(NO_MECHANISM, 0.0)] * design.n_inactive
    # Sorted by mechanism, features that are all alike would look as if they knew it.
    order = np.random.default_rng((SEED_NAMES, design.seed)).permutation(len(truth))
    treatments = [
        Treatment(f"T{number + 1:03d}", truth[index][0], truth[index][1], "treatment", number)
        for number, index in enumerate(order)
    ]
    return [*treatments, Treatment(CONTROL, NO_MECHANISM, 0.0, "control", -1)]


def list_wells(design: ScreenDesign) -> list[Well]:
    """Returns all wells, plate by plate and row by row."""
    *treatments, control = list_treatments(design)
    n_wells = design.n_rows * design.n_columns
    content = [(t, r + 1) for t in treatments for r in range(design.n_replicates)]
    content += [(control, r + 1) for r in range(n_wells - len(content))]
    faulty = np.random.default_rng((SEED_LAYOUT, design.seed)).permutation(
        n_wells * design.n_plates
    )[: design.n_faulty]
    wells = []
    for plate in range(design.n_plates):
        batch = plate * design.n_batches // design.n_plates
        map_number = plate if design.layout == "random" else 0
        rng = np.random.default_rng((SEED_LAYOUT, design.seed, 1 + map_number))
        for place, index in enumerate(rng.permutation(n_wells).tolist()):
            row, column = divmod(place, design.n_columns)
            wells.append(
                Well(
                    plate=f"{batch + 1:02d}{plate + 1:03d}",
                    plate_number=plate,
                    batch=f"batch{batch + 1}",
                    batch_number=batch,
                    well=well_name(row, column),
                    row=row,
                    column=column,
                    replicate=content[index][1],
                    treatment=content[index][0],
                    is_faulty=plate * n_wells + place in faulty,
                )
            )
    return wells
