"""Fingerprints and RDKit's 2D descriptors of molecules given as SMILES."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Integer, Shaped, UInt8

from cellml.data.molecule_chunks import Progress, over_chunks
from cellml.data.molecule_codes import parse_molecule
from cellml.data.molecule_properties import N_PROPERTIES, property_bits
from cellml.data.molecules import Rejected

COUNT_MAX = 255  # counts are stored in uint8
KINDS = ("morgan", "atom_pair", "torsion", "properties")


class Fingerprints(NamedTuple):
    """Fingerprints of the usable rows.

    Attributes:
      rows: Row of each fingerprint in what was given, ascending.
      values: One fingerprint a row: bits (0, 1) or counts up to 255.
      rejected: The other rows.
    """

    rows: Integer[np.ndarray, " m"]
    values: UInt8[np.ndarray, "m f"]
    rejected: list[Rejected]


class Descriptors(NamedTuple):
    """Descriptors of the usable rows.

    Attributes:
      names: RDKit's names.
      rows: Row of each molecule in what was given, ascending.
      values: NaN where RDKit gives none, or one that is infinite in float32.
      missing: Number of NaN of each descriptor that has any.
      rejected: The other rows.
    """

    names: tuple[str, ...]
    rows: Integer[np.ndarray, " m"]
    values: Float32[np.ndarray, "m f"]
    missing: dict[str, int]
    rejected: list[Rejected]


def structure_fingerprints(
    smiles: Sequence[str],
    *,
    kinds: str = "morgan",
    radius: int = 2,
    size: int = 2048,
    counts: bool = False,
    chirality: bool = False,
    largest_fragment: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> Fingerprints:
    """Computes fingerprints of one kind or of several side by side.

    Args:
      smiles: One text a row.
      kinds: Of `KINDS`, joined by +: circles around atoms, pairs of atoms with the number of bonds
        between them, chains of four atoms, properties (see `cellml.data.molecule_properties`).
      radius: Of `morgan`: bonds around each atom; 2 is ECFP4.
      size: Number of bits or counts of each kind, into which what is found is hashed.
      counts: Count, up to `COUNT_MAX`, instead of noting; properties are bits all the same.
      chirality: Of `morgan`: tell stereoisomers apart.
      largest_fragment: See `parse_molecule`.
      workers: Processes.
      progress: Called with the number of molecules done and of all.

    Returns:
      Fingerprints and rejected rows.

    Raises:
      ValueError: A kind is unknown or given twice, `radius` is negative, `workers` is below 1, or
        `size` below 1 or the number of properties.
    """
    wanted = kinds_of(kinds)
    size_min = N_PROPERTIES if "properties" in wanted else 1
    if radius < 0 or size < size_min:
        raise ValueError(
            f"fingerprint {kinds!r}: radius {radius}, size {size}: at least 0 and {size_min} "
            "expected"
        )
    work = functools.partial(
        _fingerprints,
        kinds=wanted,
        radius=radius,
        size=size,
        counts=counts,
        chirality=chirality,
        largest_fragment=largest_fragment,
    )
    chunks = list(over_chunks(work, smiles, workers=workers, progress=progress))
    none = np.zeros((0, size * len(wanted)), np.uint8)
    rows, values, rejected = _joined(smiles, chunks, none)
    return Fingerprints(rows, values, rejected)


def kinds_of(text: str) -> tuple[str, ...]:
    """Reads `morgan+atom_pair`.

    Raises:
      ValueError: A kind is unknown or given twice.
    """
    kinds = tuple(text.split("+"))
    if set(kinds) - set(KINDS) or len(set(kinds)) < len(kinds):
        raise ValueError(f"fingerprint {text!r}: of {', '.join(KINDS)}, joined by +, expected")
    return kinds


def rdkit_descriptors(
    smiles: Sequence[str],
    *,
    largest_fragment: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> Descriptors:
    """Computes all of RDKit's 2D descriptors, some hundred molecules a second and process.

    Args:
      smiles: One text a row.
      largest_fragment: See `parse_molecule`.
      workers: Processes.
      progress: Called with the number of molecules done and of all.

    Returns:
      Descriptors, how many are missing, and rejected rows; `fill_missing` fills the gaps.

    Raises:
      ValueError: `workers` is below 1.
    """
    names = descriptor_names()
    work = functools.partial(_describe, largest_fragment=largest_fragment)
    chunks = list(over_chunks(work, smiles, chunk=100, workers=workers, progress=progress))
    rows, values, rejected = _joined(smiles, chunks, np.zeros((0, len(names)), np.float32))
    gaps = np.isnan(values).sum(axis=0)
    missing = {name: int(n) for name, n in zip(names, gaps, strict=True) if n}
    return Descriptors(names, rows, values, missing, rejected)


def descriptor_names() -> tuple[str, ...]:
    """Names of the descriptors that the installed RDKit has, in its order."""
    from rdkit.Chem import Descriptors as rdkit_module  # slow to import

    return tuple(name for name, _ in rdkit_module.descList)


def fill_missing(
    values: Float32[np.ndarray, "m f"], training: Float32[np.ndarray, "n f"]
) -> Float32[np.ndarray, "m f"]:
    """Replaces NaN by the column's median over `training`, by 0 where that has no number at all.

    Only the training rows decide, so that nothing of the test rows leaks into them.
    """
    known = ~np.isnan(training)
    filled = np.zeros(training.shape[1], np.float32)
    some = known.any(axis=0)
    filled[some] = np.nanmedian(training[:, some], axis=0)
    return np.where(np.isnan(values), filled[None, :], values)


_Chunk = tuple[list[str | None], np.ndarray]
"""Reason of each rejected row, None for others; and the values of the latter."""


def _fingerprints(
    smiles: Sequence[str],
    *,
    kinds: Sequence[str],
    radius: int,
    size: int,
    counts: bool,
    chirality: bool,
    largest_fragment: bool,
) -> _Chunk:
    from rdkit.Chem import rdFingerprintGenerator as rdkit_module

    def of(generator: Any) -> Callable[[Any], np.ndarray]:
        return generator.GetCountFingerprintAsNumPy if counts else generator.GetFingerprintAsNumPy

    make: dict[str, Callable[[Any], np.ndarray]] = {
        "morgan": of(
            rdkit_module.GetMorganGenerator(radius=radius, includeChirality=chirality, fpSize=size)
        ),
        "atom_pair": of(rdkit_module.GetAtomPairGenerator(fpSize=size)),
        "torsion": of(rdkit_module.GetTopologicalTorsionGenerator(fpSize=size)),
        "properties": functools.partial(property_bits, size=size),
    }
    reasons, values = [], []
    for text in smiles:
        molecule, reason = parse_molecule(text, largest_fragment=largest_fragment)
        reasons.append(reason)
        if molecule is None:
            continue
        parts = [np.minimum(make[kind](molecule), COUNT_MAX) for kind in kinds]
        values.append(np.concatenate(parts).astype(np.uint8))
    return reasons, np.reshape(values, (len(values), size * len(kinds))).astype(np.uint8)


def _describe(smiles: Sequence[str], *, largest_fragment: bool) -> _Chunk:
    from rdkit import rdBase
    from rdkit.Chem import Descriptors as rdkit_module

    reasons, values = [], []
    for text in smiles:
        molecule, reason = parse_molecule(text, largest_fragment=largest_fragment)
        reasons.append(reason)
        if molecule is not None:
            with rdBase.BlockLogs():
                found = rdkit_module.CalcMolDescriptors(molecule, missingVal=np.nan)
            values.append(list(found.values()))
    wide = np.reshape(np.asarray(values, np.float64), (len(values), len(descriptor_names())))
    wide[~(np.abs(wide) <= np.finfo(np.float32).max)] = np.nan
    return reasons, wide.astype(np.float32)


def _joined(
    smiles: Sequence[str], chunks: Sequence[_Chunk], none: np.ndarray
) -> tuple[Integer[np.ndarray, " m"], Shaped[np.ndarray, "m f"], list[Rejected]]:
    reasons = [reason for chunk, _ in chunks for reason in chunk]
    good = np.array([row for row, reason in enumerate(reasons) if reason is None], np.int64)
    rejected = [
        Rejected(row, smiles[row], reason)
        for row, reason in enumerate(reasons)
        if reason is not None
    ]
    return good, np.concatenate([none, *(values for _, values in chunks)]), rejected
