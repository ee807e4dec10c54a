"""A made-up screen whose hits depend on known modalities: structure, morphology, expression.

For tests and demonstrations of fusion. Nothing in it is chemistry: a hit of a structural assay is a
compound with certain substituents; a hit of a morphological one has an extreme hidden state, which
its noisy profile shows and its structure does not; likewise for expression.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from cellml.data.text_tables import write_csv

CORES = ("c1ccc({0})cc1{1}", "c1cc({0})ncc1{1}", "C1CCN({0})CC1{1}", "c1nc({0})oc1{1}")
LINKERS = ("C(=O)N", "CC", "OC", "S(=O)(=O)C")
ENDS = ("C", "O", "N", "F", "Cl", "Br", "C#N", "OC", "C(F)(F)F", "CC(=O)O", "C(C)C", "SC")


EXPRESSION = "expression.csv"
MODALITIES = ("structure", "morphology", "expression")
HIT_LIMIT = 0.8
"""A hidden state above this, in standard deviations, makes a hit: 21 % of the compounds."""


class SimulatedScreen(NamedTuple):
    """A screen.

    Attributes:
      smiles: Of n compounds, none twice.
      labels: 1 hit, 0 no hit, NaN not tested.
      assays: Names, `structure_0` and so on: what the hits depend on.
      morphology: Profiles; NaN for compounds without one.
      expression: Likewise; None if no assay depends on it.
    """

    smiles: tuple[str, ...]
    labels: Float32[np.ndarray, "n t"]
    assays: tuple[str, ...]
    morphology: Float32[np.ndarray, "n f"]
    expression: Float32[np.ndarray, "n f"] | None = None


def simulate_screen(
    *,
    n_compounds: int = 200,
    n_assays: int = 4,
    n_features: int = 12,
    tested: float = 0.7,
    profiled: float = 0.9,
    noise: float = 0.3,
    sources: Sequence[str] = ("structure", "morphology"),
    mistaken: float = 0.0,
    seed: int = 0,
) -> SimulatedScreen:
    """Makes a screen; assays depend in turn on the structure and on the morphology.

    Args:
      n_compounds: Number of compounds, up to some thousands.
      n_assays: Number of assays.
      n_features: Length of a profile.
      tested: Share of the readouts that exist.
      profiled: Share of the compounds that have a profile, drawn anew for each kind of profile.
      noise: Of the profiles, in standard deviations of the signal.
      sources: What the assays depend on in turn: of `MODALITIES`, or two or more of them joined by
        "+", where a hit needs a large sum of their states.
      mistaken: Share of the readouts that are turned round, so that nobody can predict all.
      seed: Of everything.

    Returns:
      The screen.

    Raises:
      ValueError: A source is unknown.
    """
    parts = [source.split("+") for source in sources]
    for part in (part for each in parts for part in each if part not in MODALITIES):
        raise ValueError(f"unknown source {part!r}; known: {', '.join(MODALITIES)}")
    rng = np.random.default_rng(seed)
    smiles, ends = _compounds(n_compounds, rng)
    n_states = max(-(-n_assays // len(sources)), 1) if len(sources) > 2 else max(n_assays // 2, 1)
    state = rng.normal(size=(n_compounds, n_states))
    other = rng.normal(size=state.shape) if any("expression" in each for each in parts) else None
    names, columns = [], []
    for assay in range(n_assays):
        turn, number = assay % len(sources), assay // len(sources)
        wanted = rng.choice(len(ENDS), 3, replace=False) if "structure" in parts[turn] else ()
        there = np.isin(ends, wanted).any(1)
        hidden = {"structure": 1.6 * there - 0.7, "morphology": state[:, number % n_states]}
        if other is not None:
            hidden["expression"] = other[:, number % n_states]
        if parts[turn] == ["structure"]:
            columns.append(there)
        else:
            total = sum(hidden[part] for part in parts[turn])
            columns.append(total / np.sqrt(len(parts[turn])) > HIT_LIMIT)
        names.append(f"{sources[turn].replace('+', '_and_')}_{number}")
    labels = np.stack(columns, axis=1).astype(np.float32)
    if mistaken:
        labels = np.abs(labels - (rng.random(labels.shape) < mistaken))
    labels[rng.random(labels.shape) >= tested] = np.nan
    profiles = _profiles(state, n_features, noise, profiled, rng)
    more = None if other is None else _profiles(other, n_features, noise, profiled, rng)
    return SimulatedScreen(smiles, labels.astype(np.float32), tuple(names), profiles, more)


def write_screen(folder: Path, screen: SimulatedScreen) -> tuple[Path, Path]:
    """Writes a screen as users have it.

    Args:
      folder: Where to; `EXPRESSION` stands beside the two files returned.
      screen: The screen.

    Returns:
      `assays.csv` (SMILES and a column an assay, empty where not tested) and `morphology.csv`
      (SMILES and a column a feature, of the compounds with a profile). Beside them is
      `expression.csv`, if the screen has such profiles.
    """
    assays, profiles = folder / "assays.csv", folder / "morphology.csv"
    columns = {"smiles": pa.array(screen.smiles)}
    for name, values in zip(screen.assays, screen.labels.T, strict=True):
        texts = ["" if np.isnan(value) else f"{value:.0f}" for value in values]
        columns[name] = pa.array(texts)
    write_csv(assays, pa.table(columns))
    _write_profiles(profiles, screen.smiles, screen.morphology, "m")
    if screen.expression is not None:
        _write_profiles(folder / EXPRESSION, screen.smiles, screen.expression, "g")
    return assays, profiles


def _write_profiles(
    path: Path, smiles: Sequence[str], values: Float32[np.ndarray, "n f"], letter: str
) -> None:
    there = np.flatnonzero(~np.isnan(values).any(1))
    columns = {"smiles": pa.array([smiles[i] for i in there.tolist()])}
    for i, column in enumerate(values[there].T):
        columns[f"{letter}{i}"] = pa.array([f"{value:.6g}" for value in column])
    write_csv(path, pa.table(columns))


def _profiles(
    hidden: np.ndarray, n_features: int, noise: float, profiled: float, rng: np.random.Generator
) -> Float32[np.ndarray, "n f"]:
    """Noisy linear views of hidden states; some compounds have none."""
    profiles = hidden @ rng.normal(size=(hidden.shape[1], n_features))
    profiles = profiles + noise * rng.normal(size=profiles.shape)
    profiles[rng.random(len(hidden)) >= profiled] = np.nan
    return profiles.astype(np.float32)


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
