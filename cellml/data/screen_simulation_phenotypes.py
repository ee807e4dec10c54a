"""What simulated treatments do to cells: phenotypes, and the mechanisms that move them.

The mechanisms are named after drugs whose effects they exaggerate; they are made to be told apart,
not to be pharmacology.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Phenotype(NamedTuple):
    """How cells differ from untreated ones: natural logarithms of factors, 0 is no difference.

    Differences add up: treatment, batch, plate, place on the plate and well.

    Attributes:
      n_cells: Cells in a field.
      cell_size: Diameter of the cells.
      cell_elongation: Ratio of their axes.
      cell_roughness: How far their outline strays from an ellipse.
      nucleus_size: Diameter of the nuclei.
      nucleus_elongation: Ratio of the nuclei's axes.
      nucleus_roughness: How far a nucleus strays from an ellipse.
      dna, er, rna, agp, mito: Brightness of a stain.
      chromatin_contrast: Contrast of the texture of the nuclei.
      er_grain: Width of the meshes of the endoplasmic reticulum.
      nucleolus_size: Diameter of the nucleoli.
      fibre_contrast: Brightness of the actin fibres against the rest of the cell.
      golgi_spread: How far the Golgi apparatus is scattered.
      mito_grain: Length and width of the mitochondria; short ones are dots.
      mito_spread: How far from the nucleus the mitochondria lie.
    """

    n_cells: float = 0.0
    cell_size: float = 0.0
    cell_elongation: float = 0.0
    cell_roughness: float = 0.0
    nucleus_size: float = 0.0
    nucleus_elongation: float = 0.0
    nucleus_roughness: float = 0.0
    dna: float = 0.0
    er: float = 0.0
    rna: float = 0.0
    agp: float = 0.0
    mito: float = 0.0
    chromatin_contrast: float = 0.0
    er_grain: float = 0.0
    nucleolus_size: float = 0.0
    fibre_contrast: float = 0.0
    golgi_spread: float = 0.0
    mito_grain: float = 0.0
    mito_spread: float = 0.0


MECHANISMS = {
    "topoisomerase_inhibitor": Phenotype(  # size
        n_cells=-0.35, cell_size=0.22, nucleus_size=0.38, dna=-0.2, nucleolus_size=0.3
    ),
    "actin_inhibitor": Phenotype(  # shape
        cell_size=-0.22, cell_roughness=0.8, cell_elongation=-0.2, fibre_contrast=-1.2
    ),
    "er_stress": Phenotype(er=0.3, er_grain=0.65, golgi_spread=0.3),  # texture and intensity
    "mito_uncoupler": Phenotype(mito=-0.3, mito_grain=-0.6, mito_spread=0.3),  # texture
    "protein_synthesis_inhibitor": Phenotype(rna=-0.5, er=-0.25, nucleolus_size=-0.4),  # intensity
    "tubulin_inhibitor": Phenotype(
        n_cells=-0.3, cell_elongation=-0.3, nucleus_roughness=1.2, mito_spread=-0.5
    ),
    "hdac_inhibitor": Phenotype(
        cell_elongation=0.5, chromatin_contrast=-0.9, fibre_contrast=0.5, nucleus_size=0.12
    ),
    "golgi_disruptor": Phenotype(golgi_spread=1.1, er_grain=-0.35, agp=0.25),
}
"""What a treatment of strength 1 does."""

SPREAD = Phenotype(
    n_cells=0.12,
    cell_size=0.05,
    cell_elongation=0.06,
    cell_roughness=0.1,
    nucleus_size=0.04,
    nucleus_elongation=0.04,
    nucleus_roughness=0.1,
    dna=0.05,
    er=0.05,
    rna=0.05,
    agp=0.05,
    mito=0.05,
    chromatin_contrast=0.12,
    er_grain=0.1,
    nucleolus_size=0.08,
    fibre_contrast=0.2,
    golgi_spread=0.15,
    mito_grain=0.1,
    mito_spread=0.1,
)
"""Standard deviations of the untreated cells' phenotype between batches."""

SEED_RANDOM = 101
OFF_TARGET = 0.4
"""Size of what a treatment does beside its mechanism, relative to the mechanism's effect."""


RANDOM = re.compile(r"random(\d+)")
RANDOM_FIELDS, RANDOM_SIZE = 4, (3.0, 6.0)
"""A mechanism drawn at random moves so many of a cell's properties, each by so many SPREAD."""


def is_mechanism(name: str) -> bool:
    """Whether a treatment can have this mechanism: one of MECHANISMS, or random0, random1, ..."""
    return name in MECHANISMS or RANDOM.fullmatch(name) is not None


def mechanism_effect(name: str) -> Phenotype:
    """What a treatment of strength 1 does.

    Args:
      name: A key of MECHANISMS, or "random" and a number, which is the seed of one more.

    Returns:
      The difference from untreated cells.
    """
    if name in MECHANISMS:
        return MECHANISMS[name]
    found = RANDOM.fullmatch(name)
    rng = np.random.default_rng((SEED_RANDOM, int(found[1]) if found else 0))
    moved = rng.choice(np.arange(1, len(SPREAD)), RANDOM_FIELDS, replace=False)  # never n_cells
    size = rng.uniform(*RANDOM_SIZE, RANDOM_FIELDS) * rng.choice((-1, 1), RANDOM_FIELDS)
    effect = np.zeros(len(SPREAD))
    effect[moved] = size * np.array(SPREAD)[moved]
    return Phenotype(*effect.tolist())


def add(parts: Iterable[Phenotype]) -> Phenotype:
    """Returns the sum of differences."""
    together = [np.array(part) for part in (Phenotype(), *parts)]
    return Phenotype(*np.sum(together, axis=0).tolist())


def scale(phenotype: Phenotype, factor: float) -> Phenotype:
    """Returns a difference that is `factor` times as large."""
    return Phenotype(*(np.array(phenotype) * factor).tolist())


def draw_variation(rng: np.random.Generator, factor: float) -> Phenotype:
    """Draws a difference at random, `factor` times as large as that between batches."""
    return Phenotype(*(rng.normal(0, 1, len(SPREAD)) * np.array(SPREAD) * factor).tolist())


def treatment_effect(rng: np.random.Generator, mechanism: str, strength: float) -> Phenotype:
    """Returns what one treatment does: its mechanism, and a little of everything.

    Args:
      rng: Draws what is particular to the treatment.
      mechanism: See `is_mechanism`.
      strength: 0 gives no difference at all.

    Returns:
      The difference from untreated cells.
    """
    effect = np.array(mechanism_effect(mechanism))
    beside = rng.normal(0, 1, len(effect)) * np.array(SPREAD)
    beside *= OFF_TARGET * np.linalg.norm(effect) / np.linalg.norm(beside)
    return Phenotype(*(strength * (effect + beside)).tolist())
