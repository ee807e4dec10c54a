"""A made-up screen whose hits depend on known modalities: structure, morphology, or both.

For tests and demonstrations of fusion. Nothing in it is chemistry: a hit of a structural assay is a
compound with certain substituents; a hit of a morphological one has an extreme hidden state, which
its noisy profile shows and its structure does not.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from cellml.data.text_tables import write_csv

CORES = ("c1ccc({0})cc1{1}", "c1cc({0})ncc1{1}", "C1CCN({0})CC1{1}", "c1nc({0})oc1{1}")
LINKERS = ("C(=O)N", "CC", "OC", "S(=O)(=O)C")
ENDS = ("C", "O", "N", "F", "Cl", "Br", "C#N", "OC", "C(F)(F)F", "CC(=O)O", "C(C)C", "SC")


class SimulatedScreen(NamedTuple):
    """A screen.

    Attributes:
      smiles: Of n compounds, none twice.
      labels: 1 hit, 0 no hit, NaN not tested.
      assays: Names, `structure_0` and so on: what the hits depend on.
      morphology: Profiles; NaN for compounds without one.
    """

    smiles: tuple[str, ...]
    labels: Float32[np.ndarray, "n t"]
    assays: tuple[str, ...]
    morphology: Float32[np.ndarray, "n f"]


def simulate_screen(
    *,
    n_compounds: int = 200,
    n_assays: int = 4,
    n_features: int = 12,
    tested: float = 0.7,
    profiled: float = 0.9,
    noise: float = 0.3,
    seed: int = 0,
) -> SimulatedScreen:
    """Makes a screen; assays depend in turn on the structure and on the morphology.

    Args:
      n_compounds: Number of compounds, up to some thousands.
      n_assays: Number of assays.
      n_features: Length of a profile.
      tested: Share of the readouts that exist.
      profiled: Share of the compounds that have a profile.
      noise: Of the profiles, in standard deviations of the signal.
      seed: Of everything.

    Returns:
      The screen.
    """
    rng = np.random.default_rng(seed)
    smiles, ends = _compounds(n_compounds, rng)
    state = rng.normal(size=(n_compounds, max(n_assays // 2, 1)))
    names, columns = [], []
    for assay in range(n_assays):
        if assay % 2 == 0:
            wanted = rng.choice(len(ENDS), 3, replace=False)
            columns.append(np.isin(ends, wanted).any(1))
            names.append(f"structure_{assay // 2}")
        else:
            columns.append(state[:, assay // 2] > 0.8)
            names.append(f"morphology_{assay // 2}")
    labels = np.stack(columns, axis=1).astype(np.float32)
    labels[rng.random(labels.shape) >= tested] = np.nan
    profiles = state @ rng.normal(size=(state.shape[1], n_features))
    profiles = profiles + noise * rng.normal(size=profiles.shape)
    profiles[rng.random(n_compounds) >= profiled] = np.nan
    return SimulatedScreen(smiles, labels, tuple(names), profiles.astype(np.float32))


def write_screen(folder: Path, screen: SimulatedScreen) -> tuple[Path, Path]:
    """Writes a screen as users have it.

    Args:
      folder: Where to.
      screen: The screen.

    Returns:
      `assays.csv` (SMILES and a column an assay, empty where not tested) and `morphology.csv`
      (SMILES and a column a feature, of the compounds with a profile).
    """
    assays, profiles = folder / "assays.csv", folder / "morphology.csv"
    columns = {"smiles": pa.array(screen.smiles)}
    for name, values in zip(screen.assays, screen.labels.T, strict=True):
        texts = ["" if np.isnan(value) else f"{value:.0f}" for value in values]
        columns[name] = pa.array(texts)
    write_csv(assays, pa.table(columns))
    there = np.flatnonzero(~np.isnan(screen.morphology).any(1))
    columns = {"smiles": pa.array([screen.smiles[i] for i in there])}
    for i, values in enumerate(screen.morphology[there].T):
        columns[f"m{i}"] = pa.array([f"{value:.6g}" for value in values])
    write_csv(profiles, pa.table(columns))
    return assays, profiles


def _compounds(count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], np.ndarray]:
    """SMILES of two cores with a substituent each, and the numbers of the substituents."""
    made: dict[str, tuple[int, int]] = {}
    while len(made) < count:
        first, second = rng.integers(len(ENDS), size=2)
        left, right = rng.integers(len(CORES), size=2)
        # Rings are numbered 1 in the first core, 2 in the second.
        inner = CORES[right].format(ENDS[second], "").replace("1", "2")
        outer = CORES[left].format(ENDS[first], LINKERS[rng.integers(len(LINKERS))] + inner)
        made.setdefault(outer, (int(first), int(second)))
    return tuple(made), np.array(list(made.values()))
