"""SMILES to the int8 codes of `cellml.ops.atom_codes`, with RDKit, in one process.

Only what is quick to import is imported here: worker processes load this file.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import rdkit
from rdkit import Chem, rdBase

from cellml.ops.atom_codes import ATOMIC_WEIGHTS, BOND_COLUMNS

CODES_VERSION = 1
"""Raised when the same SMILES gets other codes, or they are laid out otherwise."""

RDKIT_VERSION: str = rdkit.__version__

ISOTOPE = re.compile(r"\[\d")

ATOMS_MAX = 2**15 - 1  # atoms are numbered in int16

BOND_RECORD = np.dtype([("ends", "<i2", (2,)), ("codes", "i1", (len(BOND_COLUMNS),))])
"""A bond: its two atoms, and its codes."""

CODES_SCHEMA = pa.schema(
    {
        "smiles": pa.string(),
        "reason": pa.string(),
        "atoms": pa.large_binary(),
        "bonds": pa.large_binary(),
    }
)
"""One row a SMILES: why it was rejected (else null), and int8 [v 9] and `BOND_RECORD` [b]."""


class Parsed(NamedTuple):
    """What became of a SMILES.

    Attributes:
      molecule: An RDKit molecule, None if rejected.
      reason: Why it was rejected, else None.
    """

    molecule: Any
    reason: str | None


def parse_molecule(smiles: str, *, largest_fragment: bool = False) -> Parsed:
    """Reads a SMILES as RDKit does by default: sanitised, hydrogens implicit.

    Args:
      smiles: The text; what follows a blank is not read, as is usual in SMILES files.
      largest_fragment: Keep only the fragment with most heavy atoms (of equals the heaviest, then
        the first), so that a salt loses its counter-ion. Otherwise a mixture stays one molecule of
        several disconnected pieces.

    Returns:
      The molecule, or the reason why there is none.
    """
    if not smiles.strip():
        return Parsed(None, "empty")
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None:
            return Parsed(None, _why_not(smiles))
        if largest_fragment and "." in smiles:
            molecule = _largest_fragment(molecule)
    if not molecule.GetNumAtoms():
        return Parsed(None, "no atoms")
    if molecule.GetNumAtoms() > ATOMS_MAX:
        return Parsed(None, f"{molecule.GetNumAtoms()} atoms, at most {ATOMS_MAX} are possible")
    return Parsed(molecule, None)


def featurise(smiles: Sequence[str], largest_fragment: bool = False) -> pa.Table:
    """Makes the codes of molecules; picklable, for processes.

    Args:
      smiles: The texts.
      largest_fragment: See `parse_molecule`.

    Returns:
      A table of `CODES_SCHEMA`, a row each.
    """
    gathered = _Gathered()
    reasons: list[str | None] = []
    for text in smiles:
        molecule, reason = parse_molecule(text, largest_fragment=largest_fragment)
        reasons.append(reason)
        gathered.add(molecule, text)
    bonds = gathered.bond_records()
    return pa.table(
        [
            pa.array(smiles, pa.string()),
            pa.array(reasons, pa.string()),
            _binary(gathered.atom_codes(bonds["ends"]), gathered.atoms.starts),
            _binary(bonds, gathered.bonds.starts),
        ],
        schema=CODES_SCHEMA,
    )


ATOM_GETTERS = (
    Chem.Atom.GetAtomicNum,
    Chem.Atom.GetTotalDegree,
    Chem.Atom.GetFormalCharge,
    Chem.Atom.GetHybridization,
    Chem.Atom.GetIsAromatic,
)
BOND_GETTERS = (
    Chem.Bond.GetBeginAtomIdx,
    Chem.Bond.GetEndAtomIdx,
    Chem.Bond.GetBondType,
    Chem.Bond.GetIsConjugated,
    Chem.Bond.IsInRing,
)


class _Columns:
    """Values of many molecules' atoms or bonds, one list a getter."""

    def __init__(self, getters: Sequence[Callable[[Any], Any]]) -> None:
        self.getters = getters
        self.values: list[list[Any]] = [[] for _ in getters]
        self.starts = [0]

    @property
    def count(self) -> int:
        return self.starts[-1]

    def add(self, things: Sequence[Any]) -> None:
        self.starts.append(self.starts[-1] + len(things))
        for values, getter in zip(self.values, self.getters, strict=True):
            values.extend(map(getter, things))

    def arrays(self) -> list[np.ndarray]:
        return [np.fromiter(values, np.int32, self.count) for values in self.values]


class _Gathered:
    """Everything that is asked of the molecules of a chunk."""

    def __init__(self) -> None:
        self.atoms, self.bonds = _Columns(ATOM_GETTERS), _Columns(BOND_GETTERS)
        # What few molecules have, and RDKit is asked for only where the text tells of it, as
        # (number of the atom or bond in the chunk, value).
        self.tags: list[tuple[int, int]] = []
        self.masses: list[tuple[int, float]] = []
        self.stereos: list[tuple[int, int]] = []

    def add(self, molecule: Any, text: str) -> None:
        """Appends a molecule; None has no atoms and no bonds."""
        if molecule is None:
            self.atoms.add(())
            self.bonds.add(())
            return
        # Asking for each by its number takes half the time of iterating over GetAtoms().
        atoms = list(map(molecule.GetAtomWithIdx, range(molecule.GetNumAtoms())))
        bonds = list(map(molecule.GetBondWithIdx, range(molecule.GetNumBonds())))
        extended = "|" in text  # CXSMILES may say anything
        if extended or "@" in text:
            self.tags += [
                (self.atoms.count + i, int(a.GetChiralTag())) for i, a in enumerate(atoms)
            ]
        if extended or ISOTOPE.search(text):
            heavy = [(i, atom) for i, atom in enumerate(atoms) if atom.GetIsotope()]
            self.masses += [(self.atoms.count + i, atom.GetMass()) for i, atom in heavy]
        if extended or "/" in text or "\\" in text:
            self.stereos += [
                (self.bonds.count + i, int(b.GetStereo())) for i, b in enumerate(bonds)
            ]
        self.atoms.add(atoms)
        self.bonds.add(bonds)

    def bond_records(self) -> np.ndarray:
        """`BOND_RECORD`s of all bonds."""
        records = np.zeros(self.bonds.count, BOND_RECORD)
        begin, end, *codes = self.bonds.arrays()
        records["ends"] = np.stack([begin, end], axis=1)
        records["codes"][:, : len(codes)] = np.stack(codes, axis=1)
        for row, stereo in self.stereos:
            records["codes"][row, 3] = stereo
        return records

    def atom_codes(self, ends: np.ndarray) -> np.ndarray:
        """Codes of all atoms, given the two ends of all bonds."""
        number, total_degree, charge, hybridization, aromatic = self.atoms.arrays()
        owner = np.repeat(np.arange(len(self.bonds.starts) - 1), np.diff(self.bonds.starts))
        absolute = ends + np.asarray(self.atoms.starts)[owner][:, None]
        neighbours = np.bincount(absolute.reshape(-1), minlength=self.atoms.count)
        hydrogens = total_degree - neighbours
        none = np.zeros_like(number)
        codes = np.stack(
            [number, total_degree, charge, none, hydrogens, hybridization, aromatic, none, none],
            axis=1,
        )
        for row, tag in self.tags:
            codes[row, 3] = tag
        for row, mass in self.masses:
            shift = mass - float(ATOMIC_WEIGHTS[number[row]])
            whole = round(shift)
            codes[row, 7:] = whole, round(256 * (shift - whole))
        return np.clip(codes, -128, 127).astype(np.int8)


def _binary(values: np.ndarray, starts: list[int]) -> pa.Array:
    """Rows of fixed-size records, cut at `starts`, as a column of bytes."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    record_bytes = values.dtype.itemsize * int(np.prod(values.shape[1:]))
    offsets = pa.py_buffer(np.asarray(starts, np.int64) * record_bytes)
    return pa.Array.from_buffers(pa.large_binary(), len(starts) - 1, [None, offsets, data])


def _largest_fragment(molecule: Any) -> Any:
    from rdkit.Chem.rdMolDescriptors import CalcExactMolWt

    fragments = Chem.GetMolFrags(molecule, asMols=True)
    return max(fragments, key=lambda piece: (piece.GetNumHeavyAtoms(), CalcExactMolWt(piece)))


def _why_not(smiles: str) -> str:
    """Says why RDKit reads no molecule from a text."""
    unsanitised = Chem.MolFromSmiles(smiles, sanitize=False)
    if unsanitised is None:
        return "not a SMILES: syntax error"
    problems = Chem.DetectChemistryProblems(unsanitised)
    if not problems:
        return "RDKit cannot read it"
    return "; ".join(problem.Message() for problem in problems)
